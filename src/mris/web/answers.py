"""How an error is told: as JSON to a program, as a page to a person."""

from collections.abc import Callable
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from mris.errors import MrisError
from mris.web.errors import RETRY_SECONDS, NotFoundError, RequestError, TokenError, status_of
from mris.web.records import ErrorRecord

API = "/api/v1"

ErrorPage = Callable[[Request, int, str], Response]


def error_answer(request: Request, error: MrisError, page: ErrorPage) -> Response:
    """Tell an error of ours.

    Args:
        request: Whose it is.
        error: What went wrong.
        page: Makes a page of it.
    """
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}
    if request.url.path.startswith(API):
        return json_error(request, status, type(error).__name__, str(error), headers)
    if isinstance(error, TokenError) and request.method == "GET":
        return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)
    answer = page(request, status, str(error))
    answer.headers.update(headers)
    return answer


def json_error(
    request: Request, status: int, error: str, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """Tell an error to a program."""
    record = ErrorRecord(error=error, detail=detail, request_id=request.state.request_id)
    return JSONResponse(record.to_json(), status, headers)


def error_of(error: Exception) -> MrisError:
    """Translate what the framework refuses."""
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, MrisError):  # raised while it read the body
            return error.__cause__
        if error.status_code == 404:
            return NotFoundError("there is nothing at this address; look at /api/v1/openapi.json")
        refused = RequestError(str(error.detail))
        refused.status = error.status_code
        return refused
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
        return RequestError(f"{where or 'the request'}: {first['msg']}")
    assert isinstance(error, MrisError)
    return error
