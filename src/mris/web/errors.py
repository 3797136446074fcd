"""Why a request is refused, and with which status each error of the package is told."""

from mris.errors import (
    ArchiveError,
    BundleError,
    DatabaseError,
    ImageError,
    MrisError,
    OutputError,
    SettingsError,
)


class RequestError(MrisError):
    """A request is refused for what it is, not for what it holds."""

    status = 400


class TokenError(RequestError):
    """The token is missing or wrong."""

    status = 401


class SessionError(RequestError):
    """A change is asked for without the page's own proof, or from another site."""

    status = 403


class NotFoundError(RequestError):
    """There is no such thing."""

    status = 404


class SlowUploadError(RequestError):
    """A body does not arrive in time."""

    status = 408


class GoneError(RequestError):
    """What was held in memory is not held any more."""

    status = 410


class TooLargeError(RequestError):
    """A body is larger, or has more parts, than is taken."""

    status = 413


class HostError(RequestError):
    """The request names another server."""

    status = 421


class BusyError(RequestError):
    """There is no room in the queue."""

    status = 503


RETRY_SECONDS = 2
"""After which a client that was sent away may come back."""

_STATUS: dict[type[MrisError], int] = {
    SettingsError: 400,
    ImageError: 422,
    ArchiveError: 502,
    BundleError: 503,
    DatabaseError: 503,
    OutputError: 503,
}


def status_of(error: MrisError) -> int:
    """The HTTP status that an error is told with."""
    if isinstance(error, RequestError):
        return error.status
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
