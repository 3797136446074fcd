"""Every training target as a candidate of the synthesis: its scores for the key, its pixels for the average."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mris.cohort.cohort import Cohort
from mris.metric.components import ComponentEncoder
from mris.metric.prediction import Candidates
from mris.training.pairs import PairReader, in_order
from mris.training.sampling import one_pair_per_subject

_FITTED_ON = 2000
"""Training pairs that components are fitted on at most."""


class CandidatePool(nn.Module):
    """All training targets at the pixels that the loss compares, in the network's scale, on the network's device.

    Args:
        scores: on the target encoder's directions.
        values: half precision, 0 where there is none.
        known: where they have a value; None where all do.
        subjects: subject of each.
        codes: the subjects as the batches have them.
    """

    scores: Tensor
    values: Tensor
    known: Tensor | None
    codes: Tensor

    def __init__(
        self,
        scores: Float[Tensor, "N q"],
        values: Float[Tensor, "N p"],
        known: Bool[Tensor, "N p"] | None,
        subjects: np.ndarray,
        codes: Int[Tensor, " N"],
    ) -> None:
        super().__init__()
        self.subjects = subjects
        for name, tensor in {"scores": scores, "values": values, "known": known, "codes": codes}.items():
            self.register_buffer(name, tensor, persistent=False)

    def draw(self, chance: int) -> tuple[Float[Tensor, "m q"], Candidates]:
        """Draw one target of every subject: scores, and what may be averaged; the same for every process."""
        rows = torch.from_numpy(one_pair_per_subject(self.subjects, np.random.default_rng(chance)))
        rows = rows.to(self.scores.device)
        known = None if self.known is None else self.known[rows]
        return self.scores[rows], Candidates(self.values[rows].float(), known, self.codes[rows])


def fitting_rows(subjects: np.ndarray, seed: int) -> Int[np.ndarray, " n"]:
    """Draw the training pairs that components are fitted on: one of each subject before a second of any."""
    rng = np.random.default_rng([seed, 1])
    first = one_pair_per_subject(subjects, rng)
    others = rng.permutation(np.setdiff1d(np.arange(len(subjects)), first))
    return np.concatenate([first, others])[:_FITTED_ON]


def candidate_pool(encoder: ComponentEncoder, reader: PairReader, pixels: Int[np.ndarray, " p"]) -> CandidatePool:
    """Read all training targets once: their scores, and their values at some pixels of the flattened image."""
    cohort: Cohort = reader.cohort
    scores, values, known = [], [], []
    with torch.inference_mode():
        for rows in in_order(len(cohort), 256):
            batch = reader.read(rows)
            scores.append(encoder.components(batch.targets))
            values.append(batch.targets.flatten(1)[:, pixels].half())
            known.append(batch.valid.flatten(1)[:, pixels])
    whole = all(bool(part.all()) for part in known)
    # Clones: tensors made in inference mode cannot take part in a gradient's computation.
    return CandidatePool(
        torch.cat(scores).clone(),
        torch.cat(values).clone(),
        None if whole else torch.cat(known).clone(),
        np.asarray(cohort.subjects),
        reader.subjects,
    )
