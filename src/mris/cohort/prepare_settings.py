"""`PrepareSettings`: how a manifest becomes a cohort."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from mris.cohort.exclusion import canonical_names, fingerprint
from mris.cohort.origin import Origin
from mris.defaults import FRACTIONS
from mris.errors import SettingsError
from mris.images.admission import ANY
from mris.images.anatomy import Anatomy
from mris.images.image import usable_spacing
from mris.images.transforms import SourcePreparation


@dataclass(frozen=True)
class PrepareSettings:
    """How a manifest becomes a cohort.

    Attributes:
        source: What is done to a source.
        target_size: Rows and columns of the stored targets.
        unit: Unit of the target values; they are stored as they are.
        mirror_targets: Whether targets of `source.mirror_sides` are mirrored left to right, too.
        fractions: Share of the subjects of each split; not used when the manifest has a `split` column.
        stratify: Label that each split shall hold in equal parts, taken at a subject's first visit.
        seed: Another seed divides the subjects otherwise.
        on_error: "stop" at rows that cannot be used, or "skip" them; both report each one.
        workers: Processes that read files; None takes one a core (and only one for a few files).
        target_spacing: Row and column spacing in mm of target files that state none (NPY, NPZ, PNG).
        exclude: Names of pairs to leave out: keys, or first parts of keys (see `read_exclusions`).
        origin: Whether the images are of people or simulated, where the manifest does not say.
        anatomy: The part of the body that the sources show; it decides which are let in.
        sources: Whether there are any. A cohort without sources can be added to a bundle, and nothing else; a pixel
            without a value stands for each.

    Raises:
        SettingsError: A value cannot work.
    """

    source: SourcePreparation
    target_size: tuple[int, int]
    unit: str = "mm"
    mirror_targets: bool = False
    fractions: dict[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    stratify: str | None = None
    seed: int = 0
    on_error: Literal["stop", "skip"] = "stop"
    workers: int | None = None
    target_spacing: tuple[float, float] | None = None
    exclude: tuple[str, ...] = ()
    origin: Origin = "unknown"
    anatomy: Anatomy = ANY
    sources: bool = True

    def __post_init__(self) -> None:
        size = tuple(self.target_size)
        if len(size) != 2 or not all(isinstance(length, int) and 1 <= length <= 8192 for length in size):
            raise SettingsError(f"target_size is {self.target_size!r}; give two whole numbers from 1 to 8192")
        object.__setattr__(self, "target_size", size)
        object.__setattr__(self, "exclude", canonical_names(self.exclude))
        if self.on_error not in ("stop", "skip"):
            raise SettingsError(f"on_error is {self.on_error!r}; give 'stop' or 'skip'")
        if self.workers is not None and self.workers < 1:
            raise SettingsError(f"workers is {self.workers}; give at least 1, or leave it out")
        if self.mirror_targets and not self.source.mirror_sides:
            raise SettingsError("mirror_targets is set, but no side is mirrored; name mirror_sides, or leave it out")
        if self.target_spacing is not None and usable_spacing(self.target_spacing) is None:
            raise SettingsError(
                f"target_spacing is {self.target_spacing!r}; give two positive numbers of mm (1e-9 to 1e9)"
            )
        if not self.sources:
            object.__setattr__(self, "source", replace(self.source, size=(1, 1), region_mm=None))
        if self.origin not in get_args(Origin):
            raise SettingsError(f"origin is {self.origin!r}; give 'real', 'simulated' or 'unknown'")

    def to_dict(self) -> dict[str, Any]:
        """Give all that decides the cohort's content as plain JSON values (not `on_error`, `workers` or `anatomy`)."""
        return {
            "source": TypeAdapter(SourcePreparation).dump_python(self.source, mode="json"),
            "target_size": list(self.target_size),
            "unit": self.unit,
            "mirror_targets": self.mirror_targets,
            "fractions": dict(self.fractions),
            "stratify": self.stratify,
            "seed": self.seed,
            "target_spacing": None if self.target_spacing is None else list(self.target_spacing),
            "exclude": fingerprint(self.exclude),
            # Left out where nothing is said, so that work that an earlier version began can be resumed.
            **({} if self.origin == "unknown" else {"origin": self.origin}),
            **({} if self.sources else {"sources": False}),
        }
