"""``mris index`` and ``mris bundle list | add | remove | purge | index | verify``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mris.choices import ErrorName, ReadoutName
from mris.cli.options import BundlePlace, EngineOptions, Quiet, QuietTraining, UsedBundle, names_in, note, unfolded
from mris.defaults import ERROR
from mris.errors import BundleError, DatabaseError, SettingsError
from mris.storage.address import place_of
from mris.wording import counted

if TYPE_CHECKING:
    from mris.cohort.cohort import Cohort
    from mris.synthesis.parts import Parts

bundle_app = typer.Typer(
    no_args_is_help=True,
    help="Look after a bundle: list, add, remove, purge, index, verify; make one of digital knees.",
)

Splits = Annotated[str, typer.Option(help="Splits of the cohort that enter the database, separated by commas.")]

Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for another command that changes the bundle, or stop at once.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("index")(unfolded(index))
    app.add_typer(bundle_app, name="bundle")


def index(
    run: Annotated[Path, typer.Argument(help="Finished run of mris train, or the folder of a --separate one.")],
    cohort: Annotated[
        str,
        typer.Argument(help="Prepared cohort whose targets become the database: a folder, or s3://, gs://, az://."),
    ],
    out: Annotated[
        str | None,
        typer.Argument(help="New folder for the bundle, or s3://, gs://, az://; RUN/bundle by default."),
    ] = None,
    splits: Splits = "train",
    parts: Annotated[
        Path | None,
        typer.Option(help="Label image of sub-regions, of the maps' size: each one's mean gets an interval."),
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(help="Folder with the atlas of `mris thickness`, whose parts of the cartilages are sub-regions."),
    ] = None,
    level: Annotated[float, typer.Option(help="Share of a new person's pixels that intervals hold.")] = 0.9,
    error: Annotated[
        ErrorName,
        typer.Option(help="What the readout is chosen by on validation people; rmse where large errors count more."),
    ] = ERROR,
    readout: Annotated[
        ReadoutName | None,
        typer.Option(help="Take this readout, whatever its error on validation people; see synthesize."),
    ] = None,
    evaluation: Annotated[
        str, typer.Option(help="What is known of its error, in sentences for the model card.", show_default=False)
    ] = "",
    *,
    engine: EngineOptions,
    quiet: Quiet = False,
) -> None:
    """Make a bundle: exported encoders, preprocessing and the database of target images, in one folder.

    The bundle is all that synthesis needs; it runs without torch. It holds images of people: keep it as such.

    Intervals and what is strange are calibrated on the split "calibration" (made by the option --fractions of prepare,
    train=0.6,val=0.1,calibration=0.1,test=0.2) or, without it, on "val", whose people also chose epoch and readout:
    slightly optimistic.

    Example: mris index run cohort knees.bundle --splits train,val
    """
    from mris.cohort.cohort import Cohort
    from mris.evaluation.validation import retrieval_at_chance
    from mris.metric.encoders import DualEncoder
    from mris.metric.export import export_encoder
    from mris.storage.folder import work_beside
    from mris.synthesis.build_bundle import build_bundle, check_new
    from mris.synthesis.readouts import SynthesisSettings

    folders = encoder_folders(run)
    opened = Cohort.open(cohort)
    place = place_of(out) if out else run / "bundle"
    check_new(place)
    # Beside it: encoders can remember people, and the system's own folder is everybody's.
    with engine.start() as started, work_beside(place) as temporary:
        exported = [export_encoder(DualEncoder.load(folder), temporary / str(i)) for i, folder in enumerate(folders)]
        bundle = build_bundle(
            exported,
            opened,
            place,
            splits=_names(splits),
            parts=_sub_regions(parts, atlas, opened),
            level=level,
            error=error,
            readout=readout,
            evaluation=evaluation,
            progress=not quiet,
            engine=started,
        )
    subjects = counted(len(set(bundle.subjects)), "subject")
    typer.echo(f"bundle {bundle.id}: {counted(len(bundle.keys), 'target')} of {subjects}, {bundle.path}")
    for member, chosen in zip(bundle.members, bundle.readouts(SynthesisSettings()), strict=True):
        typer.echo(f"readout of {', '.join(member.encoder.regions)}: {chosen.describe()}. Why: {chosen.reason}")
    for sentence in retrieval_at_chance(bundle, opened):
        note(f"on validation people: {sentence}")
    calibrations = [member.calibration for member in bundle.header.members]
    calibration = calibrations[0]
    if calibration is None or None in calibrations:
        note("too few people to calibrate on: its syntheses have no intervals")
    else:
        typer.echo(f"calibrated: {calibration.sentence()}")


def _sub_regions(labels: Path | None, atlas: Path | None, cohort: "Cohort") -> "Parts":
    from mris.knee.cartilage_atlas import open_atlas
    from mris.knee.map_parts import map_parts
    from mris.synthesis.parts import read_parts

    if labels is not None and atlas is not None:
        raise SettingsError("--parts and --atlas both name sub-regions; leave out one of them")
    if atlas is not None:
        return map_parts(open_atlas(atlas), dict(zip(cohort.regions, cohort.atlas_mask, strict=True)))
    return {} if labels is None else read_parts(labels, cohort.regions)


def encoder_folders(run: Path) -> list[Path]:
    """Find the encoder of a run, or those of its regions where it was trained with ``--separate``.

    Raises:
        BundleError: there is none.
    """
    if (run / "encoder").is_dir():
        return [run / "encoder"]
    folders = sorted(folder / "encoder" for folder in run.glob("*/") if (folder / "run.json").is_file())
    unfinished = [folder.parent for folder in folders if not folder.is_dir()]
    if not folders or unfinished:
        which = unfinished[0] if unfinished else run
        raise BundleError(f"{which} holds no finished run; run mris train, or continue it with --resume")
    return folders


@bundle_app.command("list")
def list_entries(
    bundle: UsedBundle,
    subjects: Annotated[bool, typer.Option("--subjects", help="One line a subject, with its count.")] = False,
) -> None:
    """Tell what a bundle holds.

    Example: mris bundle list knees.bundle --subjects
    """
    from collections import Counter

    from mris.synthesis.bundle import Bundle

    opened = Bundle.open(bundle)
    counts = Counter(opened.subjects.tolist())
    typer.echo(f"bundle {opened.id}: {counted(len(opened.keys), 'target')} of {counted(len(counts), 'subject')}")
    if opened.header.origin != "unknown":
        typer.echo(f"  made from {opened.header.origin} images")
    if removed := opened.members[0].database.commit.removed:
        typer.echo(f"  {counted(len(removed), 'removed subject')} still on the disk; mris bundle purge takes them off")
    for member in opened.members:
        typer.echo(f"  {member.name}: {', '.join(member.encoder.regions)}; encoder {member.encoder.fingerprint[:16]}")
    if subjects:
        for subject, count in sorted(counts.items()):
            typer.echo(f"{subject}\t{count}")


@bundle_app.command("add")
def add(
    bundle: BundlePlace,
    cohort: Annotated[
        str,
        typer.Argument(
            help="Cohort prepared like the one that the bundle was made of: a folder, or s3://, gs://, az://."
        ),
    ],
    splits: Splits = "train",
    wait: Wait = True,
    quiet: Quiet = False,
) -> None:
    """Add the targets of a cohort to a bundle's database: all of them or, whatever happens, none.

    Interrupted, the same command finishes; targets that are all there already are left as they are.

    Example: mris bundle add knees.bundle cohort --splits val
    """
    from mris.cohort.cohort import Cohort
    from mris.synthesis.bundle import Bundle

    chosen = Cohort.open(cohort).split(*_names(splits))
    added = Bundle.open(bundle).add(chosen, progress=not quiet, wait=wait)
    there = "" if added else f"; all {counted(len(chosen), 'target')} are there already"
    typer.echo(f"added {counted(added, 'target')}{there}")
    if added and not chosen.header.has_sources:
        note("they have no sources: readouts neighbors, attention and few use them, linear leaves them out")


@bundle_app.command("remove")
def remove(
    bundle: BundlePlace,
    subjects: Annotated[list[str], typer.Argument(help="Subjects to remove, with all their timepoints and sides.")],
    purge: Annotated[
        bool, typer.Option("--purge", help="Take their bytes off the disk now, and all earlier versions with them.")
    ] = False,
    wait: Wait = True,
) -> None:
    """Remove people from a bundle's database. Interrupted, the same command finishes.

    Example: mris bundle remove knees.bundle 9001104 9001897 --purge
    """
    from mris.synthesis.bundle import Bundle

    removal = Bundle.open(bundle).remove(subjects, purge=purge, wait=wait)
    who = counted(len(removal.subjects), "subject")
    typer.echo(f"removed {counted(removal.n_entries, 'target')} of {who}")
    if removal.earlier:
        what = "their bytes are off the disk now" if purge else "their bytes are still on the disk"
        typer.echo(f"removed before: {', '.join(removal.earlier)}; {what}")
    if not purge:
        typer.echo(f"earlier versions still hold their bytes; mris bundle purge {bundle} takes them off the disk")


@bundle_app.command("purge")
def purge(bundle: BundlePlace, wait: Wait = True) -> None:
    """Take every byte of removed entries off the disk. Interrupted, the same command finishes.

    Example: mris bundle purge knees.bundle
    """
    from mris.synthesis.bundle import Bundle

    purged = Bundle.open(bundle).purge(wait=wait)
    typer.echo(f"purged {counted(len(purged), 'removed subject')}")


@bundle_app.command("index")
def make_index(
    bundle: BundlePlace,
    drop: Annotated[bool, typer.Option("--drop", help="Delete the index: all searches are exact.")] = False,
    wait: Wait = True,
) -> None:
    """Make an index, or make it anew, so that a search need not look at every entry of a large bundle.

    Up to 2 GiB of embeddings (a million of 512 numbers) a search is exact, index or not. An addition is taken into
    the index, a purge makes it anew, and a verification tells what share of the nearest it finds. Needs the extra
    index.

    Example: mris bundle index knees.bundle
    """
    from mris.database.database import EXACT_BYTES
    from mris.synthesis.bundle import Bundle

    opened = Bundle.open(bundle)
    if drop:
        opened.drop_index(wait=wait)
        typer.echo("no index: all searches are exact")
        return
    opened.create_index(wait=wait)
    for member in opened.members:
        if (state := member.database.state.index) is not None:
            found = f"finds {state.recall:.4f} of what the exact search finds (recall@20)"
            typer.echo(f"index of {', '.join(member.encoder.regions)}: {counted(state.n_entries, 'entry')}; {found}")
    if all(member.database.n_embedding_bytes <= EXACT_BYTES for member in opened.members):
        note(f"embeddings below {EXACT_BYTES >> 30} GiB are searched exactly all the same")


@bundle_app.command("verify")
def verify(bundle: UsedBundle) -> None:
    """Check every file and entry of a bundle against its checksums; exit code 2 if anything is damaged.

    Example: mris bundle verify knees.bundle
    """
    from mris.synthesis.bundle import Bundle

    report = Bundle.open(bundle).verify()
    typer.echo(report.summary())
    if not report.ok:
        raise DatabaseError(f"bundle {bundle} is damaged; restore a copy, or index again")


def _names(splits: str) -> tuple[str, ...]:
    names = names_in(splits)
    if not names:
        raise SettingsError(f"--splits is {splits!r} and names no split; give one or several, such as train,val")
    return names


@bundle_app.command("make-digital")
def make_digital(
    out: Annotated[Path, typer.Argument(help="New folder for the bundle.")],
    work: Annotated[
        Path | None, typer.Option(help="Folder for the people and the training; OUT with .work behind it by default.")
    ] = None,
    people: Annotated[int, typer.Option(min=60, help="Digital people; each has two knees.")] = 1500,
    shown: Annotated[
        int | None,
        typer.Option(
            min=2, help="People whose maps the database holds, one knee of each; by default both of all who train."
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=32, help="Rows and columns of the images.")] = 80,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of training; the preset's by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything.")] = 0,
    quiet: QuietTraining = False,
) -> None:
    """Make a bundle of digital knees alone: it holds no patient, so that anybody may have it.

    Simulates radiographs as they come, trains on them and makes a bundle of the people. Interrupted, the same command
    goes on. Research use: how well such a bundle knows real knees is told in the docs (try it on your radiograph).

    Example: mris bundle make-digital digital.bundle --people 400 --epochs 5
    """
    from mris.digital.knees import DigitalKnees, make_digital_knees

    recipe = DigitalKnees(people, shown, size, epochs, seed)
    work = work or out.parent / f"{out.name}.work"
    bundle = make_digital_knees(out, work, recipe, progress=not quiet)
    typer.echo(f"bundle {bundle.id}: {counted(len(bundle.keys), 'target')}, {bundle.path}; {work} may be removed")
