"""`Decoders`: processes that stay warm and decode what was uploaded, each within bounds: a bad file costs itself."""

import contextlib
import ctypes
import fcntl
import json
import math
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mris.errors import ImageError
from mris.images.header import Header
from mris.images.image import MAX_PIXELS, Image
from mris.reading import parse_json
from mris.serving.dicom_source import SourceHeader
from mris.web.decoder import FRAME
from mris.web.pictures import LONGEST_EDGE, Picture
from mris.web.settings import Limits

LARGE_BYTES = 96 << 20
"""Of an image's pixels, beyond which one at a time is worked on; a full plate has 60 MB."""

_LONGEST_FACTS = 4 << 20
_MOST_PIXELS = 4 * MAX_PIXELS + 2 * LONGEST_EDGE**2


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a file holds.

    Attributes:
        image: Pixels and header.
        source: Whom and what it is of, for DICOM results; None if it cannot be told.
        source_problem: Why not.
        sha256: Of the file (hex).
        picture: To look at, where that was asked for.
    """

    image: Image
    source: SourceHeader | None
    source_problem: str
    sha256: str
    picture: Picture | None = None


class Decoders:
    """A few decoding processes; calls block, and may come from several threads."""

    def __init__(self, limits: Limits, ended: Callable[[], None] = lambda: None) -> None:
        """Start them.

        Args:
            limits: How many, and what a file may cost.
            ended: Called when a file has ended one.
        """
        self._limits = limits
        self._ended = ended
        self._closed = False
        self._large = threading.Lock()
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        self._all = [_Decoder(limits) for _ in range(limits.decoders)]
        for decoder in self._all:
            self._idle.put(decoder)

    @contextlib.contextmanager
    def room_for(self, n_bytes: int) -> Iterator[None]:
        """Work on an image of so many bytes; a large one waits until no other large one is worked on."""
        if n_bytes <= LARGE_BYTES:
            yield
            return
        with self._large:
            try:
                yield
            finally:
                _give_memory_back()

    @contextlib.contextmanager
    def decode(self, folder: Path, name: str, *, picture: bool = False) -> Iterator[Decoded]:
        """Decode a file, and have room for it; see `room_for`.

        Args:
            folder: Where it lies.
            name: Its plain name, which messages show.
            picture: Make its picture, too.

        Raises:
            ImageError: It cannot be read (`mris.images.read.read_image`), or costs more than a file may.
        """
        with contextlib.ExitStack() as room:
            request = {"folder": str(folder), "name": name, "picture": picture}
            facts, pixels = self._asked(request, lambda n_bytes: room.enter_context(self.room_for(n_bytes)))
            if "problem" in facts:
                raise ImageError(facts["problem"])
            yield _decoded(name, facts, pixels)

    def _asked(self, request: dict[str, Any], take_room: Callable[[int], None]) -> tuple[dict[str, Any], np.ndarray]:
        decoder, limits = self._idle.get(), self._limits
        try:
            return decoder.ask(request, limits, take_room)
        except Exception as error:  # whatever it was, its pipe may be out of step: it answers nothing more
            decoder.end()
            self._ended()
            place = self._all.index(decoder)
            if not self._closed:
                with contextlib.suppress(OSError):  # one that cannot be started is tried again by the next file
                    decoder = self._all[place] = _Decoder(limits)
            raise ImageError(
                f"image {request['name']}: cannot be decoded within {limits.decode_seconds:g} s and "
                f"{limits.decode_bytes >> 20:,} MB of memory, or breaks the decoder; reduce the image, or export it "
                "again"
            ) from error
        finally:
            self._idle.put(decoder)

    @property
    def processes(self) -> tuple[int, ...]:
        """Ids of the processes."""
        return tuple(decoder.process.pid for decoder in self._all)

    def close(self) -> None:
        """End them; what they are doing is refused."""
        self._closed = True
        for decoder in self._all:
            decoder.end()


class _Decoder:
    def __init__(self, limits: Limits) -> None:
        command = [sys.executable, "-P", "-m", "mris.web.decoder", str(limits.decode_bytes), str(limits.decode_seconds)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # their stacks count as memory
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not _is_secret(name)} | threads,
            start_new_session=True,  # Ctrl-C is for the server, which ends it
        )
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, AttributeError):  # a plate has 60 MB
            fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, 1 << 20)

    def ask(
        self, request: dict[str, Any], limits: Limits, take_room: Callable[[int], None]
    ) -> tuple[dict[str, Any], np.ndarray]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        text = json.dumps(request).encode()
        self.process.stdin.write(FRAME.pack(len(text), 0) + text)
        self.process.stdin.flush()
        answers, patience = self.process.stdout.fileno(), 2 * limits.decode_seconds + 10
        head = _read(answers, FRAME.size, time.monotonic() + patience)
        n_facts, n_pixels = FRAME.unpack(head.tobytes())
        if n_facts > _LONGEST_FACTS or n_pixels > _MOST_PIXELS:
            raise ValueError("the answer is longer than any can be")
        take_room(n_pixels)  # meanwhile the process waits with what it has read
        deadline = time.monotonic() + patience
        facts = parse_json(_read(answers, n_facts, deadline).tobytes().decode())
        return facts, _read(answers, n_pixels, deadline)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()  # its pipes close when nobody uses them: a thread may still read from one


def _read(descriptor: int, count: int, deadline: float) -> np.ndarray:
    """Read so many bytes.

    Raises:
        EOFError: There are fewer.
        TimeoutError: They do not come in time.
    """
    read = np.empty(count, np.uint8)
    left = read.data
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    while len(left):
        if not waiting.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            raise TimeoutError
        found = os.readv(descriptor, [left])
        if not found:
            raise EOFError
        left = left[found:]
    return read


def _give_memory_back() -> None:
    """Give the system what the C library keeps of freed memory: a large image's, for each thread that had one."""
    with contextlib.suppress(OSError, AttributeError):  # another library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def _decoded(name: str, facts: dict[str, Any], pixels: np.ndarray) -> Decoded:
    known = {field.name for field in fields(Header)}
    header = Header(**{key: _tuple(value) for key, value in facts["header"].items() if key in known})
    n_bytes = 4 * math.prod(facts["shape"])
    image = Image(
        pixels[:n_bytes].view(np.float32).reshape(facts["shape"]),
        spacing=_tuple(facts["spacing"]),
        origin=name,
        laterality=facts["laterality"],
        header=header,
    )
    found = facts["source"]
    source = None
    if found is not None:
        plain = {key: _tuple(value) for key, value in found.items()}
        source = SourceHeader(
            path=Path(name),
            **plain
            | {
                "patient_and_study": Dataset.from_json(found["patient_and_study"]),
                "identifiers": {key: tuple(texts) for key, texts in found["identifiers"].items()},
            },
        )
    seen = facts["picture"]
    picture = None
    if seen is not None:
        shown = pixels[n_bytes:].view("<u2").reshape(seen.pop("shape")).copy()  # the image may go before it
        picture = Picture(shown, **{key: _tuple(value) for key, value in seen.items()})
    return Decoded(image, source, facts["source_problem"], facts["sha256"], picture)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_secret(name: str) -> bool:
    return name.startswith("MRIS_")
