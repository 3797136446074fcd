"""Ideas for a smaller error, each judged on validation people: which of them pays?

    python experiments/objectives/better.py [--work DIR] [--threads N] [--ideas MRIS entmax ...] [--seeds 2]
        [--runs RUN ...] [--direct RUN ...]

Takes the cohort of run.py (made by it if absent). `--runs` names finished trainings on it: their people are read out in
several ways. `--direct` names finished trainings of direct methods to compare with. Each of `--ideas` changes one thing
of the training: the settings of MRIS that best.py chose, for a fifth of its epochs. Prints and keeps
`results/better.md`: the error of the map by the people that carry it. Interrupted, the same call goes on.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from best import AUGMENTATION, SCREENING, keep
from jaxtyping import Bool, Float, Float64
from run import SHARED, make_cohort
from seeds import LADDER, MOST_PIXELS, change
from torch import Tensor

from mris.baselines.predictor import open_baseline
from mris.cohort.cohort import Cohort
from mris.database.gallery import Gallery
from mris.metric.encoders import DualEncoder
from mris.metric.losses import cosine_distances
from mris.metric.prediction import attention
from mris.metric.settings import TrainSettings, preset
from mris.metric.train import encoder_spec, trainable
from mris.synthesis.readouts.few import N_CANDIDATES, nearest_mixture
from mris.synthesis.readouts.ridge import fit_regression, predictions_by_penalty, trusted
from mris.training.run import Run, run_card
from mris.types import Pixels

WIDTH, RATE = 16, 2e-3
FEW = 20
"""People that are to carry the whole map."""

FACTORS = (0.7, 1.0, 1.5, 2.5)
"""Of the learned temperature: those that readouts are tried with."""

_NOWHERE = -1e9
ByPerson = Float64[np.ndarray, " people"]
Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The signature of `mris.metric.prediction.attention`."""


