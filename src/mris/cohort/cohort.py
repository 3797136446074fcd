"""A prepared cohort: pairs of images on disk, their subjects, timepoints, sides, splits and labels in memory."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64, Shaped

from mris.cohort.header import ATLAS_MASK_FILE, TABLE_FILE, CohortHeader, label_column, read_header
from mris.cohort.names import normal_form
from mris.cohort.pair_table import PairTable
from mris.cohort.split import check_disjoint
from mris.cohort.timepoints import first_visits
from mris.cohort.values_told import counts, distribution
from mris.errors import CohortError, ImageError
from mris.images.arrays import read_mask
from mris.storage.folder import Folder, folder_at
from mris.types import AtlasMask, Sources, Targets
from mris.wording import counted


class PairBatch(NamedTuple):
    """Consecutive pairs of a cohort.

    Attributes:
        positions: Their positions in the cohort (or view) that gave them; shape (n,).
        sources: Shape (n, c, h, w), float32 in [0, 1]; NaN in a cohort without sources.
        targets: Shape (n, r, h, w), float32 in the cohort's unit, NaN where there is no value.
    """

    positions: Int64[np.ndarray, " n"]
    sources: Sources
    targets: Targets


@dataclass(frozen=True, repr=False, eq=False)
class Cohort:
    """Pairs on disk, seen as a sequence; `split` and `select` give smaller views and copy no image.

    Images are stored as float16 (see `CohortHeader.precision`) and handed out as float32. A cohort never
    changes once it is open; it can be sent to a worker process that was started by spawn, not by fork.

    Attributes:
        path: Its folder; as text its address, where it lies in a storage.
        header: Regions, unit, shapes and how the sources were prepared.

    Example:
        >>> cohort = Cohort.open("cohort")                        # doctest: +SKIP
        >>> train = cohort.split("train")                         # doctest: +SKIP
        >>> for batch in train.batches(64):                       # doctest: +SKIP
        ...     print(batch.sources.shape, batch.targets.shape)
    """

    path: Folder
    header: CohortHeader
    _table: PairTable
    _metadata: pa.Table
    _rows: Int64[np.ndarray, " n"]

    @classmethod
    def open(cls, path: str | Path) -> "Cohort":
        """Open a cohort that `mris prepare` has finished.

        Args:
            path: Its folder, or its address in a storage, such as "s3://hospital/cohort".

        Returns:
            The cohort; no image is read yet.

        Raises:
            CohortError: There is no cohort, it is unfinished, or its files contradict each other.
            StorageError: The storage refuses, or holds nothing of ours there.
        """
        folder = folder_at(path)
        header = read_header(folder)
        table = PairTable(folder / TABLE_FILE)
        metadata = table.metadata()
        _check_agreement(folder, header, table.dataset.schema, metadata)
        return cls(folder, header, table, metadata, np.arange(len(metadata), dtype=np.int64))

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Cohort({str(self.path)!r}, {len(self)} of {len(self._metadata)} pairs)"

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the target regions, in the order of the targets' second axis."""
        return self.header.regions

    @cached_property
    def keys(self) -> Shaped[np.ndarray, " n"]:
        """Key of each pair, "subject/timepoint" or "subject/timepoint/side"; shape (n,), strings."""
        return self._strings("key")

    @cached_property
    def subjects(self) -> Shaped[np.ndarray, " n"]:
        """Subject of each pair; shape (n,), strings."""
        # Cohorts of earlier versions may hold one person under two spellings.
        return np.array([normal_form(name) for name in self._strings("subject").tolist()], dtype=np.str_)

    @cached_property
    def timepoints(self) -> Shaped[np.ndarray, " n"]:
        """Timepoint of each pair; shape (n,), strings."""
        return self._strings("timepoint")

    @cached_property
    def sides(self) -> Shaped[np.ndarray, " n"]:
        """Side of each pair, "left" or "right", or "" in a cohort without sides; shape (n,), strings."""
        return self._strings("side")

    @cached_property
    def splits(self) -> Shaped[np.ndarray, " n"]:
        """Split of each pair; shape (n,), strings."""
        return self._strings("split")

    @cached_property
    def is_baseline(self) -> Bool[np.ndarray, " n"]:
        """True at the earliest timepoint that the whole cohort has of the pair's subject and side; shape (n,).

        Timepoints are in their natural order (`mris.cohort.timepoints.timepoint_order`).
        """
        whole = self._metadata
        groups = list(zip(whole["subject"].to_pylist(), whole["side"].to_pylist(), strict=True))
        return np.asarray(first_visits(groups, whole["timepoint"].to_pylist())[self._rows])

    def label(self, name: str) -> Shaped[np.ndarray, " n"]:
        """Give a label of each pair.

        Args:
            name: A label column of the manifest.

        Returns:
            Shape (n,): float64 with NaN where missing for a numeric label, else strings with "" where missing.

        Raises:
            CohortError: There is no such label.
        """
        if name not in self.header.labels:
            raise CohortError(f"cohort {str(self.path)!r} has no label {name!r}; {_choice(name, self.header.labels)}")
        column = self._metadata[label_column(name)]
        if pa.types.is_string(column.type):
            return self._strings(label_column(name))
        values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan"))
        return np.asarray(values.to_numpy()[self._rows], dtype=np.float64)

    def split(self, *names: str) -> "Cohort":
        """Give the view of one or several splits.

        Args:
            names: Names of splits, such as "train".

        Returns:
            Their pairs, in the order of this cohort.

        Raises:
            CohortError: A name is not a split of the cohort. (A view may lack the split's pairs and be empty.)
        """
        known = sorted(set(self._metadata["split"].to_pylist()))
        for name in names:
            if name not in known:
                raise CohortError(f"cohort {str(self.path)!r} has no split {name!r}; {_choice(name, known)}")
        return self.select(np.isin(self.splits, names))

    def select(self, which: Bool[np.ndarray, " n"] | Int64[np.ndarray, " m"] | Sequence[int]) -> "Cohort":
        """Give the view of some pairs.

        Args:
            which: A mask of shape (n,), or positions in [0, n) in the order wanted.

        Returns:
            A view; its position i is the i-th pair chosen.

        Raises:
            CohortError: The mask has another length, or a position is out of range.
        """
        return replace(self, _rows=self._rows[self._positions(which)])

    def with_splits(self, splits: Sequence[str] | Shaped[np.ndarray, " n"]) -> "Cohort":
        """Give a view whose pairs stand in other splits: a fold of a cross-validation.

        What depends on the stored splits stays as it is: `atlas_mask` is that of the stored "train".

        Args:
            splits: Split of each pair of this view; a subject stands in one.

        Returns:
            A view of the same pairs in the same order.

        Raises:
            CohortError: There are more or fewer names than pairs.
            SubjectLeakError: A subject is in two splits.

        Example:
            >>> fold = np.where(cohort.subjects == "P00017", "test", "train")  # doctest: +SKIP
            >>> cohort.with_splits(fold).split("train")                        # doctest: +SKIP
        """
        names = [str(name) for name in splits]
        if len(names) != len(self):
            raise CohortError(f"{len(names)} splits are given for {len(self)} pairs; give one for each")
        check_disjoint([str(subject) for subject in self.subjects], names)
        stored = np.array(self._metadata["split"].to_pylist(), dtype=object)
        stored[self._rows] = names
        column = self._metadata.schema.get_field_index("split")
        return replace(self, _metadata=self._metadata.set_column(column, "split", pa.array(stored, pa.string())))

    def require_sources(self) -> None:
        """Raise CohortError if the cohort was prepared without sources."""
        if not self.header.has_sources:
            raise CohortError(
                f"cohort {str(self.path)!r} has no sources: its targets can be added to a bundle (`mris bundle add`), "
                "and nothing else; prepare one with sources"
            )

    def read_sources(self, positions: Int64[np.ndarray, " n"] | Sequence[int] | None = None) -> Sources:
        """Read prepared source images.

        Args:
            positions: Positions in [0, len(self)), in any order; None for all.

        Returns:
            Shape (n, c, h, w), float32 in [0, 1].

        Raises:
            CohortError: A position is out of range, the table is damaged, or the cohort has no sources.
        """
        self.require_sources()
        rows = self._rows[self._positions(positions)]
        (pixels,) = self._table.read(["source"], rows)
        return pixels.reshape(len(rows), *self.header.source_shape)

    def read_targets(
        self, positions: Int64[np.ndarray, " n"] | Sequence[int] | None = None, regions: Sequence[str] | None = None
    ) -> Targets:
        """Read targets.

        Args:
            positions: Positions in [0, len(self)), in any order; None for all.
            regions: Regions wanted, in the order wanted; None for all.

        Returns:
            Shape (n, r, h, w), float32 in the cohort's unit, NaN where there is no value.

        Raises:
            CohortError: A position is out of range, a region is unknown, or the table is damaged.
        """
        channels = self.region_channels(regions)
        rows = self._rows[self._positions(positions)]
        (pixels,) = self._table.read(["target"], rows)
        return self._shaped_targets(pixels, channels)

    def read_pairs(
        self, positions: Int64[np.ndarray, " n"] | Sequence[int], regions: Sequence[str] | None = None
    ) -> tuple[Sources, Targets]:
        """Read sources and targets at once, which from a storage takes half as long as one after the other.

        Args:
            positions: Positions in [0, len(self)), in any order.
            regions: Regions of the targets; None for all.

        Returns:
            As `read_sources` and `read_targets`; NaN for the sources of a cohort without.

        Raises:
            CohortError: A position is out of range, a region is unknown, or the table is damaged.
        """
        channels = self.region_channels(regions)
        rows = self._rows[self._positions(positions)]
        sources, targets = self._table.read(["source", "target"], rows)
        return sources.reshape(len(rows), *self.header.source_shape), self._shaped_targets(targets, channels)

    def batches(self, batch_size: int, regions: Sequence[str] | None = None) -> Iterator[PairBatch]:
        """Read all pairs in order, a batch at a time; the last batch may be smaller, and none is left out.

        Args:
            batch_size: Pairs of a batch, at least 1.
            regions: Regions of the targets; None for all.

        Yields:
            Positions, sources and targets.

        Raises:
            CohortError: The batch size is below 1, a region is unknown, or the table is damaged.
        """
        if batch_size < 1:
            raise CohortError(f"batch size is {batch_size}; give at least 1")
        self.region_channels(regions)
        for start in range(0, len(self), batch_size):
            positions = np.arange(start, min(start + batch_size, len(self)), dtype=np.int64)
            yield PairBatch(positions, *self.read_pairs(positions, regions))

    @cached_property
    def atlas_mask(self) -> AtlasMask:
        """Pixels that are valid in at least one training target (in any target, without a split "train"); (r, h, w).

        Raises:
            CohortError: The mask's file is absent, damaged or of another shape.
        """
        path = self.path / ATLAS_MASK_FILE
        try:
            return read_mask(Path(path), self.header.target_shape)
        except ImageError as error:
            raise CohortError(f"{path} cannot be read ({error}); prepare the cohort again with --overwrite") from error

    def region_channels(self, regions: Sequence[str] | None) -> list[int]:
        """Find the channels of the named regions (None for all).

        Raises:
            CohortError: No region is asked for, or one is unknown.
        """
        if regions is None:
            return list(range(len(self.regions)))
        if isinstance(regions, str) or len(regions) == 0:
            raise CohortError(f"regions is {regions!r}; give a sequence of names among {', '.join(self.regions)}")
        for name in regions:
            if name not in self.regions:
                raise CohortError(f"cohort {str(self.path)!r} has no region {name!r}; {_choice(name, self.regions)}")
        return [self.regions.index(name) for name in regions]

    def describe(self) -> str:
        """Tell in a few lines what the cohort holds: pairs, splits, labels, shapes and coverage."""
        header = self.header
        spacing = header.target_spacing
        size = "" if spacing is None else f", {spacing[0]:.4g} x {spacing[1]:.4g} mm a pixel"
        lines = [
            f"{counted(len(self), 'pair')} of {counted(len(set(self.subjects)), 'subject')} in {self.path}",
            f"  source {header.source_shape}, target {header.target_shape} in {header.unit}{size}",
            f"  regions: {', '.join(self.regions)}; sides: {counts(self.sides) if any(self.sides) else 'none'}",
            f"  baseline pairs: {int(self.is_baseline.sum())}; splits: {header.split_rule}",
        ]
        for name in sorted(set(self.splits)):
            inside = self.splits == name
            lines.append(
                f"  {name}: {counted(int(inside.sum()), 'pair')}, {counted(len(set(self.subjects[inside])), 'subject')}"
            )
        lines += [f"  {name}: {distribution(self.label(name))}" for name in header.labels]
        covered = self.atlas_mask.reshape(len(self.regions), -1).mean(axis=1)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(self.regions, covered, strict=True))
        return "\n".join([*lines, f"  pixels with values somewhere: {shares}"])

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def _strings(self, column: str) -> Shaped[np.ndarray, " n"]:
        values = pc.fill_null(pc.take(self._metadata[column], pa.array(self._rows)), "")
        return np.array(values.to_pylist(), dtype=np.str_)

    def _positions(self, which: Any) -> Int64[np.ndarray, " m"]:
        if which is None:
            return np.arange(len(self), dtype=np.int64)
        asked = np.asarray(which)
        if asked.dtype == np.bool_:
            if asked.shape != self._rows.shape:
                raise CohortError(
                    f"a mask of shape {asked.shape} cannot select from {len(self)} pairs; shapes must agree"
                )
            return np.flatnonzero(asked)
        if asked.ndim != 1 or not (np.issubdtype(asked.dtype, np.integer) or asked.size == 0):
            raise CohortError(f"positions are {asked.dtype} of shape {asked.shape}; give one row of whole numbers")
        if asked.size and not (asked.min() >= 0 and asked.max() < len(self)):
            outside = asked.min() if asked.min() < 0 else asked.max()
            raise CohortError(
                f"position {outside} is outside a cohort of {len(self)} pairs; positions lie in [0, {len(self)})"
            )
        return asked.astype(np.int64)

    def _shaped_targets(self, pixels: Any, channels: list[int]) -> Targets:
        targets: Targets = pixels.reshape(len(pixels), *self.header.target_shape)
        return targets if channels == list(range(len(self.regions))) else targets[:, channels]


def _check_agreement(folder: Folder, header: CohortHeader, schema: pa.Schema, metadata: pa.Table) -> None:
    asked = {"source": int(np.prod(header.source_shape)), "target": int(np.prod(header.target_shape))}
    for name, size in asked.items():
        kind = schema.field(name).type if name in schema.names else None
        if kind != pa.list_(pa.float16(), size):
            raise CohortError(
                f"cohort {str(folder)!r}: its header asks for {size} float16 a {name}, its table has {kind}"
            )
    missing = [name for name in header.labels if label_column(name) not in schema.names]
    if missing or len(metadata) != header.n_pairs:
        raise CohortError(
            f"cohort {str(folder)!r}: its header tells of {header.n_pairs} pairs and labels {header.labels}, "
            f"its table has {len(metadata)} pairs and lacks {missing}; prepare it again with --overwrite"
        )


def _choice(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}there are: {', '.join(known) if known else 'none'}"
