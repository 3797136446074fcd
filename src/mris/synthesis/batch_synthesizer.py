"""`BatchSynthesizer`: what every synthesizer can do with one image, a batch or a stream of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
from jaxtyping import Float32

from mris.errors import ImageError, SettingsError
from mris.images.admission import admit
from mris.images.anatomy import Anatomy
from mris.images.image import Image
from mris.images.transforms import SourcePreparation, prepare_source
from mris.synthesis.synthesis import Synthesis
from mris.types import Sources, Targets

BATCH_SIZE = 32
"""Queries that are encoded together; memory grows with it, and with nothing else."""


class BatchSynthesizer(ABC):
    """What every synthesizer can do, given how it treats a batch."""

    @abstractmethod
    def synthesize_without_doubts(
        self, sources: Sources, exclude_subjects: Sequence[str | None] | None
    ) -> list[Synthesis]:
        """Synthesize as `synthesize` does, but look at no source: `doubts` can do so meanwhile."""

    def synthesize(self, sources: Sources, exclude_subjects: Sequence[str | None] | None = None) -> list[Synthesis]:
        """Synthesize one image for each prepared source of a batch, all in memory.

        Args:
            sources: (n, c, h, w) prepared.
            exclude_subjects: For each source the subject whose entries must not be used, or None.

        Raises:
            ImageError: The sources are no array of the encoder's shape.
            DatabaseError: The database is empty or damaged, or no neighbor is left for a query.
        """
        syntheses = self.synthesize_without_doubts(sources, exclude_subjects)
        return [
            replace(synthesis, doubts=self.doubts(source)) for source, synthesis in zip(sources, syntheses, strict=True)
        ]

    def doubts(self, source: Float32[np.ndarray, "c h w"]) -> tuple[str, ...]:
        """Say what in a prepared source speaks against its showing this part of the body; nothing if that is unknown.

        See `mris.images.anatomy.Anatomy.doubts`.
        """
        edge = None if self.preparation is None else self.preparation.edge_mm
        return self.anatomy.doubts(source, edge, self.regions)

    @abstractmethod
    def neighbor_maps(self, synthesis: Synthesis, count: int) -> tuple[Float32[np.ndarray, "m r h w"], ...]:
        """The target images of the first neighbors, for each contribution: (m, r, h, w), m at most `count`."""

    @property
    @abstractmethod
    def preparation(self) -> SourcePreparation | None:
        """How an image becomes a prepared source; None if only prepared arrays are taken."""

    @property
    @abstractmethod
    def anatomy(self) -> Anatomy:
        """The part of the body that images show; it decides which are let in."""

    @property
    @abstractmethod
    def regions(self) -> tuple[str, ...]:
        """What is synthesized, in the order of an image's channels."""

    @property
    @abstractmethod
    def mirrors_targets(self) -> bool:
        """Whether targets of mirrored sides are stored mirrored."""

    def __call__(
        self,
        image: Image | Float32[np.ndarray, "c h w"],
        *,
        side: str | None = None,
        center: tuple[float, float] | None = None,
        exclude_subject: str | None = None,
    ) -> Synthesis:
        """Synthesize the target of one source.

        Args:
            image: An image as it was read, or an array (c, h, w) that is prepared already.
            side: Side of the body of an `Image`; its own laterality if None.
            center: Row and column of the region's center in an `Image`; its middle if None.
            exclude_subject: Subject whose entries must not be used: that of the query, if it may be in the database.

        Returns:
            The synthesis; of an `Image`, with the notes on its header and on what it shows.

        Raises:
            ImageError: The image does not fit (see `prepare`), or the array is no prepared source.
            DatabaseError: No neighbor is left, or the database is damaged.
            EncoderMismatchError: Somebody replaced the database by one of another encoder.
        """
        source, preparation = self.prepare(image, side=side, center=center), self.preparation
        (synthesis,) = self.synthesize(source[np.newaxis], [exclude_subject])
        if not isinstance(image, Image) or preparation is None:
            return synthesis
        admitted = admit(image, preparation, anatomy=self.anatomy, side=side, center=center)
        mirrored = self.mirrors_targets and admitted.side in preparation.mirror_sides
        return replace(synthesis, mirrored=mirrored, notes=admitted.notes)

    def prepare(
        self,
        image: Image | Float32[np.ndarray, "c h w"],
        *,
        side: str | None = None,
        center: tuple[float, float] | None = None,
    ) -> Float32[np.ndarray, "c h w"]:
        """Prepare an image as the encoder was trained to see it; a prepared array is only checked.

        Raises:
            ImageError: The image does not fit, by its header or its extent, as `mris synthesize` would refuse it
                (`mris.images.admission.admit`), or cannot be prepared.
            SettingsError: The encoder does not say how images are prepared.
        """
        if not isinstance(image, Image):
            return _checked_source(np.asarray(image))
        if self.preparation is None:
            raise SettingsError(
                "the encoder does not say how an image is prepared; give `preparation` to the synthesizer, or an array "
                "that is prepared already"
            )
        admitted = admit(image, self.preparation, anatomy=self.anatomy, side=side, center=center)
        return prepare_source(image, self.preparation, side=admitted.side, center=center)

    def stream(
        self,
        sources: Iterable[Float32[np.ndarray, "c h w"]],
        *,
        exclude_subjects: Iterable[str | None] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Synthesis]:
        """Synthesize any number of prepared sources, in order, in memory that does not grow with their number.

        Args:
            sources: Prepared sources (c, h, w); taken a batch at a time, as results are asked for.
            exclude_subjects: For each source the subject whose entries must not be used, or None.
            batch_size: Sources encoded together.

        Yields:
            One synthesis a source.

        Raises:
            SettingsError: The two iterables differ in length, a subject is no text, or the batch size is below 1.
            ImageError: An array is no prepared source, or of another shape than the others.
        """
        if batch_size < 1:
            raise SettingsError(f"batch_size is {batch_size}; give at least 1")
        end = object()
        excluded: Iterator[Any] = repeat(None) if exclude_subjects is None else chain(exclude_subjects, repeat(end))
        left = iter(sources)
        while batch := list(islice(left, batch_size)):
            names = list(islice(excluded, len(batch)))
            if any(name is end for name in names):
                raise SettingsError("exclude_subjects ended before the sources; give one subject (or None) a source")
            yield from self.synthesize(_stacked(batch), names)
        if exclude_subjects is not None and next(excluded) is not end:
            raise SettingsError("exclude_subjects is longer than the sources; give one subject (or None) a source")

    def predict(self, sources: Sources, *, exclude_subjects: Sequence[str | None] | None = None) -> Targets:
        """Synthesize a whole array of prepared sources; the images only.

        Args:
            sources: (n, c, h, w).
            exclude_subjects: For each source the subject whose entries must not be used, or None.

        Returns:
            (n, r, h, w) float32, NaN where there is no value.

        Raises:
            ImageError: There is no source, or one is no prepared source.
        """
        if len(sources) == 0:
            raise ImageError("there is no source to synthesize from; give at least one")
        images: Targets | None = None
        for row, synthesis in enumerate(self.stream(sources, exclude_subjects=exclude_subjects)):
            if images is None:
                images = np.empty((len(sources), *synthesis.image.shape), dtype=np.float32)
            images[row] = synthesis.image
        assert images is not None
        return images


def _checked_source(source: np.ndarray) -> Float32[np.ndarray, "c h w"]:
    if source.ndim != 3 or source.dtype.kind not in "fiu" or not source.size:
        raise ImageError(
            f"a prepared source is a numeric array (channels, rows, columns); this is {source.dtype} {source.shape}"
        )
    if not np.isfinite(source).all():
        raise ImageError("a prepared source has NaN or infinite pixels; give an `Image`, whose preparation fills them")
    return source.astype(np.float32, copy=False)


def _stacked(batch: list[Float32[np.ndarray, "c h w"]]) -> Sources:
    sources = [_checked_source(np.asarray(source)) for source in batch]
    shapes = sorted({source.shape for source in sources})
    if len(shapes) > 1:
        raise ImageError(f"sources of one stream have shapes {shapes}; prepare all of them alike")
    return np.stack(sources)
