"""From files to files: read queries, synthesize them in batches, write maps, provenance and pictures."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from mris.errors import ImageError, SettingsError
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.result_names import result_stems
from mris.synthesis.outputs import Format, Query, write_synthesis
from mris.synthesis.pictures import ValueRange, write_neighbors_picture
from mris.synthesis.synthesis import Synthesis
from mris.synthesis.synthesizer import BATCH_SIZE, BatchSynthesizer

N_PICTURED = 8
"""Neighbors on a picture."""


@dataclass(frozen=True)
class FileOptions:
    """How query files are read and what is written for each.

    Attributes:
        side: Side of the body where a file does not say.
        center: Row and column of the region's center, in pixels; the middle if None.
        spacing: Pixel spacing (row, column) in mm where a file states none.
        exclude_subject: Subject whose entries are not used.
        formats: Of "nifti", "npz" and "png".
        pictures: Also draw the neighbors of each query.
        on_error: "stop" at a file that cannot be used, or "skip" it.
        value_range: Least and largest value of the pictures' colors.
    """

    side: Literal["left", "right"] | None = None
    center: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    exclude_subject: str | None = None
    formats: tuple[Format, ...] = ("nifti", "png")
    pictures: bool = True
    on_error: Literal["stop", "skip"] = "stop"
    value_range: ValueRange | None = None


@dataclass(frozen=True)
class FileOutcome:
    """What became of one query file: what was written, or why nothing was."""

    path: Path
    written: tuple[Path, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class _Prepared:
    path: Path
    stem: str
    image: Image
    source: Float32[np.ndarray, "c h w"]


def synthesize_files(
    synthesizer: BatchSynthesizer, files: Sequence[Path], out_dir: str | Path, options: FileOptions
) -> Iterator[FileOutcome]:
    """Synthesize the target of each file, a batch at a time; memory does not grow with their number.

    Args:
        synthesizer: Of a bundle, or a `mris.Synthesizer`.
        files: Source images; ``file.npz::key`` names an array of an archive.
        out_dir: Folder for the results, each named after its file.
        options: See `FileOptions`.

    Yields:
        One outcome a file, in order, once its files are complete.

    Raises:
        SettingsError: Two files would write the same results, a result would replace a query, or a center is given
            though no region is cut.
        ImageError: A file cannot be used, and `options.on_error` is "stop".
        OutputError: The disk refuses.
    """
    named = list(zip(files, result_stems(files), strict=True))
    out_dir = Path(out_dir)
    _check_results(named, out_dir, options)
    if options.center is not None and synthesizer.preparation is not None and synthesizer.preparation.region_mm is None:
        raise SettingsError("a center is given, but these encoders see whole images; leave it out")
    for start in range(0, len(files), BATCH_SIZE):
        batch = named[start : start + BATCH_SIZE]
        prepared, problems = _read(synthesizer, batch, options)
        done: dict[Path, FileOutcome] = {}
        for alike in _by_shape(prepared):
            sources = np.stack([query.source for query in alike])
            try:
                syntheses = synthesizer.synthesize(sources, [options.exclude_subject] * len(alike))
            except ImageError as error:  # another number of channels than the encoder's
                if options.on_error == "stop":
                    raise ImageError(f"image {alike[0].path}: {error}") from error
                problems |= {query.path: f"image {query.path}: {error}" for query in alike}
                continue
            for query, synthesis in zip(alike, syntheses, strict=True):
                done[query.path] = _write(synthesizer, query, synthesis, out_dir, options)
        for path, _ in batch:
            yield done.get(path) or FileOutcome(path, problem=problems[path])


def _read(
    synthesizer: BatchSynthesizer, batch: Sequence[tuple[Path, str]], options: FileOptions
) -> tuple[list[_Prepared], dict[Path, str]]:
    prepared, problems = [], {}
    for path, stem in batch:
        try:
            image = read_image(path)
            if image.spacing is None and options.spacing is not None:
                image = replace(image, spacing=options.spacing)
            side = image.laterality or options.side
            source = synthesizer.prepare(image, side=side, center=options.center)
            prepared.append(_Prepared(path, stem, replace(image, laterality=side), source))
        except ImageError as error:
            if options.on_error == "stop":
                raise
            problems[path] = str(error)
    return prepared, problems


def _write(
    synthesizer: BatchSynthesizer, query: _Prepared, synthesis: Synthesis, out_dir: Path, options: FileOptions
) -> FileOutcome:
    side, preparation = query.image.laterality, synthesizer.preparation
    if synthesizer.mirrors_targets and preparation is not None and side in preparation.mirror_sides:
        synthesis = replace(synthesis, mirrored=True)
    written = write_synthesis(
        synthesis,
        out_dir,
        query.stem,
        options.formats,
        query=Query(query.path.name, _sha256(query.path), side),
        value_range=options.value_range,
    )
    if options.pictures:
        picture = out_dir / f"{query.stem}_neighbors.png"
        maps = synthesizer.neighbor_maps(synthesis, N_PICTURED)
        write_neighbors_picture(picture, synthesis, query.source, maps, value_range=options.value_range)
        written = (*written, picture)
    return FileOutcome(query.path, written)


def _by_shape(queries: list[_Prepared]) -> list[list[_Prepared]]:
    groups: dict[tuple[int, ...], list[_Prepared]] = {}
    for query in queries:
        groups.setdefault(query.source.shape, []).append(query)
    return list(groups.values())


def _sha256(path: Path) -> str:
    with Path(str(path).partition("::")[0]).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_results(named: Sequence[tuple[Path, str]], out_dir: Path, options: FileOptions) -> None:
    """Refuse results that would replace a query (OUT is the queries' own folder) or another query's result."""
    queries = {Path(str(path).partition("::")[0]).resolve(): path for path, _ in named}
    folder = out_dir.resolve()
    makers: dict[str, Path] = {}
    for path, stem in named:
        for name in result_names(stem, options):
            if folder / name in queries:
                raise SettingsError(f"the result {out_dir / name} would replace a query; choose another folder")
            other = makers.setdefault(name, path)
            if other != path:
                raise SettingsError(f"{other} and {path} would both write {name}; use separate folders")


def result_names(stem: str, options: FileOptions) -> list[str]:
    """Names of all files that are written for a query of that stem."""
    by_format = {
        "nifti": (f"{stem}.nii.gz", f"{stem}_spread.nii.gz"),
        "npz": (f"{stem}.npz",),
        "png": (f"{stem}.png",),
    }
    names = [name for kind in options.formats for name in by_format.get(kind, ())]
    return [*names, f"{stem}_provenance.json", *([f"{stem}_neighbors.png"] if options.pictures else [])]
