"""What lies in the folder of a run: its card, and the names of the rest; none is started anew beside something else."""

import re
from pathlib import Path

from pydantic import Field, JsonValue

from mris.reading import read_json
from mris.records import Record

RUN_FILE = "run.json"
LAST_CHECKPOINT = "checkpoints/last.safetensors"

_OURS = re.compile(
    r"run\.json|metrics\.csv|curves\.png|checkpoints(/[\w.=-]+\.safetensors)?"
    r"|tensorboard(/(events\.out\.tfevents\.[\w.-]+|hparams\.yaml))?"
)
_TEMPORARY = re.compile(r"(\w+/)?\.(run\.json|metrics\.csv|curves\.png|\w+\.safetensors)\.[^/]*tmp[^/]*")
"""What a kill in the middle of an atomic write leaves."""


class ReadCohort(Record):
    """The cohort that a run learns from."""

    n_pairs: int
    manifest_sha256: str


class ReadMaps(Record):
    """The maps with classes that a run learns from."""

    shape: tuple[int, ...]
    sha256: str
    n_classes: int


class RunCard(Record):
    """What decides a run's result: ``run.json``. A run is resumed only under the same.

    Attributes:
        kind: what is trained: "metric", "baseline", "classifier", or the name of a fitted reference.
        seed: of starting weights and batches.
        settings: every field of the recipe.
        defaults: of every field of the recipe: what a run that began before one existed was trained with; not written.
        regions: target regions it learns, in their order; None of a classifier.
        cohort: what the pairs come from; None of a classifier.
        maps: what a classifier learns from.
        encoders: fingerprints of the encoders that it stands on.
        versions: of Python and of packages, as it began; they may differ at a resume.
    """

    format_version: int = 1
    kind: str
    seed: int
    settings: dict[str, JsonValue]
    defaults: dict[str, JsonValue] = Field(default={}, exclude=True)
    regions: tuple[str, ...] | None = None
    cohort: ReadCohort | None = None
    maps: ReadMaps | None = None
    encoders: tuple[str, ...] | None = None
    versions: dict[str, str] | None = None


def foreign_to_run(run: Path, kind: str) -> str | None:
    """Name one thing that keeps a folder from being started anew; None for a run of ours that finished no epoch.

    Args:
        run: A folder.
        kind: Of the run, as its ``run.json`` says it.

    Returns:
        The path of what no run wrote, relative to the folder, in the order of names; ``run.json`` where it is missing,
        damaged or of a run of another kind; the last checkpoint where an epoch was finished. None for an empty folder.
    """
    if run.is_symlink():
        return "a link"
    found = {path.relative_to(run).as_posix(): path for path in sorted(run.rglob("*"))}
    for name, path in found.items():
        ours = not path.is_symlink() and (_OURS.fullmatch(name) or _TEMPORARY.fullmatch(name))
        if not ours or name == LAST_CHECKPOINT:
            return name
    whole = [name for name in found if not _TEMPORARY.fullmatch(name)]
    return None if not whole or _kind(run / RUN_FILE) == kind else RUN_FILE


def _kind(file: Path) -> object:
    try:
        return read_json(file).get("kind")
    except (OSError, ValueError):
        return None
