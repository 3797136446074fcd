"""Settings of the study, read from TOML and checked once."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mris.settings_file import read_toml, settings_faults
from mris.study.settings import ClassifierSettings
from mris.study.settings import preset as classifier_preset


class KlgPlan(BaseModel):
    """Tasks, the classifier's recipe, and what validation chooses from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = [0]
    horizons: list[Annotated[int, Field(ge=1)]] = [48, 72]
    copies: int = Field(4, ge=0, description="augmented copies of each training radiograph beside itself")
    rotation: float = Field(8.0, ge=0)
    translation: float = Field(0.04, ge=0)
    contrast: float = Field(0.3, ge=0)
    noise: float = Field(0.03, ge=0)
    try_neighbors: list[Annotated[int, Field(ge=1)]] = [5, 10, 20, 40, 80, 160]
    try_penalties: list[Annotated[float, Field(gt=0)]] = [0.001, 0.01, 0.1, 1.0, 10.0]
    n_components: int = Field(64, ge=1)
    n_bootstrap: int = Field(2000, ge=1)
    classifier: dict[str, Any] = {}

    @property
    def classifier_settings(self) -> ClassifierSettings:
        """The recipe of the classifiers; prepared radiographs lie in [0, 1] and need no scale."""
        return ClassifierSettings.model_validate(
            classifier_preset("small").model_dump() | {"target_scale": 1.0} | self.classifier
        )


def read_klg_plan(path: Path) -> KlgPlan:
    """Read the settings.

    Raises:
        SettingsError: The file is missing or no TOML, a name is unknown, or a value is out of range.
    """
    with settings_faults(f"settings {path}"):
        plan = KlgPlan.model_validate(read_toml(path))
        _ = plan.classifier_settings
    return plan
