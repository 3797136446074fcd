"""Who may ask: the server's name, a browser's session, the token, and the proof that a change comes from our page."""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from mris.web.errors import HostError, SessionError, TokenError
from mris.web.settings import LOOPBACK_NAMES, ServeSettings, is_loopback

CHANGES = ("POST", "PUT", "PATCH", "DELETE")
"""Methods that change something, or cost much."""

PROOF_HEADER = "x-csrf-token"
PROOF_FIELD = "csrf_token"
"""Where a request carries the proof: a header of a program's, or a field of a form."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with "no-referrer" a plain form would come from the origin "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer: only our own files run, nobody frames us, nothing is told to others."""

_OPEN = ("/api/v1/health", "/login", "/static/")
"""What needs no token."""

_FORMS = ("/login", "/logout", "/synthesize", "/compare", "/database/remove")
"""Where the proof is a field of a form, which the handler checks with `require_proof`."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        session: The value of the session's cookie; None for a program with a token, or a first visit.
        known: Whether the token, or a session that it opened, was shown; always true where there is no token.
        proved: Whether a change comes from our page, or from a program with the token.
    """

    session: str | None
    known: bool
    proved: bool


@dataclass(frozen=True)
class Sessions:
    """Sessions of browsers, without a list of them: a cookie is a random number and our signature on it.

    Attributes:
        token: What a browser must tell once, and a program each time; None where nobody must.
        cookie: Name of the cookie; browsers share cookies among the ports of a host.
        key: Signs; a new one with each start, so that a restart ends all sessions.
    """

    token: str | None = field(repr=False)
    cookie: str
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def new(self) -> str:
        """The value of a new session's cookie."""
        number = secrets.token_urlsafe(18)
        return f"{number}.{self._signature('session', number)}"

    def is_ours(self, session: str | None) -> bool:
        """Whether a cookie's value was given out by this server since it was started."""
        number, _, signature = (session or "").partition(".")
        return bool(number) and _same(signature, self._signature("session", number))

    def proof(self, session: str) -> str:
        """What a change must carry in this session; no other site can read it."""
        return self._signature("proof", session)

    def is_token(self, given: str) -> bool:
        """Whether it is the token, in a time that does not tell how much of it is right."""
        return self.token is not None and _same(given, self.token)

    def caller(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Caller:
        """Tell who asks.

        Raises:
            TokenError: A wrong token is shown.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.token is not None:
            if not self.is_token(given.strip()):
                raise TokenError("the token is wrong; give the one that mris serve was started with")
            return Caller(None, known=True, proved=True)
        session = cookies.get(self.cookie)
        if not self.is_ours(session):
            session = None
        known = self.token is None or session is not None
        proved = session is not None and _same(headers.get(PROOF_HEADER, ""), self.proof(session))
        return Caller(session, known, proved)

    def require_proof(self, caller: Caller, given: str) -> None:
        """Refuse a form that does not carry the proof of its session.

        Raises:
            SessionError: It does not.
        """
        if caller.session is None or not _same(given, self.proof(caller.session)):
            raise SessionError(_NO_PROOF)

    def _signature(self, purpose: str, text: str) -> str:
        return hmac.new(self.key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def set_session(request: Request, answer: Response, session: str) -> None:
    """Give a browser its cookie: no script reads it, and no other site's page makes it be sent."""
    answer.set_cookie(request.app.state.sessions.cookie, session, httponly=True, samesite="strict", path="/")


_NO_PROOF = "the request does not carry the token of this session (csrf); load the page again, or ask /api/v1/session"


def check_host(name: str, settings: ServeSettings) -> None:
    """Refuse a request that calls the server by a name of somebody else's: DNS rebinding brings pages of theirs here.

    Args:
        name: The header Host.
        settings: How the server may be called. Beyond loopback, that is by any address, too: a name is what can be
            bound to another address.

    Raises:
        HostError: It is another name.
    """
    try:
        host = (urlsplit(f"//{name}").hostname or "").rstrip(".")
    except ValueError:
        host = ""
    if host in (*LOOPBACK_NAMES, settings.host, *settings.names):
        return
    if not is_loopback(settings.host) and _is_address(host):
        return
    raise HostError("this server is not called that; open the address that mris serve printed, or start it with --name")


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Refuse a change that another site's page asks for, before a byte of its body is read.

    Raises:
        SessionError: The browser says that it comes from another site.
    """
    if method not in CHANGES:
        return
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    try:
        foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:  # no address at all
        foreign = True
    if foreign or site not in ("same-origin", "none"):
        raise SessionError("the request comes from another site; use the page of this server")


def check_access(method: str, path: str, caller: Caller) -> None:
    """Refuse who does not know the token, and a change without proof.

    Raises:
        TokenError: The token is not known.
        SessionError: The proof is missing.
    """
    if not caller.known and not any(path == free or (free.endswith("/") and path.startswith(free)) for free in _OPEN):
        raise TokenError("this server asks for a token; log in, or send it as Authorization: Bearer TOKEN")
    if method in CHANGES and not caller.proved and path not in _FORMS:
        raise SessionError(_NO_PROOF)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
