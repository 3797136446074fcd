"""``mris serve`` runs this: the address is taken first, then uvicorn answers on it."""

import asyncio
import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import uvicorn
from threadpoolctl import threadpool_limits
from uvicorn.protocols.http.h11_impl import H11Protocol

from mris.archive.connection import connect
from mris.errors import OutputError, SettingsError
from mris.synthesis.bundle import Bundle
from mris.web.app import create_app
from mris.web.settings import ServeSettings

_BACKLOG = 2048
_PATIENCE = 60.0
_SWITCH_SECONDS = 0.0005
"""After which a thread that computes lets another one run; the usual 5 ms, several times a request, are felt."""


def serve(settings: ServeSettings, started: Callable[[str], None]) -> None:
    """Serve until the process is asked to end.

    Args:
        settings: What, and to whom.
        started: Called with the address, once it answers.

    Raises:
        SettingsError: The address cannot be taken, such as a port in use.
        OutputError: The system does not let it start.
        BundleError: A bundle cannot be opened; one that breaks later is told to who asks.
        DatabaseError: Its database cannot.
    """
    for path in settings.bundles:
        Bundle.open(path)
    if settings.archive is not None:
        connect(settings.archive)  # a library that is missing is missed now
    sys.setswitchinterval(_SWITCH_SECONDS)
    listening = take_address(settings.host, settings.port)
    try:
        server = server_of(replace(settings, port=listening.getsockname()[1]), started)
        # Threads of a matrix product go on spinning for a while, and take the cores from other requests.
        with threadpool_limits(1, user_api="blas"):
            server.run(sockets=[listening])
        if not server.started:
            raise OutputError("the server could not start; look whether its folder for temporary files can be written")
    finally:
        listening.close()


@contextmanager
def running(settings: ServeSettings) -> Iterator[str]:
    """Serve in a thread of this process for a while, as a check or a test does.

    Yields:
        The address.

    Raises:
        SettingsError: The address cannot be taken.
        OutputError: It does not start in time.
    """
    answers = threading.Event()
    taken = take_address(settings.host, settings.port)
    settings = replace(settings, port=taken.getsockname()[1])
    server = server_of(settings, started=lambda _: answers.set())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        if not answers.wait(_PATIENCE):
            raise OutputError(f"the server did not start within {_PATIENCE:g} s; look at the machine's load")
        yield address_of(settings)
    finally:
        server.should_exit = True
        thread.join(_PATIENCE)
        taken.close()


def server_of(settings: ServeSettings, started: Callable[[str], None]) -> uvicorn.Server:
    """The server of settings whose port is taken already; see `serve`."""
    _open_many_files()
    config = uvicorn.Config(
        create_app(settings),
        http=_with_time_for_heads(settings.limits.head_seconds),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,  # it would write paths, which hold names of people
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=int(settings.limits.head_seconds),
        timeout_graceful_shutdown=5,
        backlog=_BACKLOG,
    )
    for name in ("uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # `Guard` tells what matters, without texts that name people
    return _Server(config, lambda: started(address_of(settings)))


def address_of(settings: ServeSettings) -> str:
    """The address that a browser opens."""
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, answers: Callable[[], None]) -> None:
        super().__init__(config)
        self._answers = answers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._answers()


def _with_time_for_heads(seconds: float) -> type[asyncio.Protocol]:
    """The protocol that closes a connection which sends no whole head in time: any number of them costs little."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._clock: asyncio.TimerHandle | None = None
            self._wait_for_a_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait_for_a_head()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._clock is not None:
                self._clock.cancel()
            super().connection_lost(exc)

        def _wait_for_a_head(self) -> None:
            if self._clock is not None:
                self._clock.cancel()
            self._clock = self.loop.call_later(seconds, self._close_without, self.cycle)

        def _close_without(self, last: Any) -> None:
            if self.cycle is last and not self.transport.is_closing():
                self.transport.close()

    return Protocol


def take_address(host: str, port: int) -> socket.socket:
    """Take an address.

    Raises:
        SettingsError: It is not this machine's, in use, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"host {host!r} is no address of this machine ({error.strerror}); give another") from error
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(_BACKLOG)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"port {port} is in use; give another with --port, or 0 for any that is free"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SettingsError(f"port {port} may not be used by you; give one above 1023 with --port") from error
        raise SettingsError(
            f"{host}:{port} cannot be served ({error.strerror}); give another --host or --port"
        ) from error
    return taken


def log_to_stderr(level: int) -> None:
    """Write our own log, and nobody else's: messages of libraries can hold what a file holds."""
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    handler, log = logging.StreamHandler(), logging.getLogger("mris.web")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(level)


def _open_many_files() -> None:
    """Allow as many connections as the system lets us: those that only wait must not lock out others."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1 << 16) if hard != resource.RLIM_INFINITY else 1 << 16
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
