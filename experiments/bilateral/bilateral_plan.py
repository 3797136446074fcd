"""Settings of the study, read from TOML and checked once."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mris.metric.settings import TrainSettings
from mris.metric.settings import preset as metric_preset
from mris.settings_file import read_toml, settings_faults


class BilateralPlan(BaseModel):
    """Split, sizes, recipe and what validation chooses from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = [0]
    blinded_seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = [0]
    size: int = Field(96, ge=16)
    fractions: dict[str, float] = {"train": 0.667, "val": 0.111, "test": 0.222}
    split_seed: int = 0
    n_neighbors: int = Field(20, ge=1)
    try_neighbors: list[Annotated[int, Field(ge=1)]] = [5, 10, 20, 40, 80, 160]
    try_temperatures: list[Annotated[float, Field(gt=0)]] = [0.02, 0.05, 0.1]
    n_distractors: int = Field(19, ge=1)
    n_bootstrap: int = Field(2000, ge=1)
    metric: dict[str, Any] = {}

    @property
    def metric_settings(self) -> TrainSettings:
        """The recipe of the encoders; gray levels of [0, 1] need no scale."""
        fixed = {"target_scale": 1.0, "n_neighbors": self.n_neighbors}
        return TrainSettings.model_validate(metric_preset("small-paper").model_dump() | fixed | self.metric)


def read_bilateral_plan(path: Path) -> BilateralPlan:
    """Read the settings.

    Raises:
        SettingsError: The file is missing or no TOML, a name is unknown, or a value is out of range.
    """
    with settings_faults(f"settings {path}"):
        plan = BilateralPlan.model_validate(read_toml(path))
        _ = plan.metric_settings
    return plan
