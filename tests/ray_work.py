"""Work that goes wrong in the processes of a cluster, which import it from here."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from mris.errors import ImageError
from mris.synthesis.synthesis import Synthesis
from mris.synthesis.synthesizer import Synthesizer
from mris.types import Sources


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Synthesizer):
    """A synthesizer whose process is killed in the middle of its second batch, once."""

    def __init__(self, synthesizer: Synthesizer, folder: Path) -> None:
        self.__dict__ |= synthesizer.__dict__
        self.folder, self.n_batches = folder, 0

    def synthesize(self, sources: Sources, exclude_subjects: object = None) -> list[Synthesis]:
        self.n_batches += 1
        (self.folder / f"worker_{os.getpid()}").touch()
        syntheses = super().synthesize(sources, exclude_subjects)
        if self.n_batches == 2 and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            die()
        return syntheses


def squares(number: int) -> Iterator[int]:
    yield number
    yield number**2


def too_much(number: int) -> Iterator[int]:
    yield number
    raise MemoryError


def deadly(number: int) -> Iterator[int]:
    yield number
    if number == 1:
        die()


def unreadable(number: int) -> Iterator[int]:
    yield number
    raise ImageError(f"image {number}.npy: it is empty")


def faulty(number: int) -> Iterator[int]:
    yield number
    raise KeyError("a fault of ours")
