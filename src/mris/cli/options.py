"""Arguments and options that several commands take, each declared once, and how their texts are read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mris.defaults import WeightRule
from mris.errors import SettingsError
from mris.images.header import Side
from mris.wording import counted

if TYPE_CHECKING:
    from mris.synthesis.bundle import Bundle

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
BundlePath = Annotated[Path, typer.Argument(help="A bundle that mris index made.")]
OnePerSubject = Annotated[
    bool, typer.Option("--one-per-subject", help="At most one map of a person among the neighbors.")
]
ReadoutOption = Annotated[
    Literal["neighbors", "attention", "linear", "blend"] | None,
    typer.Option(
        "--readout",
        help="How people's maps become one: the nearest, all by attention, all by a linear regression (signed "
        "weights), or the last two together; by default the one that mris index chose on validation people.",
    ),
]
NeighborCount = Annotated[
    int | None,
    typer.Option("--n-neighbors", "-k", min=1, help="Average so many nearest; -k 20 alone is the paper's way."),
]
Weights = Annotated[WeightRule | None, typer.Option(help="Of the nearest: 'similarity' is the paper's Eq. 4.")]
Temperature = Annotated[float | None, typer.Option(help="Of softmax or attention, in units of cosine similarity.")]

# Of commands that read images without a manifest.
SourceFiles = Annotated[list[Path], typer.Argument(help="Source images: DICOM, NIfTI, PNG, TIFF, NPY, file.npz::key.")]
SourceSide = Annotated[Side | None, typer.Option(help="Side of the body, where the files do not say.")]
PixelSpacing = Annotated[float | None, typer.Option(min=1e-6, help="Pixel spacing (mm) where files state none.")]
OnError = Annotated[
    Literal["stop", "skip"], typer.Option(help="Stop at a file that cannot be used, or say so and go on.")
]
RightCenter = Annotated[
    str | None, typer.Option(metavar="ROW,COLUMN", help="Center of the right knee's joint on a plate, in pixels.")
]
LeftCenter = Annotated[
    str | None, typer.Option(metavar="ROW,COLUMN", help="Center of the left knee's joint on a plate, in pixels.")
]

# Of commands that train.
TrainingCohort = Annotated[Path, typer.Argument(help="Prepared cohort with splits train and val (see mris prepare).")]
SettingsFile = Annotated[Path | None, typer.Option(help="TOML file of settings laid over the preset.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Override one setting; may be repeated.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the subjects.")]
TrainingSeed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Decides starting weights, batches and augmentation.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run; equals an uninterrupted one.")]
TrainingDryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, and leave.")]
QuietTraining = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]  # neither bars nor lines


def note_few_neighbors(
    bundle: "Bundle", n_neighbors: int | None, *, one_per_subject: bool, exclude_subject: str | None = None
) -> None:
    """Say on stderr where a bundle cannot give as many neighbors as are asked for."""
    if n_neighbors is None:
        return
    most = bundle.most_neighbors(one_per_subject=one_per_subject, exclude_subject=exclude_subject)
    if 0 < most < n_neighbors:  # with none, synthesis is refused
        held = counted(most, "subject" if one_per_subject else "entry")
        others = "" if exclude_subject is None else f" without subject {exclude_subject!r}"
        typer.echo(f"note: k is {n_neighbors:,}, cut to {most:,}: bundle {bundle.path} holds {held}{others}", err=True)


def joint_centers(right: str | None, left: str | None) -> dict[Side, tuple[float, float]]:
    """Read the centers that --right and --left give; a knee without one is left out.

    Example:
        >>> joint_centers("512,640", None)
        {'right': (512.0, 640.0)}
    """
    centers: dict[Side, tuple[float, float]] = {}
    if right is not None:
        centers["right"] = parse_center(right, "--right")
    if left is not None:
        centers["left"] = parse_center(left, "--left")
    return centers


def parse_center(text: str, option: str) -> tuple[float, float]:
    """Parse "512,640".

    Raises:
        SettingsError: It is not two numbers.
    """
    try:
        row, column = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"{option} is {text!r}; give ROW,COLUMN in pixels, such as 512,640") from None
    return row, column
