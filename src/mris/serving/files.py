"""From files to files: read queries, synthesize them in batches, write maps, provenance, pictures and DICOM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from mris.engines.engine import Engine, in_this_process
from mris.errors import ImageError, SettingsError
from mris.finding import Finding
from mris.images.read import file_of, read_image
from mris.images.result_names import result_stems
from mris.images.written import require_text_name, require_written
from mris.reading import file_sha256
from mris.serving.file_options import FileOptions, check_options, check_results
from mris.serving.means import MEANS_FILE, MeanRow, mean_rows, read_means, write_means
from mris.serving.notes import notes_on, reasons_against
from mris.serving.outputs import Query, write_synthesis
from mris.serving.pictures import N_PICTURED, Look, common_look, write_neighbors_picture
from mris.serving.queries import FileQuery, queries_of
from mris.synthesis.batch_synthesizer import BATCH_SIZE, BatchSynthesizer
from mris.synthesis.synthesis import Synthesis

if TYPE_CHECKING:
    from mris.serving.dicom_source import SourceHeader

__all__ = ["FileOptions", "FileOutcome", "synthesize_files"]


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file: what was written for its queries, or why nothing was.

    Attributes:
        path: The file.
        written: All results.
        n_queries: How many images were synthesized: one, or one a region that was found.
        notes: What was done otherwise than the file asks for.
        finding: Why nothing was written, or None.
    """

    path: Path
    written: tuple[Path, ...] = ()
    n_queries: int = 0
    notes: tuple[str, ...] = ()
    finding: Finding | None = None


@dataclass(frozen=True)
class _Prepared:
    """A query whose file is not needed any more: memory holds what the encoder sees, not whole plates."""

    path: Path
    stem: str
    facts: Query
    source: Float32[np.ndarray, "c h w"]
    mirrored: bool
    header: "SourceHeader | None"


_Done = tuple[FileOutcome, list[MeanRow]]
"""What became of a file, and its rows in the table of means."""


def synthesize_files(
    synthesizer: BatchSynthesizer,
    files: Sequence[Path],
    out_dir: str | Path,
    options: FileOptions,
    *,
    engine: Engine | None = None,
) -> Iterator[FileOutcome]:
    """Synthesize the target of each file, a batch at a time; memory does not grow with their number.

    At the end the means of all maps go into `MEANS_FILE`, where rows of earlier queries stay; also where a file stops
    the work.

    Args:
        synthesizer: Of a bundle, or a `mris.Synthesizer`.
        files: Source images; ``file.npz::key`` names an array of an archive.
        out_dir: Folder for the results, each named after its file, and after the side where a file is a plate.
        options: See `FileOptions`.
        engine: What does the work; this process if None. One that works ahead can have written results of later files
            when a file stops the work.

    Yields:
        One outcome a file, in order, once its files are complete.

    Raises:
        SettingsError: Two files would write the same results, a result would replace a query, or options contradict
            each other or the encoders.
        ImageError: A file cannot be used, and `options.on_error` is "stop".
        OutputError: The disk refuses.
    """
    named = list(zip(files, result_stems(files), strict=True))
    out_dir = Path(out_dir)
    check_results(named, out_dir, options)
    check_options(synthesizer, options)
    read_means(out_dir / MEANS_FILE)  # what cannot be continued is refused before the work, not after it
    means: list[MeanRow] = []
    try:
        for outcome, rows in _outcomes(synthesizer, named, out_dir, options, engine):
            means += rows
            yield outcome
    finally:
        if means:
            write_means(out_dir, means)


def _outcomes(
    synthesizer: BatchSynthesizer,
    named: Sequence[tuple[Path, str]],
    out_dir: Path,
    options: FileOptions,
    engine: Engine | None,
) -> Iterator[_Done]:
    batches = [named[start : start + BATCH_SIZE] for start in range(0, len(named), BATCH_SIZE)]
    n_done = 0
    while n_done < len(batches) and not _look_is_chosen(options):
        batch, n_done = batches[n_done], n_done + 1
        synthesized, unusable = _synthesized(synthesizer, batch, options)
        options = replace(options, look=_common_look(synthesizer, synthesized, options))
        yield from _written(synthesizer, batch, synthesized, unusable, out_dir, options)
    yield from (engine or in_this_process)(partial(_of_batch, synthesizer, out_dir, options), batches[n_done:])


