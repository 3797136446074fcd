"""``mris phantom``, ``mris check``, ``mris prepare``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mris.cli.options import EngineOptions, Quiet, Workers, unfolded
from mris.defaults import FRACTIONS, QC_THRESHOLD
from mris.errors import CohortError, SettingsError
from mris.images.two_numbers import two_numbers
from mris.knee.crop import REGION_MM
from mris.wording import counted

if TYPE_CHECKING:
    from mris.cohort.prepare import PrepareReport, PrepareSettings

Manifest = Annotated[
    Path,
    typer.Argument(
        help="CSV or Parquet with columns subject, timepoint, source, target (or one target_<region> a region), and "
        "perhaps side, split, spacing, center_row, center_col, image_origin; every other column is a label."
    ),
]


@dataclass(frozen=True)
class PreparationOptions:
    """How the pairs of a manifest become those of a cohort, and which people are in which split."""

    size: Annotated[str, typer.Option(help="Pixels of the prepared source: one number, or ROWSxCOLUMNS.")] = "256"
    target_size: Annotated[str | None, typer.Option(help="Pixels of the prepared target; as --size by default.")] = None
    unit: Annotated[str, typer.Option(help="Unit of the targets' values.")] = "mm"
    target_spacing: Annotated[
        str | None, typer.Option(help="Pixel spacing (mm) of target files that state none: one number, or ROWxCOLUMN.")
    ] = None
    percentile: Annotated[float, typer.Option(help="This percentile of a source becomes this share of the range.")] = (
        99.0
    )
    mirror: Annotated[
        str | None,
        typer.Option(help="Sides whose sources are mirrored, such as 'right', so that all look like the other."),
    ] = None
    mirror_targets: Annotated[bool, typer.Option("--mirror-targets", help="Mirror the targets of those sides too.")] = (
        False
    )
    region_mm: Annotated[
        float | None,
        typer.Option(help=f"Cut a square of so many mm round center_row, center_col ({REGION_MM:g} for a knee)."),
    ] = None
    fractions: Annotated[
        str, typer.Option(help="Share of the subjects of each split; not used with a column 'split'.")
    ] = ",".join(f"{name}={share:g}" for name, share in FRACTIONS.items())
    stratify: Annotated[str | None, typer.Option(help="Label that every split shall hold in equal shares.")] = None
    seed: Annotated[int, typer.Option(help="Another seed divides the subjects otherwise.")] = 0
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="Leave out the pairs that this list names: a key or a subject a line, or a CSV with columns key, "
            "flagged."
        ),
    ] = None

    def settings(
        self, *, on_error: Literal["stop", "skip"], workers: int | None, simulated: bool | None = None
    ) -> "PrepareSettings":
        """Read their texts.

        Raises:
            SettingsError: One cannot be read.
        """
        from mris.cohort.exclusion import read_exclusions
        from mris.cohort.prepare import PrepareSettings
        from mris.images.image import side_name
        from mris.images.transforms import SourcePreparation
        from mris.knee.anatomy import KNEE

        sides = tuple(side_name(side.strip()) or "" for side in self.mirror.split(",")) if self.mirror else ()
        if not set(sides) <= {"left", "right"}:
            raise SettingsError(f"--mirror is {self.mirror!r}; give left or right")
        return PrepareSettings(
            source=SourcePreparation(_pixels("--size", self.size), self.percentile, sides, self.region_mm),
            target_size=_pixels("--target-size", self.target_size or self.size),
            unit=self.unit,
            mirror_targets=self.mirror_targets,
            fractions=parse_fractions(self.fractions),
            stratify=self.stratify,
            seed=self.seed,
            target_spacing=_pair("--target-spacing", self.target_spacing) if self.target_spacing else None,
            exclude=read_exclusions(self.exclude) if self.exclude else (),
            on_error=on_error,
            workers=workers,
            origin="unknown" if simulated is None else "simulated" if simulated else "real",
            anatomy=KNEE,
        )


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("phantom")(phantom)
    app.command("check")(unfolded(check))
    app.command("prepare")(unfolded(prepare))


_OF_RADIOGRAPHS = ("subjects", "size", "visits", "enriched", "layout", "extraction", "look", "workers")


def phantom(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="New folder for radiographs, thickness maps and their table.")],
    subjects: Annotated[int, typer.Option(min=1, help="Persons; each has two knees.")] = 600,
    size: Annotated[int, typer.Option(help="Rows and columns of radiographs and maps.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Subject 17 of a seed is the same in every cohort.")] = 0,
    visits: Annotated[int | None, typer.Option(min=1, help="At most so many visits of a person; else all.")] = None,
    enriched: Annotated[bool, typer.Option("--enriched", help="More osteoarthritis, as in a training set.")] = False,
    layout: Annotated[
        Literal["plain", "oai", "oai-numbers"],
        typer.Option(
            help="Pictures and manifest.csv; or DICOM plates, maps and sheets as the OAI study has them; or these "
            "with numbers for names and raw pixels, for other programs.",
        ),
    ] = "plain",
    extraction: Annotated[
        Literal["measured", "smooth"],
        typer.Option(help="Noise of the maps: as much as between two visits of real knees, or little."),
    ] = "measured",
    look: Annotated[
        Literal["plain", "varied"],
        typer.Option(help="Radiographs all of one kind; or as they come: fields, systems, poses, equalization, JPEG."),
    ] = "plain",
    mr: Annotated[
        int | None,
        typer.Option(min=1, help="Instead, so many DESS-like MR scans of digital knees: DICOM, NIfTI and labels."),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Make a digital knee cohort: radiographs by X-ray physics, and the cartilage thickness maps behind them.

    Cartilage is invisible in the radiographs; only the gaps between bones carry it. Interrupted, the same command
    goes on where it stopped. With --mr it makes MR scans of other digital knees, to try segmentation on.

    Example: mris phantom knees --subjects 600 --size 64
    """
    if mr is not None:
        from mris.knee.mr.phantom_scans import write_phantom_scans

        sources = {name: context.get_parameter_source(name) for name in _OF_RADIOGRAPHS}
        stray = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
        if stray:
            raise SettingsError(f"--{stray[0]} is of radiographs, which --mr does not make; leave it out")
        names = write_phantom_scans(out, mr, seed, progress=not quiet)
        typer.echo(f"{counted(len(names), 'scan')} of digital knees: {out}")
        return
    from mris.knee.phantom.cohort import PLAIN, write_phantom
    from mris.knee.phantom.oai_layout import OAI, OAI_NUMBERS

    report = write_phantom(
        out,
        n_subjects=subjects,
        size=size,
        seed=seed,
        enriched=enriched,
        max_visits=visits,
        workers=workers,
        progress=not quiet,
        layout={"plain": PLAIN, "oai": OAI, "oai-numbers": OAI_NUMBERS}[layout],
        extraction=extraction,
        look=look,
    )
    typer.echo(f"{counted(report.n_pairs, 'pair')} of {counted(report.n_subjects, 'subject')}: {report.manifest}")


