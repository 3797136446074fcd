"""What an experiment is made of: its settings, read from TOML and checked once."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from settings_file import read_toml, settings_faults

from mris.baselines.settings import METHODS, BaselineSettings, Method
from mris.baselines.settings import preset as baseline_preset
from mris.knee.phantom.extraction import Extraction
from mris.metric.settings import TrainSettings
from mris.metric.settings import preset as metric_preset
from mris.study.settings import ClassifierSettings
from mris.study.settings import preset as classifier_preset


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phantom(_Part):
    """The digital cohort, where no other is named."""

    subjects: int
    size: int
    seed: int = 0
    enriched: bool = True
    max_visits: int | None = None
    extraction: Extraction = "smooth"
    fractions: dict[str, float] = {"train": 0.42, "val": 0.04, "downstream": 0.29, "test": 0.25}


class Task(_Part):
    """What classifiers on target maps learn.

    `kind` "label" is the label as it is (values merged by `merge`); "progression" is whether the grade in `label` rises
    within `months` (`mris.knee.progression`), known at the baseline visit only.
    """

    name: str
    label: str
    kind: Literal["label", "progression"] = "label"
    merge: dict[str, str] = {}
    months: int = 72


class Plan(_Part):
    """All settings of an experiment."""

    phantom: Phantom | None = None
    base: Literal["small", "paper"] = "small"
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = [0]
    methods: list[Method] = list(METHODS)
    shared: dict[str, Any] = Field(default={}, description="settings of every training, encoders and baselines alike")
    metric: dict[str, Any] = {}
    baselines: dict[Method, dict[str, Any]] = {}
    classifier: dict[str, Any] = {}
    tasks: list[Task] = []
    by: list[str] = []
    merge: dict[str, dict[str, str]] = {}
    prevalence: dict[str, dict[str, float]] = {}
    test_visits: Literal["baseline", "all"] = "baseline"
    error: Literal["median", "mae", "rmse"] = "median"
    n_neighbors: int = Field(20, ge=1)
    n_bootstrap: int = Field(1000, ge=1)
    curve_shares: list[Annotated[float, Field(gt=0, le=1)]] = [0.01, 0.05, 0.10, 0.25, 0.5, 1.0]
    curve_draws: int = Field(3, ge=1)

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


def read_plan(path: Path) -> Plan:
    """Read a plan, and check all settings in it.

    Raises:
        SettingsError: The file is missing or no TOML, a name is unknown, or a value is out of range.
    """
    with settings_faults(path):
        plan = Plan.model_validate(read_toml(path))
        _ = plan.metric_settings, plan.classifier_settings, [plan.baseline_settings(name) for name in plan.methods]
    return plan