def _of_batch(
    synthesizer: BatchSynthesizer, out_dir: Path, options: FileOptions, batch: Sequence[tuple[Path, str]]
) -> Iterator[_Done]:
    synthesized, unusable = _synthesized(synthesizer, batch, options)
    yield from _written(synthesizer, batch, synthesized, unusable, out_dir, options)


def _synthesized(
    synthesizer: BatchSynthesizer, batch: Sequence[tuple[Path, str]], options: FileOptions
) -> tuple[list[tuple[_Prepared, Synthesis]], dict[Path, Finding]]:
    prepared, unusable = _read(synthesizer, batch, options)
    synthesized: list[tuple[_Prepared, Synthesis]] = []
    for alike in _by_shape(prepared):
        sources = np.stack([query.source for query in alike])
        try:
            syntheses = synthesizer.synthesize(sources, [options.exclude_subject] * len(alike))
        except ImageError as error:  # another number of channels than the encoder's
            if options.on_error == "stop":
                raise ImageError(f"image {alike[0].path}: {error}") from error
            unusable |= {query.path: Finding(f"image {query.path}: {error}") for query in alike}
            continue
        for query, synthesis in zip(alike, syntheses, strict=True):
            mirrored = query.mirrored and synthesizer.mirrors_targets
            synthesized.append((query, replace(synthesis, mirrored=mirrored)))
    return synthesized, unusable


def _written(
    synthesizer: BatchSynthesizer,
    batch: Sequence[tuple[Path, str]],
    synthesized: Sequence[tuple[_Prepared, Synthesis]],
    unusable: Mapping[Path, Finding],
    out_dir: Path,
    options: FileOptions,
) -> Iterator[_Done]:
    for path, _ in batch:
        of_file = [(query, synthesis) for query, synthesis in synthesized if query.path == path]
        if path in unusable:
            yield FileOutcome(path, finding=unusable[path]), []
            continue
        if options.on_strange != "note" and any(one.strangeness is None for _, one in of_file):
            raise SettingsError(
                f"--on-strange is {options.on_strange!r}, and this bundle or readout was not calibrated to tell "
                "what is strange; index again with people to calibrate on, or leave it out"
            )
        strange = [reason for _, one in of_file for reason in reasons_against(one)]
        if strange and options.on_strange == "stop":
            raise ImageError(f"image {path}: {strange[0]}; look at it, or give --on-strange note")
        if strange and options.on_strange == "skip":
            yield FileOutcome(path, finding=Finding(f"image {path}: {strange[0]}")), []
            continue
        try:
            objects = [_dicom_objects(synthesizer, *one, options) for one in of_file]  # all, or none is written
        except ImageError as error:
            if options.on_error == "stop":
                raise
            yield FileOutcome(path, finding=Finding(str(error))), []
        else:
            rows = [row for query, one in of_file for row in mean_rows(query.stem, one, options.parts)]
            yield _write_all(synthesizer, path, of_file, objects, out_dir, options), rows


def _read(
    synthesizer: BatchSynthesizer, batch: Sequence[tuple[Path, str]], options: FileOptions
) -> tuple[list[_Prepared], dict[Path, Finding]]:
    prepared: list[_Prepared] = []
    unusable: dict[Path, Finding] = {}
    for path, stem in batch:
        try:
            require_text_name(path)
            queries = queries_of(
                read_image(path, spacing=options.spacing),
                path,
                stem,
                side=options.side,
                center=options.center,
                finder=options.finder,
                preparation=synthesizer.preparation,
                anatomy=synthesizer.anatomy,
            )
            header = _source_header(path) if options.dicom else None
            prepared += [_prepare(synthesizer, query, header) for query in queries]
        except ImageError as error:
            if options.on_error == "stop":
                raise
            unusable[path] = Finding(str(error))
    return prepared, unusable


def _source_header(path: Path) -> "SourceHeader":
    from mris.serving.dicom_source import read_source_header

    return read_source_header(path)


def _prepare(synthesizer: BatchSynthesizer, query: FileQuery, header: "SourceHeader | None") -> _Prepared:
    side, preparation = query.facts.side, synthesizer.preparation
    source = synthesizer.prepare(query.image, side=side, center=query.center)
    mirrored = preparation is not None and side in preparation.mirror_sides
    return _Prepared(query.path, query.stem, query.facts, source, mirrored, header)


