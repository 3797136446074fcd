"""A DICOMweb archive (PS3.18): how it is reached, and what its refusals mean."""

import contextlib
import ipaddress
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mris.errors import ArchiveError, SettingsError

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

RETRIED = (408, 429, 502, 503, 504)
"""Statuses of an archive that is busy: asked again after a pause."""


@dataclass(frozen=True)
class ArchiveSettings:
    """How an archive is reached.

    Attributes:
        url: Of its DICOMweb service, such as "https://pacs.example.org/dicom-web"; no name or password in it.
        user: Name for basic authentication, or None.
        password: Its password.
        token: Bearer token instead, or None.
        ca_file: Certificates of the authorities that are believed, if not the system's.
        insecure: Believe any certificate, and send credentials without encryption.
        timeout: Seconds without an answer after which a request is given up.
        retries: How often a request is repeated that met a busy archive or a broken connection.

    Raises:
        SettingsError: A setting cannot work, or would send credentials where others can read them.
    """

    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    insecure: bool = False
    timeout: float = 60.0
    retries: int = 3

    def __post_init__(self) -> None:
        _split_url(self.url)
        if self.token is not None and self.user is not None:
            raise SettingsError("both a user and a token are given; an archive takes one of them")
        if self.user is not None and self.password is None:
            raise SettingsError(f"user {self.user!r} has no password; set MRIS_ARCHIVE_PASSWORD")
        if self.timeout <= 0 or self.retries < 0:
            raise SettingsError(
                f"timeout is {self.timeout:g} s and retries {self.retries}; give a time above 0 and 0 retries or more"
            )
        if self.ca_file is not None and not self.ca_file.is_file():
            raise SettingsError(f"certificates {self.ca_file}: no such file; give a PEM file")
        secret = self.user is not None or self.token is not None
        if secret and not may_send_secrets(self.url, self):
            raise SettingsError(
                f"archive {self.url}: without https anybody on the way can read the credentials; use https, or say "
                "--insecure"
            )


@dataclass(frozen=True)
class Archive:
    """A connection, made by `connect`.

    Attributes:
        url: Of the service, without a slash at the end.
        client: For queries.
        session: The same connection's, for whole files.
        timeout: Seconds.
    """

    url: str
    client: "DICOMwebClient"
    session: Any
    timeout: float


def connect(settings: ArchiveSettings) -> Archive:
    """Prepare a connection; nothing is sent before the first question.

    Certificates are checked unless `settings.insecure`. A busy archive is asked again after 0.5, 1, 2, ... seconds.
    """
    from dicomweb_client import DICOMwebClient

    url = settings.url.rstrip("/")
    session = _session(settings)
    # The library's own way of asking again ends in an error that does not tell the status; the session's does.
    client = DICOMwebClient(url, session=session, timeout=settings.timeout)
    client.set_http_retry_params(retry=False)
    for name in ("dicomweb_client", "retrying"):  # else what they log, tracebacks too, goes to standard error
        logging.getLogger(name).addHandler(logging.NullHandler())
    return Archive(url, client, session, settings.timeout)


