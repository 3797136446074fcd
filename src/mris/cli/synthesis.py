"""``mris synthesize``."""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mris.cli.options import (
    EngineOptions,
    LeftCenter,
    OnError,
    PixelSpacing,
    Quiet,
    ReadoutOptions,
    RightCenter,
    SourceFiles,
    SourceSide,
    UsedBundle,
    joint_centers,
    names_in,
    note,
    parse_center,
    unfolded,
)
from mris.errors import ImageError, SettingsError
from mris.wording import counted

if TYPE_CHECKING:
    from mris.knee.knee_finder import KneeFinder
    from mris.serving.files import FileOutcome
    from mris.serving.outputs import Format
    from mris.synthesis.bundle import Bundle
    from mris.synthesis.parts import Parts

MOST_PICTURES = 50
"""Up to so many queries pictures are drawn unasked; drawing takes longer than synthesizing."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("synthesize")(unfolded(synthesize))


def synthesize(
    bundle: UsedBundle,
    files: SourceFiles,
    *,
    out: Annotated[Path, typer.Option(help="Folder for maps, spread, provenance and pictures.")] = Path("synthesis"),
    side: SourceSide = None,
    center: Annotated[
        str | None, typer.Option(metavar="ROW,COLUMN", help="Center of the region, pixels; the middle by default.")
    ] = None,
    knees: Annotated[
        str | None,
        typer.Option(
            metavar="detect|SHEET",
            help="Each file is a plate: a map for each knee, found by the detector or by a sheet of centers.",
        ),
    ] = None,
    right: RightCenter = None,
    left: LeftCenter = None,
    spacing: PixelSpacing = None,
    choice: ReadoutOptions,
    exclude_subject: Annotated[
        str | None, typer.Option(help="Keep this subject's maps out: the query's own, if it may be in the database.")
    ] = None,
    formats: Annotated[
        str | None, typer.Option(help="Of nifti, npz, png; by default nifti, and png too for up to 50 files.")
    ] = None,
    pictures: Annotated[
        bool | None, typer.Option(help="Draw the neighbors of each query; by default for up to 50 files.")
    ] = None,
    edges: Annotated[
        Literal["atlas", "phantom"] | None,
        typer.Option(
            help="Write medial, lateral, anterior and posterior on pictures, regions facing the same way: of maps of "
            "`mris thickness` (atlas) or of the digital cohort (phantom)."
        ),
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the atlas of `mris thickness`, if that made the bundle's maps: means.csv then has rows "
            "for parts of the cartilages."
        ),
    ] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write DICOM results into the study of each source (DICOM too).")
    ] = False,
    deidentify: Annotated[
        bool,
        typer.Option("--deidentify", help="Take out of the DICOM results what identifies the person; see MRIS_SALT."),
    ] = False,
    on_error: OnError = "stop",
    on_strange: Annotated[
        Literal["note", "skip", "stop"],
        typer.Option(
            help="At an image that is unlike anything the bundle was calibrated on, or does not look like a knee."
        ),
    ] = "note",
    engine: EngineOptions,
    quiet: Quiet = False,
) -> None:
    """Synthesize the target image of new sources from their nearest neighbors in the bundle's database.

    For each file: the map in the target's unit, the spread of its neighbors, STEM_provenance.json with neighbors,
    weights and subjects, and a picture of the neighbors; of a calibrated bundle also STEM_lower and STEM_upper, the
    ends of each pixel's interval. Any number of files; memory does not grow with it. For all of them: means.csv, the
    mean of each region with its interval; rows of earlier runs stay.

    With --knees (or --right, --left) a file is a plate of one or both knees: STEM_right and STEM_left. With --dicom
    also STEM_capture.dcm, a Secondary Capture to look at, and STEM_map.dcm, a Parametric Map with the values. With
    --deidentify the environment's MRIS_SALT, 16 characters or more, is the key of the replacements; without it, a
    random one.

    Example: mris synthesize knees.bundle plate.dcm --out maps --knees detect --dicom
    """
    from mris.cohort.names import normal_form
    from mris.cohort.origin import SIMULATED_NOTE
    from mris.cohort.workers import bar_is_seen
    from mris.knee.anatomy import KNEE
    from mris.knee.crop import REGION_MM
    from mris.knee.map_edges import ATLAS_EDGES, PHANTOM_EDGES
    from mris.serving.files import FileOptions, synthesize_files
    from mris.serving.pictures import Look
    from mris.synthesis.bundle import Bundle

    if dicom:
        import_module("highdicom")  # missing, it is missed before the work, not after it
    few = len(files) <= MOST_PICTURES
    options = FileOptions(
        side=side,
        center=None if center is None else parse_center(center, "--center"),
        spacing=(spacing, spacing) if spacing else None,
        finder=_knees(knees, right, left),
        exclude_subject=exclude_subject,
        formats=_formats(formats, few=few),
        pictures=few if pictures is None else pictures,
        dicom=dicom,
        salt=_salt() if deidentify else None,
        on_error=on_error,
        on_strange=on_strange,
        look=Look(edges={None: {}, "atlas": ATLAS_EDGES, "phantom": PHANTOM_EDGES}[edges]),
    )
    opened = Bundle.open(bundle)
    if atlas is not None:
        options = replace(options, parts=_parts(atlas, opened))
    if exclude_subject is not None and normal_form(exclude_subject) not in opened.subjects:
        note(f"the bundle holds nothing of subject {exclude_subject!r}; nothing to keep out")
    choice.note_few_neighbors(opened, exclude_subject=exclude_subject)
    if opened.header.origin == "simulated":
        note(f"bundle {bundle} was {SIMULATED_NOTE}; its maps say nothing about a person")
    preparation = opened.members[0].encoder.card.preparation
    if options.finder is not None and preparation.region_mm is None and preparation.extent_mm is None:
        note(
            f"the bundle does not tell how many mm its sources show; regions of {REGION_MM:g} mm are cut, and "
            "their scale is wrong if it was made of others"
        )
    synthesizer = opened.synthesizer(**asdict(choice.settings()), anatomy=KNEE)
    n_done = n_queries = 0
    say: Callable[[str], None] = partial(typer.echo, err=True)
    with engine.start() as started:
        outcomes: Iterable[FileOutcome] = synthesize_files(synthesizer, files, out, options, engine=started)
        if not quiet and bar_is_seen():
            outcomes, say = _with_bar(outcomes, len(files))
        for outcome in outcomes:
            if outcome.finding is None:
                n_done += 1
                n_queries += outcome.n_queries
            else:
                say(f"skipped: {outcome.finding}")
            for text in outcome.notes:
                say(f"note: {text}")
    found = "" if options.finder is None else f", {counted(n_queries, 'knee')},"
    typer.echo(f"{n_done:,} of {counted(len(files), 'file')}{found} synthesized into {out}")
    if n_done == 0:
        raise ImageError("no file could be used; the reasons stand above")


def _with_bar(outcomes: "Iterable[FileOutcome]", n_files: int) -> "tuple[Iterable[FileOutcome], Callable[[str], None]]":
    """Count outcomes on a bar; gives them, and what writes a line above it, where typer.echo would write into it."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    bar = track(outcomes, "Synthesizing", total=n_files, console=console, transient=True)
    return bar, partial(console.out, highlight=False)


