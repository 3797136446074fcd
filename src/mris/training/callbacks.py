"""What a run writes while it trains: metrics as CSV, curves as a picture, a line an epoch for logs."""

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mris.drawing import Figure, FigureCanvasAgg, MaxNLocator, drawable
from mris.images.write import atomic_write
from mris.training.lightning_library import Callback, EarlyStopping, ModelCheckpoint, TensorBoardLogger, lightning

Row = dict[str, float]

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")

MEAN_MAP = "@mean_map"
"""Ends the name of the same metric of the mean training map, a yardstick that no epoch changes."""


def read_metrics(path: Path) -> list[Row]:
    """Read ``metrics.csv``: one dictionary an epoch, empty cells left out; an absent file is an empty list."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def write_metrics(path: Path, rows: list[Row]) -> None:
    """Write ``metrics.csv`` atomically; columns are the union of the rows' names in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({name: f"{value:.8g}" for name, value in row.items()} for row in rows)


def curves_figure(rows: list[Row], unit: str | None = None) -> Figure:
    """Draw every metric over epochs: one panel a metric group (the part before ``@``), the mean map's a dashed line.

    Epochs count from 1, as in the lines that a run prints.

    Args:
        rows: what `read_metrics` gives, epochs counted from 0.
        unit: unit of the targets, and so of every ``error``, such as ``"mm"``.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in ("epoch", "seconds"):
            groups.setdefault(name.split("@")[0], []).append(name)
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (group, names) in enumerate(groups.items(), start=1):
        axes = figure.add_subplot(lines, columns, panel)
        for name in names:
            if name.endswith(MEAN_MAP):
                yardstick = next(row[name] for row in reversed(rows) if name in row)
                axes.axhline(yardstick, color="0.4", linestyle="--", label="mean map")
                continue
            points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 40 else None, label=drawable(name))
        axes.set_title(drawable(group))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(drawable(_measure(group.split("/")[0], unit)))
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize="small")
    return figure


def _measure(kind: str, unit: str | None) -> str:
    """Name a vertical axis by the part of its metrics' names before ``/``."""
    names = {
        "error": f"mean absolute error ({unit or 'unit of the targets'})",
        "recall": "share that find their own target",
    }
    return names.get(kind, kind)


def draw_curves(rows: list[Row], path: Path, unit: str | None = None) -> None:
    """Write `curves_figure` as a PNG, atomically."""
    figure = curves_figure(rows, unit)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


class Patience(EarlyStopping):
    """Early stopping that lasts: a run that had stopped for lack of progress trains no further when it is resumed."""

    @property
    def state_key(self) -> str:
        """The name under which checkpoints of `EarlyStopping` itself keep the count, so that those can be resumed."""
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Stop before the first epoch where the checkpoint's count is full: Lightning forgets that it had stopped."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class Checkpoints(ModelCheckpoint):
    """Checkpoints of a run that knows its best epoch also after its folder was moved."""

    FILE_EXTENSION = ".safetensors"

    @property
    def state_key(self) -> str:
        """The name under which `ModelCheckpoint` itself keeps its state, so that earlier runs can be resumed."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take paths of an earlier place for those of the same files here: Lightning would forget the best score."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "", Path(path).name)) if path else path

        paths = {name: here(state_dict.get(name, "")) for name in _PATHS}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})


class Beginning(Callback):
    """Begin a run when all processes have met; TensorBoard follows, since making its logger writes the first file."""

    def __init__(self, begin: Callable[[], None], folder: Path) -> None:
        self.begin, self.folder = begin, folder

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Begin, in every process."""
        self.begin()
        trainer.loggers = [TensorBoardLogger(self.folder, name="", version="tensorboard")]


class MetricsLog(Callback):
    """Keep ``metrics.csv`` and ``curves.png`` of a run up to date, one row an epoch, also across a resume.

    Args:
        folder: the run's.
        progress: show progress bars on a terminal, a line an epoch elsewhere.
        unit: unit of the targets, which ``curves.png`` writes beside errors; None where there is none to tell.
    """

    def __init__(self, folder: Path, *, progress: bool, unit: str | None = None) -> None:
        self.folder, self.path, self.unit = folder, folder / "metrics.csv", unit
        self.shows_bars = progress and sys.stderr.isatty()
        self.shows_lines = progress and not self.shows_bars
        self.rows: list[Row] = []
        self.started = 0.0
        self.validated = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Forget rows of epochs that will be trained again."""
        self.rows = [row for row in read_metrics(self.path) if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Start the epoch's clock."""
        self.started = time.perf_counter()
        self.validated = False

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Note that this epoch's validation metrics are of this epoch."""
        self.validated = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Add the epoch's row and print one line where no progress bar is shown."""
        if not trainer.is_global_zero:
            return
        values = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if self.validated or "/val" not in name  # Lightning keeps those of an earlier epoch
        }
        self.rows.append({"epoch": trainer.current_epoch, **values, "seconds": time.perf_counter() - self.started})
        write_metrics(self.path, self.rows)
        if self.shows_lines:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}", flush=True)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Draw the curves of the whole run."""
        if trainer.is_global_zero and self.rows:
            draw_curves(self.rows, self.folder / "curves.png", self.unit)
