"""What an experiment is made of: presets, what is laid over them, all checked once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from mris.baselines.settings import METHODS, BaselineSettings
from mris.baselines.settings import preset as baseline_preset
from mris.choices import Method, ReadoutName
from mris.defaults import N_NEIGHBORS, N_RESAMPLES
from mris.metric.settings import TrainSettings
from mris.metric.settings import preset as metric_preset
from mris.settings_file import read_toml, settings_faults
from mris.study.settings import ClassifierSettings
from mris.study.settings import preset as classifier_preset
from mris.synthesis.readouts import SynthesisSettings

PresetName = Literal["smoke", "small", "full", "paper"]


class Part(BaseModel):
    """Settings that do not change, and whose names are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(Part):
    """What classifiers on target maps learn.

    `kind` "label" is the label as it is (values merged by `merge`); "progression" is whether the grade in `label` rises
    within `months`, known at the baseline visit only.
    """

    name: str = Field(pattern=r"^\w[\w .+-]*$", description="letters, digits, spaces: it names folders and figures")
    label: str
    kind: Literal["label", "progression"] = "label"
    merge: dict[str, str] = {}
    months: int = Field(72, ge=1)


class Plan(Part):
    """All settings of an experiment."""

    base: Literal["small", "paper"] = Field("small", description="recipe that every training starts from")
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field([0], min_length=1, description="one training each")
    methods: list[Method] = Field(list(METHODS), description="baselines that are trained beside retrieval")
    shared: dict[str, Any] = Field(default={}, description="settings of every training, encoders and baselines alike")
    metric: dict[str, Any] = Field(default={}, description="settings of the encoders alone")
    baselines: dict[Method, dict[str, Any]] = Field(default={}, description="settings of single baselines")
    classifier: dict[str, Any] = Field(default={}, description="settings of the classifiers")
    tasks: list[Task] = Field(default=[], description="what classifiers learn from the maps of the split downstream")
    by: list[str] = Field(default=[], description="labels that split the test images into strata")
    merge: dict[str, dict[str, str]] = Field(default={}, description="by label: values that share a stratum")
    prevalence: dict[str, dict[str, float]] = Field(default={}, description="by label: weight of each stratum")
    test_visits: Literal["baseline", "all"] = Field("baseline", description="visits of test people that are judged")
    error: Literal["median", "mae", "rmse"] = Field("median", description="error that the report shows first")
    readout: ReadoutName | None = Field(None, description="readout of every bundle; by default each bundle's own")
    n_neighbors: int = Field(N_NEIGHBORS, ge=1, description="k of the readout 'neighbors' and of the size curve")
    n_bootstrap: int = Field(N_RESAMPLES, ge=1, description="resamples of people for the intervals")
    curve_shares: list[Annotated[float, Field(gt=0, le=1)]] = [0.01, 0.05, 0.10, 0.25, 0.5, 1.0]
    curve_draws: int = Field(3, ge=1, description="draws of people for each share of the database")

    @property
    def synthesis(self) -> SynthesisSettings:
        """The readout that is asked of every bundle; of neighbors those of the paper, Eq. 4."""
        if self.readout == "neighbors":
            return SynthesisSettings(n_neighbors=self.n_neighbors)
        return SynthesisSettings(readout=self.readout)

    @property
    def metric_settings(self) -> TrainSettings:
        """The recipe of the encoders."""
        return TrainSettings.model_validate(
            metric_preset(self.base).model_dump() | {"n_neighbors": self.n_neighbors} | self.shared | self.metric
        )

    def baseline_settings(self, method: Method) -> BaselineSettings:
        """The recipe of a baseline: what is shared with the encoders, then its own."""
        return BaselineSettings.model_validate(
            baseline_preset(self.base, method).model_dump() | self.shared | self.baselines.get(method, {})
        )

    @property
    def classifier_settings(self) -> ClassifierSettings:
        """The recipe of the classifiers."""
        scale = {"target_scale": self.shared["target_scale"]} if "target_scale" in self.shared else {}
        return ClassifierSettings.model_validate(classifier_preset(self.base).model_dump() | scale | self.classifier)


_AUGMENTATION = {"rotation": 15.0, "contrast": 0.2, "noise": 0.03}
"""That of the encoders, and so of every method."""

# The same pairs, one a subject and epoch, the same number of steps for every method.
PRESETS: Mapping[PresetName, Mapping[str, Any]] = {
    "smoke": {
        "n_neighbors": 5,
        "n_bootstrap": 50,
        "curve_shares": [0.1, 1.0],
        "curve_draws": 2,
        "shared": {"epochs": 2, "batch_size": 16, **_AUGMENTATION},
        "metric": {"width": 8, "embedding_dim": 16},
        "baselines": {
            "unet": {"width": 8},
            "pix2pix": {"width": 8},
            "transunet": {"width": 8, "hidden": 16, "layers": 1, "heads": 2, "decoder": [16, 16, 8, 8]},
            "autoencoder": {"width": 8, "bottleneck": 16},
        },
        "classifier": {"width": 8, "epochs": 2},
    },
    "small": {
        "seeds": [0, 1, 2],
        "shared": {"sampler": "subject", "epochs": 50, "validate_every": 2, **_AUGMENTATION},
        "baselines": {"unet": {"width": 8}},
        "classifier": {"width": 8},
    },
    "full": {
        "test_visits": "all",
        "shared": {"sampler": "subject", "epochs": 40, "validate_every": 4, **_AUGMENTATION},
        "baselines": {"unet": {"width": 8}},
        "classifier": {"width": 16},
    },
    "paper": {"seeds": [0, 1, 2], "base": "paper", "test_visits": "all", "readout": "neighbors"},
}
"""What each preset changes in the defaults of `Plan`.

"smoke" shows in a minute whether every stage runs; "small" is for 64 pixels and about 1,000 training subjects on a CPU;
"full" for 128 pixels there, in hours; "paper" has the published sizes, for a GPU.
"""

SomePlan = TypeVar("SomePlan", bound=Plan)


def make_plan(
    kind: type[SomePlan], preset: PresetName, *layers: Mapping[str, Any], file: Path | None = None
) -> SomePlan:
    """Lay settings over a preset, and check all of them.

    Args:
        kind: `Plan`, or one with more settings.
        preset: What to start from.
        layers: Settings, later ones over earlier ones; tables such as ``shared`` are laid over each other, too.
        file: A TOML file of settings, laid over the preset and below the layers.

    Raises:
        SettingsError: The file is missing or no TOML, a name is unknown, or a value is out of range.

    Example:
        >>> plan = make_plan(Plan, "small", {"shared": {"epochs": 3}})
        >>> plan.shared["epochs"], plan.shared["sampler"]
        (3, 'subject')
    """
    with settings_faults(f"settings {file}" if file else "settings"):
        merged = dict(PRESETS[preset])
        for layer in (*([read_toml(file)] if file else []), *layers):
            merged = _laid_over(merged, layer)
        plan = kind.model_validate(merged)
        _ = plan.metric_settings, plan.classifier_settings, [plan.baseline_settings(name) for name in plan.methods]
    return plan


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        name: _laid_over(below[name], value)
        for name, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
    }
    return {**below, **above, **both}