def is_uid(text: str) -> bool:
    """Whether a text can be a UID: digits and points, at most 64; it then is safe in addresses and file names."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def checked_uid(text: str) -> str:
    """Return a UID that can be one: digits and points, at most 64.

    Raises:
        SettingsError: It cannot.

    Example:
        >>> checked_uid("1.2.840.10008")
        '1.2.840.10008'
    """
    if not is_uid(text):
        raise SettingsError(f"{text[:80]!r} is no UID; give digits and points, at most 64 characters")
    return text


@contextlib.contextmanager
def archive_faults(archive: Archive) -> Iterator[None]:
    """Raise an `ArchiveError` of one line for what a request in the block raises.

    The message holds neither credentials nor the question, whose conditions name a patient.
    """
    import requests
    from urllib3.exceptions import ReadTimeoutError

    silent = f"archive {archive.url}: no answer within {archive.timeout:g} s; try again, or give a longer --timeout"
    try:
        yield
    except requests.exceptions.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        raise ArchiveError(f"archive {archive.url}: {explained(status)}") from None
    except requests.exceptions.SSLError:
        raise ArchiveError(
            f"archive {archive.url}: its certificate is not to be believed; give the authority's with --ca-file"
        ) from None
    except requests.exceptions.Timeout:
        raise ArchiveError(silent) from None
    except requests.exceptions.RetryError:
        raise ArchiveError(f"archive {archive.url}: is busy, also when asked again; try later") from None
    except (requests.exceptions.JSONDecodeError, RecursionError):
        raise ArchiveError(
            f"archive {archive.url}: its answer is no JSON; is this the address of its DICOMweb service?"
        ) from None
    except requests.exceptions.RequestException as error:
        if error.args and isinstance(getattr(error.args[0], "reason", None), ReadTimeoutError):
            raise ArchiveError(silent) from None  # after its last repetition, silence is told as a broken connection
        raise ArchiveError(
            f"archive {archive.url}: cannot be reached ({type(error).__name__}); check the address and the network"
        ) from None


def explained(status: int) -> str:
    """Say what a status means for the user.

    Example:
        >>> explained(404)
        'answers 404: there is nothing at this address; is it that of its DICOMweb service, and the UID right?'
    """
    reasons = {
        400: "it does not understand the question",
        401: "it wants other credentials; set MRIS_ARCHIVE_USER and MRIS_ARCHIVE_PASSWORD, or MRIS_ARCHIVE_TOKEN",
        403: "these credentials may not do that; ask who runs it",
        404: "there is nothing at this address; is it that of its DICOMweb service, and the UID right?",
        406: "it cannot give the original files",
        413: "the file is too large for it",
        415: "it does not take such files",
    }
    default = "it is busy or broken; try again later" if status >= 500 else "it refuses"
    return f"answers {status}: {reasons.get(status, default)}"


def may_send_secrets(url: str, settings: ArchiveSettings) -> bool:
    """Whether credentials may go to an address: by https, within this machine, or where the user says so.

    Example:
        >>> settings = ArchiveSettings("https://pacs.example.org/dicom-web")
        >>> may_send_secrets("https://pacs.example.org/studies", settings)
        True
        >>> may_send_secrets("http://pacs.example.org/studies", settings)
        False
    """
    parts = urlsplit(url)
    return settings.insecure or parts.scheme == "https" or _is_loopback(str(parts.hostname))


def _without_credentials(request: Any) -> Any:
    request.headers.pop("Authorization", None)
    return request


def _session(settings: ArchiveSettings) -> Any:
    import requests
    from requests.adapters import HTTPAdapter
    from requests.auth import HTTPBasicAuth
    from urllib3.util import Retry

    chosen: bool | str = True
    if settings.insecure:
        chosen = False
    elif settings.ca_file is not None:
        chosen = str(settings.ca_file)

    class Session(requests.Session):
        def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
            if not may_send_secrets(str(request.url), settings):
                request.auth = _without_credentials  # else the library looks for some, in .netrc at last
            prepared = super().prepare_request(request)
            # Some archives take an escaped asterisk for a letter, not for "any characters"; a query may hold it bare.
            prepared.url = (prepared.url or "").replace("%2A", "*")
            return prepared

        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            super().rebuild_auth(prepared_request, response)
            if not may_send_secrets(str(prepared_request.url), settings):  # an answer has sent us elsewhere
                for name in ("Authorization", "Cookie"):
                    prepared_request.headers.pop(name, None)

        def merge_environment_settings(self, *arguments: Any, **named: Any) -> Any:
            merged = super().merge_environment_settings(*arguments, **named)
            if chosen is not True:  # else a variable of the system would win over what the caller says
                merged["verify"] = chosen
            return merged

    def with_token(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {settings.token}"
        return request

    session = Session()
    if settings.user is not None:
        # As bytes: the library would write names outside Latin-1 in a way few archives read.
        session.auth = HTTPBasicAuth(settings.user.encode(), (settings.password or "").encode())
    elif settings.token is not None:
        session.auth = with_token
    retry = Retry(
        total=settings.retries,
        backoff_factor=0.5,
        status_forcelist=RETRIED,
        allowed_methods=None,  # storing the same instance twice is storing it once
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    if settings.insecure:
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return session


def _split_url(url: str) -> Any:
    try:
        parts = urlsplit(url)
        named = parts.username is not None or parts.password is not None
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError("the archive's address cannot be read; give one such as https://host/dicom-web") from error
    if named:
        raise SettingsError(
            "the archive's address holds a name or password; set MRIS_ARCHIVE_USER and _PASSWORD instead"
        )
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise SettingsError(f"archive {url!r} is no address; give that of its DICOMweb service: https://host/dicom-web")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
