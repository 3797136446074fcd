"""Arguments and options that several commands take, each declared once, and how their texts are read."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, is_dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from mris.choices import ReadoutName, WeightRule
from mris.digital.packaged import bundle_folder
from mris.errors import SettingsError
from mris.images.header import Side
from mris.storage.address import local_folder, place_of
from mris.wording import counted

if TYPE_CHECKING:
    from mris.cli.settings import Settings
    from mris.engines.engine import Engine
    from mris.synthesis.bundle import Bundle
    from mris.synthesis.readouts import SynthesisSettings


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take options that travel together as one dataclass; Typer sees its fields where it stands."""
    parameters: list[Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in signature(command).parameters.items():
        kind = hints[name]
        together = is_dataclass(kind)
        options = list(signature(kind).parameters.values()) if together else [parameter]
        if together:
            groups[name] = kind, [option.name for option in options]
        parameters += [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, (kind, options) in groups.items():
            given[name] = kind(**{option: given.pop(option) for option in options})
        command(**given)

    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")]


def bundle_named(text: str) -> str:
    """Give the place that a bundle's name stands for: the packaged one's for ``digital``."""
    place = place_of(text)
    return str(bundle_folder(place)) if isinstance(place, Path) else text


# What may lie in a storage is text until it is opened: a Path would take one of the slashes of s3:// away.
BundlePlace = Annotated[str, typer.Argument(help="A bundle that mris index made: a folder, or s3://, gs://, az://.")]
UsedBundle = Annotated[
    str,
    typer.Argument(
        callback=bundle_named,
        help="A bundle that mris index made: a folder, or s3://, gs://, az://; digital is one of simulated knees, of "
        "the package.",
    ),
]


def keeps_to_this_machine(command: Callable[..., None]) -> Callable[..., None]:
    """Refuse addresses of a storage where a command takes a path: it would make a folder named ``s3:``."""

    @functools.wraps(command)
    def run(*positional: Any, **given: Any) -> None:
        for name, value in given.items():
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, Path):
                    local_folder(one, name.upper())
        command(*positional, **given)

    return run


def note(text: str) -> None:
    """Say on stderr what deserves a look."""
    typer.echo(f"note: {text}", err=True)


@dataclass(frozen=True)
class EngineOptions:
    """Where a command works on many images."""

    engine: Annotated[
        Literal["process", "ray"],
        typer.Option(help="What does the work: this process, or the workers of a Ray cluster (extra ray)."),
    ] = "process"
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT",
            help="Of ray: this machine's cluster, or another; by default one of this machine's cores alone.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.address is not None and self.engine != "ray":
            raise SettingsError(f"--address is {self.address!r}, and it is of Ray alone; give --engine ray, too")

    def start(self) -> "AbstractContextManager[Engine | None]":
        """Give the engine, or None for this machine; a cluster that it starts ends with the context."""
        if self.engine == "ray":
            from mris.engines.on_ray import on_ray

            return on_ray(self.address)
        return nullcontext()


@dataclass(frozen=True)
class ReadoutOptions:
    """How the maps of a bundle become the synthesis of a query; by default as the bundle says."""

    readout: Annotated[
        ReadoutName | None,
        typer.Option(
            help="How people's maps become one: the nearest, all by attention, all by a linear regression (signed "
            "weights), the last two together, or few people who come nearest to the regression (positive weights); by "
            "default the one that mris index chose on validation people."
        ),
    ] = None
    n_neighbors: Annotated[
        int | None,
        typer.Option("--n-neighbors", "-k", min=1, help="Average so many; -k 20 alone is the paper's way."),
    ] = None
    weights: Annotated[WeightRule | None, typer.Option(help="Of the nearest: 'similarity' is the paper's Eq. 4.")] = (
        None
    )
    temperature: Annotated[
        float | None, typer.Option(help="Of softmax or attention, in units of cosine similarity.")
    ] = None
    one_per_subject: Annotated[
        bool, typer.Option("--one-per-subject", help="At most one map of a person among the neighbors.")
    ] = False

    def settings(self) -> "SynthesisSettings":
        """Give them as the library takes them; a range is checked there."""
        from mris.synthesis.readouts import SynthesisSettings

        return SynthesisSettings(
            self.n_neighbors, self.weights, self.temperature, self.one_per_subject, readout=self.readout
        )

    def note_few_neighbors(self, bundle: "Bundle", *, exclude_subject: str | None = None) -> None:
        """Say on stderr where a bundle cannot give as many neighbors as are asked for."""
        if self.n_neighbors is None:
            return
        most = bundle.most_neighbors(one_per_subject=self.one_per_subject, exclude_subject=exclude_subject)
        if 0 < most < self.n_neighbors:  # with none, synthesis is refused
            held = counted(most, "subject" if self.one_per_subject else "entry")
            others = "" if exclude_subject is None else f" without subject {exclude_subject!r}"
            note(f"k is {self.n_neighbors:,}, cut to {most:,}: bundle {bundle.path} holds {held}{others}")


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

# Of commands that judge.
Strata = Annotated[str, typer.Option(help="Labels that split the images into strata, separated by commas.")]
Prevalences = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LABEL:STRATUM=SHARE",
        help="Weigh a label's strata for one more mean, klg:0-1=0.563; may be repeated, once a stratum.",
    ),
]

# Of commands that train.
TrainingCohort = Annotated[
    str,
    typer.Argument(
        help="Prepared cohort with splits train and val (see mris prepare): a folder, or s3://, gs://, az://."
    ),
]
TrainingSeed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Decides starting weights, batches and augmentation.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run; equals an uninterrupted one.")]
TrainingDryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, and leave.")]
QuietTraining = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]  # neither bars nor lines


@dataclass(frozen=True)
class SettingOptions:
    """What is laid over the preset of a training, later over earlier."""

    settings: Annotated[Path | None, typer.Option(help="TOML file of settings laid over the preset.")] = None
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Override one setting; may be repeated.")
    ] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the subjects.")] = None

    def over(self, preset: "Settings", **given: Any) -> "Settings":
        """Lay them over a preset, and over them what other options give, if they do."""
        from mris.cli.settings import parse_assignments, resolve
        from mris.settings_file import read_toml

        asked = {name: value for name, value in {"epochs": self.epochs, **given}.items() if value is not None}
        file = read_toml(self.settings) if self.settings else {}
        return resolve(preset, file, parse_assignments(self.set_ or []), asked)


def names_in(text: str | None) -> tuple[str, ...]:
    """Read names that are separated by commas.

    Example:
        >>> names_in("klg, sex,")
        ('klg', 'sex')
    """
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


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