def check(
    manifest: Manifest,
    *,
    preparation: PreparationOptions,
    qc: Annotated[
        Path | None,
        typer.Option(
            help="Compare the targets with each other: a page (HTML), a CSV and a list of those that stand out."
        ),
    ] = None,
    qc_threshold: Annotated[
        float, typer.Option(help="With --qc: flag a map from so many robust standard deviations on.")
    ] = QC_THRESHOLD,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Check a manifest and open every file it names, without writing anything but the pages of --qc.

    All findings are listed, one line each (one for all files of a column, if none is there); the exit code is 2 if a
    row cannot be used. With --qc the folder of a prepared cohort may be given, too.

    Example: mris check knees.csv --size 256 --mirror right --qc quality.html
    """
    from mris.cli.quality import check_quality_of_cohort, check_quality_of_manifest, require_page
    from mris.cohort.prepare import check_cohort

    if qc is not None:
        require_page(qc, manifest)
    if qc is not None and manifest.is_dir():
        if preparation.exclude is not None:
            raise SettingsError(f"--exclude leaves out rows of a manifest, but {manifest} is a prepared cohort")
        check_quality_of_cohort(manifest, qc, qc_threshold, progress=not quiet)
        return
    settings = preparation.settings(on_error="skip", workers=workers)
    if qc is None:
        report = check_cohort(manifest, settings, progress=not quiet)
        typer.echo(report.summary(most=None))
    else:
        report = check_quality_of_manifest(manifest, settings, qc, qc_threshold, progress=not quiet)
    _require_no_faults(report)


def prepare(
    manifest: Manifest,
    out: Annotated[str, typer.Argument(help="New folder for the cohort, or s3://, gs://, az://.")],
    *,
    preparation: PreparationOptions,
    on_error: Annotated[
        Literal["stop", "skip"], typer.Option(help="Stop at rows that cannot be used, or leave them out and say so.")
    ] = "stop",
    simulated: Annotated[
        bool | None,
        typer.Option("--simulated/--real", help="Images are simulated, or of people; what is made of them says so."),
    ] = None,
    sources: Annotated[
        bool, typer.Option(help="Without: targets alone, to be added to a bundle; no column source is needed.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the cohort that OUT holds.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, write nothing; fail if a row is at fault.")
    ] = False,
    workers: Workers = None,
    engine: EngineOptions,
    quiet: Quiet = False,
) -> None:
    """Read all pairs of a manifest into a cohort: one table, split by subject, ready to train on.

    Reads NPY, NPZ (file.npz::key), NIfTI, PNG, TIFF and DICOM. Targets keep NaN where they have no value. Interrupted,
    the same command resumes. OUT/report.json accounts for every row.

    Example: mris prepare knees.csv cohort --size 256 --mirror right --stratify klg
    """
    from mris.cohort.prepare import check_cohort, prepare_cohort

    settings = preparation.settings(on_error=on_error, workers=workers, simulated=simulated)
    settings = replace(settings, sources=sources)
    if dry_run:
        report = check_cohort(manifest, settings, progress=not quiet)
        typer.echo(report.summary(most=None))
        _require_no_faults(report)
        return
    with engine.start() as started:
        report = prepare_cohort(manifest, out, settings, progress=not quiet, overwrite=overwrite, engine=started)
    typer.echo(report.summary())


def _require_no_faults(report: "PrepareReport") -> None:
    """Refuse a manifest after all of its faults were printed."""
    n_faulty = report.n_dropped - report.n_excluded
    if n_faulty:
        raise CohortError(
            f"{n_faulty:,} of {counted(report.n_rows, 'row')} cannot be used; mend them, or prepare --on-error skip"
        )


def _pair(option: str, text: str) -> tuple[float, float]:
    """Parse "256" or "256x192"."""
    found = two_numbers(text)
    if found is None:
        raise SettingsError(f"{option} is {text!r}; give one positive number, or two joined by 'x', such as 256x192")
    return found


def _pixels(option: str, text: str) -> tuple[int, int]:
    rows, columns = _pair(option, text)
    if not (rows.is_integer() and columns.is_integer()):
        raise SettingsError(f"{option} is {text!r}; pixels are whole numbers, such as 256 or 256x192")
    return int(rows), int(columns)


def parse_fractions(text: str) -> dict[str, float]:
    """Parse "train=0.7,val=0.1,test=0.2".

    Example:
        >>> parse_fractions("train=0.8, val=0.2")
        {'train': 0.8, 'val': 0.2}
    """
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, equals, share = part.partition("=")
        try:
            fractions[name.strip()] = float(share)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise SettingsError(f"--fractions has {part!r}; give name=share for each split: train=0.7,val=0.1,test=0.2")
    return fractions
