"""`on_ray`: the engine for cohorts larger than one machine. Ray comes in by this module only, and is kept quiet.

Ray Data schedules, keeps the order, and starts a worker that died again. Each worker is an actor that holds the work
(with it a synthesizer, an encoder), opened once.
"""

import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pyarrow as pa

import mris
from mris.cores import n_cores
from mris.engines.engine import Engine
from mris.errors import MrisError, OutputError, SettingsError
from mris.quiet import environment

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_RETRIES = 3
_MOST_BLOCKS = 10_000
_CONNECT_SECONDS = 10.0
_OWN_STORE_BYTES = 512 << 20
_DIED = (
    "a worker of the Ray cluster {}; give it more memory, or the cluster fewer workers (ray start --num-cpus), and run "
    "again"
)
_HTTP2_BEGIN, _HTTP2_SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"\4"  # Ray speaks gRPC
_SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # what it prints on standard output about workers that it starts again
}


@contextmanager
def on_ray(address: str | None = None) -> Iterator[Engine]:
    """Use a Ray cluster while the context lasts.

    Workers go to the folder that this process is in, which all machines of the cluster must see.

    Args:
        address: ``HOST:PORT`` of a cluster, or ``auto`` for the one that this machine belongs to. None starts one of
            this machine's cores alone, in a temporary folder that is removed with it.

    Yields:
        The engine. There is a worker for each processor that the cluster offers.

    Raises:
        SettingsError: No cluster answers there, it offers no processor, or it runs another version of Ray or Python.
        OutputError: A cluster cannot be started here.
    """
    pa.table({}).to_pandas()  # now Arrow knows pandas, which a command keeps out (`mris.quiet.without_pandas`)
    cluster = _own_cluster() if address is None else _cluster_at(address)
    with environment(**_SILENT), cluster as workers:
        yield _RayEngine(workers)


class _RayEngine:
    """See `Engine`."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(self, work: Callable[[_Item], Iterable[_Result]], items: Sequence[_Item], /) -> Iterator[_Result]:
        """See `Engine`.

        Raises:
            SettingsError: A worker has another version of the package, or none, or does not see this folder.
            OutputError: Workers die again and again.
        """
        if not items:
            return
        ray, data, cloudpickle = _library()
        rows = [{"item": cloudpickle.dumps(item)} for item in items]
        held = data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Ray has no other way yet to bound retries
            done = held.map_batches(
                _Worker,
                batch_size=1,
                batch_format="pyarrow",
                fn_constructor_args=(mris.__version__, str(Path.cwd()), cloudpickle.dumps(work)),
                compute=data.ActorPoolStrategy(size=min(self._workers, len(items)), max_tasks_in_flight_per_actor=2),
                num_cpus=1,
                max_restarts=-1,
                max_task_retries=_RETRIES,
            )
        try:
            for row in done.iter_rows():
                results, error = cloudpickle.loads(row["done"])
                yield from results
                if error is not None:
                    raise error
        except ray.exceptions.RayError as error:
            raise _told(error) from error


class _Worker:
    """What one actor holds. It is told what to do as bytes, which a package of another version could misread."""

    def __init__(self, version: str, folder: str, work: bytes) -> None:
        self._version, self._folder, self._pickled = version, folder, work
        self._work: Callable[[Any], Iterable[Any]] | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do the work on one item, and give its results and the error that ended it, or None."""
        _, _, cloudpickle = _library()
        results: list[Any] = []
        error: Exception | None = None
        try:
            (item,) = batch["item"].to_pylist()
            for result in self._opened(cloudpickle)(cloudpickle.loads(item)):
                results.append(result)  # noqa: PERF402 - those before an error count
        except (MrisError, OSError, ImportError) as found:
            error = found
        except MemoryError:
            error = OutputError(_DIED.format("ran out of memory"))
        except Exception as found:  # noqa: BLE001 - raised, Ray would log it, with the names that stand in it
            error = RuntimeError("".join(traceback.format_exception(found)))
        return pa.table({"done": pa.array([cloudpickle.dumps((results, error))], pa.large_binary())})

    def _opened(self, cloudpickle: ModuleType) -> Callable[[Any], Iterable[Any]]:
        if self._work is None:
            if mris.__version__ != self._version:
                raise SettingsError(
                    f"a worker of the Ray cluster ({socket.gethostname()}) has mris {mris.__version__}, and this is "
                    f"{self._version}; install the same on all machines"
                )
            try:
                os.chdir(self._folder)
            except OSError as error:
                raise OutputError(
                    f"a worker of the Ray cluster ({socket.gethostname()}) does not see the folder {self._folder} "
                    f"({error.strerror}); start the command in a folder that all machines share"
                ) from error
            os.umask(0o077)  # what it writes holds people, or may
            self._work = cloudpickle.loads(self._pickled)
        return self._work


