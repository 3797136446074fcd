"""What a finished training came to, in sentences: which epoch was kept, whether it learned, and whether to train on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binom

from mris.metric.module import MONITOR, YARDSTICK
from mris.training.callbacks import Row, read_metrics

RECALL = "recall/val@"
CHANCE_LEVEL = 0.05
"""How likely guessing may find as many: recall is above chance where it is less likely."""


@dataclass(frozen=True)
class Outcome:
    """A training judged on validation people.

    Attributes:
        kept: The epoch that was kept, counted from 1.
        validated: Epochs that were validated, counted from 1.
        error: Validation error of the kept epoch, in the targets' unit.
        mean_map_error: That of the mean training map.
        k: Number of neighbors of the recall.
        recall: Share of validation pairs that find their own target among their k nearest; NaN where it is unknown.
        unit: Unit of the targets.
    """

    kept: int
    validated: tuple[int, ...]
    error: float
    mean_map_error: float
    k: int
    recall: float
    unit: str

    @classmethod
    def of(cls, rows: list[Row], unit: str) -> "Outcome | None":
        """Read it off the metrics of a run, one row an epoch; None where no epoch was validated."""
        judged = [row for row in rows if MONITOR in row and YARDSTICK in row]
        if not judged:
            return None
        best = min(judged, key=lambda row: row[MONITOR])
        ks = sorted(int(name.removeprefix(RECALL)) for name in best if name.startswith(RECALL))
        k = max((k for k in ks if k <= 10), default=0)
        return cls(
            kept=int(best["epoch"]) + 1,
            validated=tuple(int(row["epoch"]) + 1 for row in judged),
            error=best[MONITOR],
            mean_map_error=best[YARDSTICK],
            k=k,
            recall=best.get(f"{RECALL}{k}", float("nan")),
            unit=unit,
        )

    @classmethod
    def read(cls, run: Path, unit: str) -> "Outcome | None":
        """Read it off the folder of a run."""
        return cls.of(read_metrics(run / "metrics.csv"), unit)

    def sentence(self) -> str:
        """Say which epoch was kept, and its error."""
        return (
            f"kept epoch {self.kept} of {self.validated[-1]}: validation error {self.error:.4g} {self.unit}, the mean "
            f"map's {self.mean_map_error:.4g} {self.unit}"
        )

    def notes(self, n_pairs: int, n_people: int) -> Iterator[str]:
        """Say what is wrong with it, and whether more epochs may help.

        Args:
            n_pairs: Validation pairs, among whose targets each looks for its own.
            n_people: The people they come from.
        """
        if self.error >= self.mean_map_error:
            yield "on validation people the synthesis is not better than the mean map"
        if self.is_at_chance(n_pairs, n_people):
            yield (
                f"on validation people retrieval is at chance: {100 * self.recall:.1f} % find their own target "
                f"among the {self.k} nearest of {n_pairs:,}, and guessing finds {100 * self.k / n_pairs:.1f} %"
            )
        if len(self.validated) > 1:
            yield from self._on_epochs()

    def is_at_chance(self, n_pairs: int, n_people: int) -> bool:
        """Say whether as many people would find their own target by guessing, as likely as `CHANCE_LEVEL`.

        Pairs of one person are alike, so that people count, not pairs.
        """
        if not 0 < self.k < n_pairs:
            return False
        found = round(self.recall * n_people)
        return bool(binom.sf(found - 1, n_people, self.k / n_pairs) > CHANCE_LEVEL)

    def _on_epochs(self) -> Iterator[str]:
        last = self.validated[-1]
        if self.kept == last:
            yield (
                "the last epoch was the best, so the validation error was still falling; a new run of more "
                f"epochs (--epochs {2 * last}) may do better"
            )
        elif self.kept <= last / 2:
            yield f"validation has not improved since epoch {self.kept} of {last}; more epochs are unlikely to help"