def _knees(knees: str | None, right: str | None, left: str | None) -> "KneeFinder | None":
    centers = joint_centers(right, left)
    if knees is None and not centers:
        return None

    from mris.knee.center_sheet import read_center_sheet
    from mris.knee.knee_finder import KneeFinder

    if knees is None:
        return KneeFinder(centers)
    if centers:
        raise SettingsError(f"--knees is {knees!r}, and centers are given by hand; leave out one of them")
    return KneeFinder() if knees == "detect" else KneeFinder(sheet=read_center_sheet(Path(knees)))


def _parts(atlas: Path, bundle: "Bundle") -> "Parts":
    from mris.knee.cartilage_atlas import open_atlas
    from mris.knee.map_parts import map_parts

    masks = {
        region: mask
        for member in bundle.members
        for region, mask in zip(member.database.header.regions, member.database.atlas_mask, strict=True)
    }
    return map_parts(open_atlas(atlas), masks)


def _salt() -> bytes:
    from mris.serving.deidentify import LEAST_SALT, random_salt

    # From the environment alone: what stands in a command can be read by all users of the machine.
    salt = os.environ.get("MRIS_SALT", "").encode()
    if salt and len(salt) < LEAST_SALT:
        raise SettingsError(f"the salt (MRIS_SALT) has {len(salt)} bytes; give at least {LEAST_SALT}, or none")
    return salt or random_salt()


def _formats(text: str | None, *, few: bool) -> "tuple[Format, ...]":
    if text is None:
        return ("nifti", "png") if few else ("nifti",)
    known: dict[str, Format] = {"nifti": "nifti", "npz": "npz", "png": "png"}
    names = names_in(text)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise SettingsError(f"--formats has {', '.join(unknown) or 'nothing'}; give some of {', '.join(known)}")
    return tuple(known[name] for name in names)
