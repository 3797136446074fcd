"""From files to files: read queries, synthesize them in batches, write maps, provenance, pictures and DICOM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from mris.errors import ImageError, SettingsError
from mris.finding import Finding
from mris.images.header import Side
from mris.images.read import file_of, read_image
from mris.images.result_names import result_stems
from mris.images.written import require_text_name, require_written
from mris.reading import file_sha256
from mris.serving.dicom_source import DerivedFrom, SourceHeader, dicom_names, identifiers_in, read_source_header
from mris.serving.means import MEANS_FILE, MeanRow, mean_rows, read_means, write_means
from mris.serving.notes import notes_on, notes_on_strangeness
from mris.serving.outputs import Format, Query, write_synthesis
from mris.serving.pictures import N_PICTURED, Look, common_look, write_neighbors_picture
from mris.serving.queries import FileQuery, RegionFinder, queries_of
from mris.synthesis.batch_synthesizer import BATCH_SIZE, BatchSynthesizer
from mris.synthesis.parts import Parts
from mris.synthesis.synthesis import Synthesis

OnStrange = Literal["note", "skip", "stop"]


@dataclass(frozen=True)
class FileOptions:
    """How query files are read and what is written for each.

    Attributes:
        side: Side of the body where a file does not say.
        center: Row and column of the region's center, in pixels; the middle if None.
        spacing: Pixel spacing (row, column) in mm where a file states none.
        finder: How the regions of a plate are found, each of which is a query; None takes each file for one query.
        exclude_subject: Subject whose entries are not used.
        formats: Of "nifti", "npz" and "png".
        pictures: Also draw the neighbors of each query.
        dicom: Also write a Secondary Capture and a Parametric Map into the study of the source, which must be DICOM.
        salt: De-identify these two, with this key of the replacements (`mris.serving.deidentify`).
        on_error: "stop" at a file that cannot be used, or "skip" it.
        on_strange: "note" a query that is unlike anything known, "skip" its file, or "stop" at it.
        look: Colors and edges of the pictures; colors that are left open are those of the first files, for all.
        parts: For a region, parts of its maps whose means are written beside its own.
    """

    side: Side | None = None
    center: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    finder: RegionFinder | None = None
    exclude_subject: str | None = None
    formats: tuple[Format, ...] = ("nifti", "png")
    pictures: bool = True
    dicom: bool = False
    salt: bytes | None = None
    on_error: Literal["stop", "skip"] = "stop"
    on_strange: OnStrange = "note"
    look: Look = field(default_factory=Look)
    parts: Parts = field(default_factory=dict)


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
    header: SourceHeader | None


def synthesize_files(
    synthesizer: BatchSynthesizer, files: Sequence[Path], out_dir: str | Path, options: FileOptions
) -> Iterator[FileOutcome]:
    """Synthesize the target of each file, a batch at a time; memory does not grow with their number.

    At the end the means of all maps go into `MEANS_FILE`, where rows of earlier queries stay; also where a file stops
    the work.

    Args:
        synthesizer: Of a bundle, or a `mris.Synthesizer`.
        files: Source images; ``file.npz::key`` names an array of an archive.
        out_dir: Folder for the results, each named after its file, and after the side where a file is a plate.
        options: See `FileOptions`.

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
    _check_results(named, out_dir, options)
    _check_options(synthesizer, options)
    read_means(out_dir / MEANS_FILE)  # what cannot be continued is refused before the work, not after it
    means: list[MeanRow] = []
    try:
        for outcome, rows in _outcomes(synthesizer, named, out_dir, options):
            means += rows
            yield outcome
    finally:
        if means:
            write_means(out_dir, means)


def _outcomes(
    synthesizer: BatchSynthesizer, named: Sequence[tuple[Path, str]], out_dir: Path, options: FileOptions
) -> Iterator[tuple[FileOutcome, list[MeanRow]]]:
    for start in range(0, len(named), BATCH_SIZE):
        batch = named[start : start + BATCH_SIZE]
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
        options = replace(options, look=_common_look(synthesizer, synthesized, options))
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
            strange = [note for _, one in of_file for note in notes_on_strangeness(one)]
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
            header = read_source_header(path) if options.dicom else None
            prepared += [_prepare(synthesizer, query, header) for query in queries]
        except ImageError as error:
            if options.on_error == "stop":
                raise
            unusable[path] = Finding(str(error))
    return prepared, unusable


def _prepare(synthesizer: BatchSynthesizer, query: FileQuery, header: SourceHeader | None) -> _Prepared:
    side, preparation = query.facts.side, synthesizer.preparation
    source = synthesizer.prepare(query.image, side=side, center=query.center)
    mirrored = preparation is not None and side in preparation.mirror_sides
    return _Prepared(query.path, query.stem, query.facts, source, mirrored, header)


def _common_look(
    synthesizer: BatchSynthesizer, synthesized: Sequence[tuple[_Prepared, Synthesis]], options: FileOptions
) -> Look:
    """Colors that do not change from file to file, so that pictures of a run can be compared."""
    look = options.look
    drawn = options.pictures or options.dicom or "png" in options.formats
    if not drawn or not synthesized or (look.values is not None and look.spread is not None):
        return look
    syntheses = [synthesis for _, synthesis in synthesized]
    with_neighbors = syntheses if options.pictures or options.dicom else ()
    maps = [one for synthesis in with_neighbors for one in synthesizer.neighbor_maps(synthesis, N_PICTURED)]
    return common_look(syntheses, maps, look)


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


def _check_options(synthesizer: BatchSynthesizer, options: FileOptions) -> None:
    preparation = synthesizer.preparation
    if options.center is not None and options.finder is not None:
        anatomy = synthesizer.anatomy
        raise SettingsError(
            f"a center is given, and {anatomy.plural} are to be found; --center is for files of one {anatomy.name}, "
            "--right and --left for plates"
        )
    if options.center is not None and preparation is not None and preparation.region_mm is None:
        raise SettingsError("a center is given, but these encoders see whole images; leave it out")
    if options.salt is not None and not options.dicom:
        raise SettingsError("de-identification is asked for, but it is of DICOM results only; ask for DICOM, too")


def _check_results(named: Sequence[tuple[Path, str]], out_dir: Path, options: FileOptions) -> None:
    """Refuse results that would replace a query (OUT is the queries' own folder) or another query's result."""
    queries = {file_of(path).resolve(): path for path, _ in named}
    folder = out_dir.resolve()
    makers: dict[str, Path] = {}
    if folder / MEANS_FILE in queries:
        raise SettingsError(f"the table {out_dir / MEANS_FILE} would replace a query; choose another folder")
    for path, stem in named:
        stems = [stem] if options.finder is None else [f"{stem}_{side}" for side in options.finder.sides]
        for name in (name for one in stems for name in result_names(one, options)):
            if folder / name in queries:
                raise SettingsError(f"the result {out_dir / name} would replace a query; choose another folder")
            other = makers.setdefault(name, path)
            if other != path:
                raise SettingsError(f"{other} and {path} would both write {name}; use separate folders")


def result_names(stem: str, options: FileOptions) -> list[str]:
    """Names of all files that are written for a query of that stem."""
    by_format = {
        "nifti": tuple(f"{stem}{ending}.nii.gz" for ending in ("", "_spread", "_lower", "_upper")),
        "npz": (f"{stem}.npz",),
        "png": (f"{stem}.png",),
    }
    names = [name for kind in options.formats for name in by_format.get(kind, ())]
    if options.pictures:
        names.append(f"{stem}_neighbors.png")
    if options.dicom:
        names += dicom_names(stem)
    return [*names, f"{stem}_provenance.json"]