def _common_look(
    synthesizer: BatchSynthesizer, synthesized: Sequence[tuple[_Prepared, Synthesis]], options: FileOptions
) -> Look:
    """Colors that do not change from file to file, so that pictures of a run can be compared."""
    if _look_is_chosen(options) or not synthesized:
        return options.look
    syntheses = [synthesis for _, synthesis in synthesized]
    with_neighbors = syntheses if options.pictures or options.dicom else ()
    maps = [one for synthesis in with_neighbors for one in synthesizer.neighbor_maps(synthesis, N_PICTURED)]
    return common_look(syntheses, maps, options.look)


def _look_is_chosen(options: FileOptions) -> bool:
    """Tell whether files can be worked on apart: nothing is drawn of them, or the colors are chosen."""
    drawn = options.pictures or options.dicom or "png" in options.formats
    return not drawn or (options.look.values is not None and options.look.spread is not None)


def _write_all(
    synthesizer: BatchSynthesizer,
    path: Path,
    queries: Sequence[tuple[_Prepared, Synthesis]],
    objects: Sequence[Mapping[str, bytes]],
    out_dir: Path,
    options: FileOptions,
) -> FileOutcome:
    sha256 = file_sha256(file_of(path))
    written: tuple[Path, ...] = ()
    unlike: list[str] = []
    for (query, synthesis), encoded in zip(queries, objects, strict=True):
        found = tuple(notes_on(synthesis))
        unlike += [f"{query.stem}: {note}" for note in found]
        query = replace(query, facts=replace(query.facts, sha256=sha256, notes=(*query.facts.notes, *found)))
        written += _write(synthesizer, query, synthesis, encoded, out_dir, options)
    require_written(written)
    notes = [note for query, _ in queries[:1] if query.header is not None for note in query.header.notes]
    notes += _notes_on_plate(path, queries)
    notes += unlike
    if options.salt is not None:
        notes += _notes_on_names(path, queries)
    return FileOutcome(path, written, len(queries), tuple(notes))


def _notes_on_plate(path: Path, queries: Sequence[tuple[_Prepared, Synthesis]]) -> Iterator[str]:
    """Say what of a plate deserves a look."""
    for query, _ in queries[:1]:
        for note in query.facts.notes:
            yield f"{path.name}: {note}"


def _notes_on_names(path: Path, queries: Sequence[tuple[_Prepared, Synthesis]]) -> Iterator[str]:
    """Say where names of results undo the de-identification of what they hold."""
    from mris.serving.dicom_source import identifiers_in

    for query, _ in queries[:1]:
        told = () if query.header is None else identifiers_in(query.stem, query.header)
        if told:
            yield f"the names of the results of {path.name} hold its {', '.join(told)}; rename the file first"


def _dicom_objects(
    synthesizer: BatchSynthesizer, query: _Prepared, synthesis: Synthesis, options: FileOptions
) -> Mapping[str, bytes]:
    if query.header is None:
        return {}
    from mris.serving.dicom_files import encoded_dicom_objects
    from mris.serving.dicom_source import DerivedFrom

    return encoded_dicom_objects(
        query.stem,
        synthesis,
        DerivedFrom(query.header, query.facts.side, query.mirrored, synthesizer.anatomy),
        synthesizer.neighbor_maps(synthesis, N_PICTURED),
        query.source,
        salt=options.salt,
        look=options.look,
    )


def _write(
    synthesizer: BatchSynthesizer,
    query: _Prepared,
    synthesis: Synthesis,
    encoded: Mapping[str, bytes],
    out_dir: Path,
    options: FileOptions,
) -> tuple[Path, ...]:
    objects: tuple[Path, ...] = ()
    if encoded:
        from mris.serving.dicom_files import write_dicom_objects

        objects = write_dicom_objects(out_dir, encoded)
    written = write_synthesis(
        synthesis, out_dir, query.stem, options.formats, query=query.facts, look=options.look, beside=list(encoded)
    )
    if options.pictures:
        picture = out_dir / f"{query.stem}_neighbors.png"
        maps = synthesizer.neighbor_maps(synthesis, N_PICTURED)
        write_neighbors_picture(picture, synthesis, query.source, maps, look=options.look)
        written = (*written, picture)
    return (*written, *objects)


def _by_shape(queries: list[_Prepared]) -> list[list[_Prepared]]:
    groups: dict[tuple[int, ...], list[_Prepared]] = {}
    for query in queries:
        groups.setdefault(query.source.shape, []).append(query)
    return list(groups.values())