def entmax(scores: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Weigh by the 1.5-entmax (Peters, Niculae & Martins 2019), a softmax with zeros: max(score / 2 - tau, 0)^2."""
    halves = scores / 2 - scores.max(dim=1, keepdim=True).values / 2
    ordered = halves.sort(dim=1, descending=True).values
    counts = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    mean, mean_square = ordered.cumsum(1) / counts, ordered.square().cumsum(1) / counts
    spread = (1 - counts * (mean_square - mean.square())) / counts
    thresholds = mean - spread.clamp(min=1e-12).sqrt()
    size = (thresholds <= ordered).sum(dim=1, keepdim=True)
    return (halves - thresholds.gather(1, size - 1)).clamp(min=0).square()


def entmax_attention(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "m d"],
    temperature: Float[Tensor, ""],
    admitted: Bool[Tensor, "n m"],
) -> Float[Tensor, "n m"]:
    """Attend by the entmax in place of the softmax."""
    return entmax(((1 - cosine_distances(queries, keys)) / temperature).masked_fill(~admitted, _NOWHERE))


class Narrowing:
    """Attend to the nearest alone: to everybody at the first step, to `FEW` from the middle of the training on."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps, self.step = n_steps, 0

    def __call__(
        self,
        queries: Float[Tensor, "n d"],
        keys: Float[Tensor, "m d"],
        temperature: Float[Tensor, ""],
        admitted: Bool[Tensor, "n m"],
    ) -> Float[Tensor, "n m"]:
        """Attend, and be one step farther."""
        gone = min(1.0, 2 * self.step / self.n_steps)
        self.step += 1
        k = round(len(keys) ** (1 - gone) * FEW**gone)
        cosines = (1 - cosine_distances(queries, keys)).masked_fill(~admitted, _NOWHERE)
        least = cosines.topk(k, dim=1).values[:, -1:]
        return attention(queries, keys, temperature, admitted & (cosines >= least))


IDEAS: dict[str, Callable[[int], Attention]] = {
    "MRIS": lambda _: attention,
    "entmax": lambda _: entmax_attention,
    "20 nearest": Narrowing,
}
"""The attention of each, in a training of some steps."""


def trained_by(idea: str, seed: int, cohort: Cohort, work: Path) -> Path:
    """Train by an idea and keep what its encoders say of the people, or find that it has been done."""
    folder = work / f"{idea.lower().replace(' ', '-')}-seed{seed}"
    own = dict(one.split("=") for one in [*SHARED, *AUGMENTATION])
    own |= {"width": WIDTH, "lr_source": RATE, "epochs": SCREENING}
    settings = TrainSettings.model_validate(dict(preset("small")) | own)
    result = folder / "described.npz"
    card = run_card("metric", cohort, settings, cohort.regions, seed)
    run = Run.open(folder, card, result=result.name, resume=(folder / "run.json").is_file())
    if run.finished:
        return result
    torch.manual_seed(seed)
    module, data = trainable(cohort, encoder_spec(cohort, cohort.regions, settings), settings, seed)
    n_people = len(np.unique(cohort.split("train").subjects))
    with patch("mris.metric.prediction.attention", IDEAS[idea](-(-n_people // settings.batch_size) * SCREENING)):
        run.fit(module, data, settings, part="encoder", monitor=None, progress=True)
    told = described(module.encoder, cohort)
    run.finish(lambda: np.savez(result, **told))
    return result


def described(encoder: DualEncoder, cohort: Cohort) -> dict[str, np.ndarray]:
    """Describe the people as a readout needs it."""
    told = {"temperature": encoder.temperature.detach().numpy(), "n_learned": np.array(encoder.n_learned)}
    for name, people in baseline_visits(cohort).items():
        batches = list(people.batches(64))
        parts = [encoder.describe_sources(batch.sources) for batch in batches]
        for kind, part in zip(("embeddings", "features"), zip(*parts, strict=True), strict=True):
            told[f"{name}_{kind}"] = np.concatenate(part)
        if name == "train":
            told["keys"] = np.concatenate([encoder.encode_targets(batch.targets) for batch in batches])
    return told


def baseline_visits(cohort: Cohort) -> dict[str, Cohort]:
    views = {name: cohort.split(name) for name in ("train", "val")}
    return {name: view.select(np.flatnonzero(view.is_baseline)) for name, view in views.items()}


@dataclass(frozen=True)
class Judge:
    """The validation people, and the maps that theirs are made from."""

    gallery: Gallery
    known: Pixels
    people: np.ndarray
    truth: Pixels
    codes: np.ndarray

    @classmethod
    def of(cls, cohort: Cohort) -> "Judge":
        """Read them."""
        views = baseline_visits(cohort)
        gallery = Gallery.of_cohort(views["train"]).at_most(MOST_PIXELS)
        people, codes = (np.unique(views[name].subjects, return_inverse=True)[1] for name in ("train", "val"))
        truth = views["val"].read_targets(range(len(codes)))[:, gallery.mask]
        return cls(gallery, gallery.pixels(np.arange(len(gallery))), people, truth, codes)

    def error(self, pixels: Pixels) -> ByPerson:
        """The mean absolute error of each person."""
        by_pair = np.abs(pixels - self.truth).mean(axis=1)
        return np.bincount(self.codes, by_pair) / np.bincount(self.codes)

    def least(self, tried: Iterable[Pixels]) -> ByPerson:
        """The errors of the best of some ways."""
        return min((self.error(pixels) for pixels in tried), key=np.mean)


class Readouts:
    """The readouts of one training, each with the parameters that suit the validation people best."""

    def __init__(self, told: Mapping[str, np.ndarray], judge: Judge, idea: str = "MRIS") -> None:
        self.judge, self.by = judge, entmax if idea == "entmax" else partial(torch.softmax, dim=1)
        self.temperature, self.n_learned = float(told["temperature"]), int(told["n_learned"])
        self.known, self.asked = told["train_features"], told["val_features"]
        self.cosines = told["val_embeddings"] @ told["keys"].T
        self.among_sources = told["val_embeddings"] @ told["train_embeddings"].T
        regressed = predictions_by_penalty(self.known, self.n_learned, judge.gallery, self.asked, LADDER)
        best = min(zip(LADDER, regressed, strict=True), key=lambda one: judge.error(one[1]).mean())
        self.penalties, self.regressed = best

    def weights(self, cosines: np.ndarray, k: int) -> Iterator[np.ndarray]:
        """Attention to the k nearest, at several temperatures."""
        scores = torch.from_numpy(cosines)
        scores = scores.masked_fill(scores < scores.topk(min(k, scores.shape[1]), dim=1).values[:, -1:], _NOWHERE)
        for factor in FACTORS:
            yield self.by(scores / (factor * self.temperature)).numpy()

    def attention(self, k: int, source_share: float = 0.0) -> ByPerson:
        """Average the k nearest; found by their sources as well."""
        cosines = self.cosines + source_share * self.among_sources
        return self.judge.least(weights @ self.judge.known for weights in self.weights(cosines, k))

    def differences(self, k: int, share: float = 1.0) -> ByPerson:
        """Average the k nearest, each corrected by the regression's difference: y_n + T (h(x) - h(x_n)).

        With the regression y_hat(x) = y_mean + T (h(x) - h_mean) that is y_hat(x) + sum_n a_n (y_n - y_hat(x_n)): a
        signed weighted sum of all maps, the regression's weights and those of the nearest and of what is taken from
        them. What it misses in a person is told without that person; a share of it may be added.
        """
        missed = self._missed
        return self.judge.least(self.regressed + share * weights @ missed for weights in self.weights(self.cosines, k))

    @cached_property
    def _missed(self) -> Pixels:
        trusted_ones = trusted(self.penalties, self.n_learned, self.known.shape[1])
        regression = fit_regression(self.known, self.n_learned, self.judge.gallery, self.penalties)
        missed = np.empty_like(self.judge.known)
        for person in range(self.judge.people.max() + 1):
            own = np.flatnonzero(self.judge.people == person)
            missed[own] = self.judge.known[own] - regression.answer_without(own, self.known[own][:, trusted_ones])[0]
        return missed

    def mixed(self, wanted: Pixels, k: int) -> Pixels:
        """Mix k of the nearest people so that they come nearest to some maps."""
        found = []
        for cosines, target in zip(self.cosines, wanted, strict=True):
            near = np.argsort(-cosines)[:N_CANDIDATES]
            places, shares = nearest_mixture(self.judge.known[near] - target, k)
            found.append(shares @ self.judge.known[near[places]])
        return np.stack(found)


EVERYBODY = 1 << 30
WAYS: dict[str, Callable[[Readouts], ByPerson]] = {
    "attention, 20 people": lambda one: one.attention(20),
    "... 50": lambda one: one.attention(50),
    "... 100": lambda one: one.attention(100),
    "... all": lambda one: one.attention(EVERYBODY),
    "... all, by their sources too": lambda one: min(
        (one.attention(EVERYBODY, share) for share in (0.5, 1.0)), key=np.mean
    ),
    "20 people, corrected by differences": lambda one: one.differences(20),
    "all, corrected by differences": lambda one: one.differences(EVERYBODY),
    "... by a tenth of them": lambda one: one.differences(EVERYBODY, 0.1),
    "linear": lambda one: one.judge.error(one.regressed),
    "few: 5 people": lambda one: one.judge.error(one.mixed(one.regressed, 5)),
    "few: 10": lambda one: one.judge.error(one.mixed(one.regressed, 10)),
    "few: 20": lambda one: one.judge.error(one.mixed(one.regressed, 20)),
    "few: 50": lambda one: one.judge.error(one.mixed(one.regressed, 50)),
}
"""The readouts, and what they come to on validation people."""


def errors_table(found: Mapping[str, Mapping[str, ByPerson]]) -> str:
    if not found:
        return ""
    lines = [f"| MAE (mm) | {' | '.join(found)} |", f"| --- |{' ---: |' * len(found)}"]
    lines += [f"| {way} | {' | '.join(f'{one[way].mean():.4f}' for one in found.values())} |" for way in WAYS]
    return "\n".join(lines)


def few_table(found: Mapping[str, Mapping[str, ByPerson]], rivals: Mapping[str, ByPerson]) -> str:
    """The few against the other ways, with intervals by person."""
    against = ["attention, 20 people", "... all", "linear"]
    lines = [f"| 20 few of | {' | '.join(['attention of 20', 'of all', 'linear', *rivals])} |"]
    lines.append(f"| --- |{' ---: |' * (len(against) + len(rivals))}")
    for name, errors in found.items():
        references = [*(errors[way] for way in against), *rivals.values()]
        lines.append(f"| {name} | {' | '.join(change(errors['few: 20'], one) for one in references)} |")
    return "\n".join(lines)


def direct_maps(run: Path, cohort: Cohort, judge: Judge) -> Pixels:
    """The maps of a direct method for the validation people."""
    method = open_baseline(run)
    batches = baseline_visits(cohort)["val"].batches(64)
    return np.concatenate([method.predict(batch.sources) for batch in batches])[:, judge.gallery.mask]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--threads", type=int, help="threads of a training (default: all cores)")
    parser.add_argument("--ideas", nargs="*", choices=list(IDEAS), default=list(IDEAS))
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each idea")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="finished runs whose readouts are compared")
    parser.add_argument("--direct", nargs="*", type=Path, default=[], help="finished runs of direct methods")
    given = parser.parse_args()
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
        torch.set_num_threads(given.threads)
    cohort = Cohort.open(make_cohort(given.work))
    judge = Judge.of(cohort)
    runs = {run.name: Readouts(described(DualEncoder.load(run / "encoder"), cohort), judge) for run in given.runs}
    finished = {name: {way: read(one) for way, read in WAYS.items()} for name, one in runs.items()}
    maps = {run.name: direct_maps(run, cohort, judge) for run in given.direct}
    parts = [errors_table(finished), few_table(finished, {name: judge.error(each) for name, each in maps.items()})]
    for (name, one), (method, each) in product(runs.items(), maps.items()):
        told = change(judge.error(one.mixed(each, FEW)), judge.error(each))
        parts.append(f"The map of {method}, told by {FEW} of the nearest people that {name} finds: {told}.")
    tried = {}
    for seed, idea in product(range(given.seeds), given.ideas):
        one = Readouts(np.load(trained_by(idea, seed, cohort, given.work / "better")), judge, idea)
        tried[f"{idea}, seed {seed}"] = {way: read(one) for way, read in WAYS.items()}
    parts.append(errors_table(tried))
    keep(Path(__file__).with_name("results") / "better.md", "\n\n".join(parts))


if __name__ == "__main__":
    main()
