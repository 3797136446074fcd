"""`Guard`: what every request passes: an id, security headers, the checks of `security`, bounds of its body, a log."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mris.errors import MrisError
from mris.web.errors import RequestError, SlowUploadError, TooLargeError
from mris.web.metrics import Metrics
from mris.web.security import SECURITY_HEADERS, Sessions, check_access, check_host, check_origin
from mris.web.settings import Limits, ServeSettings

LOG = logging.getLogger("mris.web")

_OVERHEAD = 1 << 20
"""Bytes of a body beyond its files: the parts' heads and the fields."""

_FIELDS_ALONE = ("/login", "/logout", "/database/remove")
"""Forms without files: who knows no token must not fill the disk."""

ErrorAnswer = Callable[[Request, MrisError], Response]


class Guard:
    """The outermost application; see the module."""

    def __init__(
        self, app: ASGIApp, *, settings: ServeSettings, sessions: Sessions, metrics: Metrics, answer: ErrorAnswer
    ) -> None:
        """Wrap an application.

        Args:
            app: What answers.
            settings: Names and limits.
            sessions: Who is known.
            metrics: Where requests are counted.
            answer: Tells an error.
        """
        self._app = app
        self._settings = settings
        self._sessions = sessions
        self._metrics = metrics
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        started, request_id, status = time.perf_counter(), secrets.token_hex(4), 500
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS | {"X-Request-ID": request_id})
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope, receive)
        try:
            self._check(scope, request)
            await self._app(scope, _Bounded(receive, self._limits(scope)), send_guarded)
        except MrisError as error:
            await self._answer(request, error)(scope, receive, send_guarded)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - told by its kind and place alone: its text may name people or files
            LOG.error("%s %s at %s", request_id, type(error).__name__, _place(error))
        finally:
            route = getattr(scope.get("route"), "path", None) or _without_route(scope["path"])
            seconds = time.perf_counter() - started
            self._metrics.answered(route, status, seconds)
            LOG.info("%s %s %s %d %.0f ms", request_id, scope["method"], route, status, 1000 * seconds)

    def _check(self, scope: Scope, request: Request) -> None:
        method, headers = scope["method"], request.headers
        check_host(headers.get("host", ""), self._settings)
        check_origin(method, headers)
        scope["state"]["caller"] = caller = self._sessions.caller(headers, request.cookies)
        check_access(method, scope["path"], caller)
        size = headers.get("content-length", "0")
        limits = self._limits(scope)
        if not size.isdecimal() or int(size) > limits.file_bytes + _OVERHEAD:
            raise TooLargeError(_too_large(limits))

    def _limits(self, scope: Scope) -> Limits:
        limits = self._settings.limits
        return replace(limits, file_bytes=0) if scope["path"] in _FIELDS_ALONE else limits


class _Bounded:
    """What gives a request's body, while it is no larger and no slower than it may be."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._started = time.monotonic()
        self._received = 0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        allowed = self._limits.body_seconds + self._received / self._limits.least_rate
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._started + allowed - time.monotonic()))
        except TimeoutError:
            raise SlowUploadError(
                f"the upload came to a halt, or is slower than {self._limits.least_rate / 1024:.0f} kB a second; try "
                "again"
            ) from None
        if message["type"] == "http.disconnect":
            raise RequestError("the upload was cut off; send it again")
        self._received += len(message.get("body", b""))
        if self._received > self._limits.file_bytes + _OVERHEAD:
            raise TooLargeError(_too_large(self._limits))
        self._complete = not message.get("more_body", False)
        return message


def _too_large(limits: Limits) -> str:
    largest = max(limits.file_bytes, _OVERHEAD) >> 20
    return f"the upload is larger than the {largest:,} MB that are taken; send fewer files at a time"


def _without_route(path: str) -> str:
    """What the log says of a path that led nowhere: nothing that a caller wrote."""
    return "/static" if path.startswith("/static/") else "-"


def _place(error: BaseException) -> str:
    """File and line of ours where an error came from."""
    place, trace = "?", error.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def caller_of(request: Request) -> Any:
    """Who asks; `Guard` has found out."""
    return request.state.caller