@contextmanager
def _own_cluster() -> Iterator[int]:
    folder = Path(tempfile.mkdtemp(prefix="mris-"))
    token = secrets.token_hex(32)  # Ray would keep one in the user's home
    try:
        with (
            environment(RAY_AUTH_TOKEN=token),
            _started(
                "give it room and a short path for temporary files (TMPDIR), or do without --engine ray",
                address="local",
                num_cpus=n_cores(),
                object_store_memory=_OWN_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=str(folder),
                _node_ip_address="127.0.0.1",
            ),
        ):
            yield n_cores()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cluster_at(address: str) -> Iterator[int]:
    _check_answers(address)
    with _started("give the address of a cluster of Ray {}, or none", address=address) as ray:
        workers = int(ray.cluster_resources().get("CPU", 0))
        if not workers:
            raise SettingsError(f"the Ray cluster {address!r} offers no processor (CPU); start a machine that does")
        yield workers


def _check_answers(address: str) -> None:
    """Refuse early what Ray would try for minutes."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()) or "/" in host:
        raise SettingsError(f"the address of the Ray cluster is {address!r}; give HOST:PORT, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.sendall(_HTTP2_BEGIN)
            frame = connection.recv(9)
        if frame[3:4] != _HTTP2_SETTINGS:
            raise ConnectionError("what answers is no Ray")
    except (OSError, OverflowError, UnicodeError) as error:
        raise SettingsError(
            f"no Ray cluster answers at {address} ({getattr(error, 'strerror', None) or error}); is it running there "
            "(ray status), and can this machine reach it?"
        ) from error


@contextmanager
def _started(remedy: str, **settings: Any) -> Iterator[ModuleType]:
    ray, data, _ = _library()
    _read_token_anew()
    try:
        with _no_stderr():
            ray.init(log_to_driver=False, configure_logging=False, **settings)
    except (OSError, RuntimeError, ValueError) as error:  # ConnectionError: nothing there; RuntimeError: versions
        reason = " ".join(str(error).split())[:400].rstrip(".")
        raise SettingsError(f"Ray cannot be used ({reason}); {remedy.format(ray.__version__)}") from error
    try:
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = context.print_on_execution_start = False
        context.max_consecutive_actor_init_deaths = 0
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Take standard error away from libraries that are not Python, and write to it at their start."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _library() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Import Ray, its data library and its way to pickle, without a word of theirs."""
    import ray
    from ray import cloudpickle, data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return ray, data, cloudpickle


def _read_token_anew() -> None:
    """Ray keeps the first token that a process meets, and every later cluster of that process would refuse it."""
    loader = getattr(import_module("ray._raylet"), "AuthenticationTokenLoader", None)
    if loader is not None:  # Ray 2.51 knows no tokens
        loader.instance().reset_cache()


def _told(error: Exception) -> MrisError:
    if "No module named 'mris" in str(error):
        return SettingsError(
            f"a worker of the Ray cluster has no mris {mris.__version__}; install the same on all machines"
        )
    return OutputError(_DIED.format(f"died {_RETRIES + 1} times with the same images (out of memory?)"))
