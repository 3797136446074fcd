"""The stages of the study: pairs, cohort, encoders, bundle, ridge, choice on validation people, evaluation."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bilateral_plan import BilateralPlan
from radiographs import Knees, gray_levels, write_pairs
from shortcuts import LOOKS, BlindedEncoder, LookEncoder, blinded, border_look, gray_look, matched_ranks

from mris.baselines.predictor import open_baseline
from mris.cohort.cohort import Cohort
from mris.cohort.prepare import PrepareSettings, prepare_cohort
from mris.evaluation.evaluate import evaluate
from mris.evaluation.recall_table import embed_pairs
from mris.evaluation.references import PcaNeighbors, reference_predictors
from mris.evaluation.results import write_results
from mris.images.transforms import SourcePreparation, resize_target
from mris.images.write import atomic_write, write_json, write_npz
from mris.study.stages import Work, can_resume
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle
from mris.types import Encoder, Sources, Targets

UNIT = "gray level"
LEARNED, BLINDED, UNTRAINED = "learned", "learned, blinded", "untrained network"
RULE, CHOSEN, RIDGE, BOTH = "neighbors, k = {k}, Eq. 4", "neighbors, chosen", "ridge on the embedding", "chosen + ridge"
ITSELF, PCA_CHOSEN = "the left knee itself", "PCA k-NN, k chosen"
MATCHES = {"gray levels": gray_look, "border": border_look}


def make_cohort(work: Work, plan: BilateralPlan, knees: Knees) -> tuple[Cohort, str]:
    """Split people, write the pairs, prepare them; returns the cohort and the hash of its stage."""
    splits = knees.splits(plan.fractions, plan.split_seed)
    told = hashlib.sha256("\n".join([*knees.subjects, *splits, *map(str, knees.grades)]).encode())
    for file in knees.files:
        told.update(file.read_bytes())
    pairs = work.stage("pairs", {"images": told.hexdigest()}, lambda out, _: discard(write_pairs(knees, splits, out)))

    def prepare(out: Path, _: bool) -> None:
        size = (plan.size, plan.size)
        settings = PrepareSettings(SourcePreparation(size), size, unit=UNIT, workers=1)
        prepare_cohort(work.folder / "pairs" / "manifest.csv", out, settings, progress=False)

    key = work.stage("cohort", {"pairs": pairs, "size": plan.size}, prepare)
    return Cohort.open(work.folder / "cohort"), key


def make_blinded_cohort(work: Work, cohort: Cohort, cohort_key: str) -> tuple[Cohort, str]:
    """The same pairs without border, grain and gray levels of their own (`shortcuts.blinded`)."""

    def write(out: Path, _: bool) -> None:
        out.mkdir(parents=True, exist_ok=True)
        lines = ["subject,timepoint,source,target,split"]
        for batch in cohort.batches(64):
            pairs = zip(batch.positions, blinded(batch.sources), blinded(batch.targets), strict=True)
            for i, source, target in pairs:
                person = cohort.subjects[i]
                write_npz(out / f"{person}.npz", source=source[0], target=target[0])
                lines.append(f"{person},0,{person}.npz::source,{person}.npz::target,{cohort.splits[i]}")
        with atomic_write(out / "manifest.csv") as path:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    pairs = work.stage("blinded/pairs", {"cohort": cohort_key}, write)
    size = blinded(np.zeros((1, *cohort.header.source_shape), np.float32)).shape[2:]

    def prepare(out: Path, _: bool) -> None:
        settings = PrepareSettings(SourcePreparation(size, percentile=100.0), size, unit="rank", workers=1)
        prepare_cohort(work.folder / "blinded" / "pairs" / "manifest.csv", out, settings, progress=False)

    key = work.stage("blinded/cohort", {"pairs": pairs, "size": list(size)}, prepare)
    return Cohort.open(work.folder / "blinded" / "cohort"), key


def train(work: Work, plan: BilateralPlan, cohort: Cohort, cohort_key: str, place: str, seed: int) -> str:
    """Train the two encoders of a seed in ``<place>/metric``, and keep each network alone in ``<place>/weights``."""
    settings = plan.metric_settings

    def make(out: Path, resumes: bool) -> None:
        from mris.metric.train import train_encoders

        train_encoders(cohort, out, settings=settings, seed=seed, resume=can_resume(out, resumes), progress=False)

    depends = {"cohort": cohort_key, "settings": settings.model_dump(mode="json"), "seed": seed}
    key = work.stage(f"{place}/metric", depends, make)

    def export(out: Path, _: bool) -> None:
        from mris.metric.encoders import DualEncoder
        from mris.training.checkpoint_file import write_tensors

        encoder = DualEncoder.load(work.folder / place / "metric" / "encoder")
        out.mkdir(parents=True, exist_ok=True)
        for name, network in (("source", encoder.source), ("target", encoder.target)):
            write_tensors(out / f"{name}.safetensors", {k: v.contiguous() for k, v in network.state_dict().items()})

    work.stage(f"{place}/weights", {"metric": key}, export)
    return key


def open_encoder(work: Work, place: str) -> Any:
    """The trained encoders of ``seed0`` and so on."""
    from mris.metric.encoders import DualEncoder

    return DualEncoder.load(work.folder / place / "metric" / "encoder")


def untrained_encoder(cohort: Cohort, plan: BilateralPlan, seed: int) -> Any:
    """The same networks as `train` begins with, as they are: random weights."""
    from mris.metric.train import build_encoder
    from mris.training.card import EncoderSpec

    s = plan.metric_settings
    network = {"architecture": s.architecture, "width": s.width, "stem": s.stem, "embedding_dim": s.embedding_dim}
    spec = EncoderSpec.for_cohort(cohort.header, regions=cohort.regions, target_scale=s.target_scale, **network)
    return build_encoder(spec, s, seed).eval()


def make_methods(work: Work, plan: BilateralPlan, cohort: Cohort, metric_key: str, seed: int) -> dict[str, str]:
    """Bundle, ridge regression and what validation people choose; returns the hash of each stage."""
    place = f"seed{seed}"

    def make_bundle(out: Path, resumes: bool) -> None:
        from mris.metric.export import export_encoder

        if resumes:  # a bundle appears whole; the kill came between that and the stage's record
            shutil.rmtree(out)
        with tempfile.TemporaryDirectory() as folder:
            exported = export_encoder(open_encoder(work, place), Path(folder) / "encoder")
            build_bundle([exported], cohort, out, progress=False)

    def make_ridge(out: Path, resumes: bool) -> None:
        from mris.baselines.embedding_ridge import train_embedding_ridge

        encoder, again = open_encoder(work, place), can_resume(out, resumes)
        train_embedding_ridge(cohort, out, [encoder], target_scale=1.0, seed=seed, resume=again)

    keys = {
        "bundle": work.stage(f"{place}/bundle", {"metric": metric_key}, make_bundle),
        "ridge": work.stage(f"{place}/ridge", {"metric": metric_key}, make_ridge),
    }
    tried = {"k": plan.try_neighbors, "temperatures": plan.try_temperatures}

    def choose(out: Path, _: bool) -> None:
        write_json(out / "chosen.json", choose_neighbors(work, plan, cohort, seed))

    keys["chosen"] = work.stage(f"{place}/chosen", {"bundle": keys["bundle"], "tried": tried, "by": "mae"}, choose)
    return keys


def choose_neighbors(work: Work, plan: BilateralPlan, cohort: Cohort, seed: int) -> dict[str, Any]:
    """Number and weights of neighbors with the least mean absolute error on validation people."""
    bundle = Bundle.open(work.folder / f"seed{seed}" / "bundle")
    training, val = cohort.split("train"), cohort.split("val")
    sources, truth, subjects = val.read_sources(), val.read_targets(), val.subjects.tolist()
    ks = [k for k in plan.try_neighbors if k <= len(training)]
    rules = [{"weights": "similarity"}, *({"weights": "softmax", "temperature": t} for t in plan.try_temperatures)]
    tried = [{"n_neighbors": k, **rule} for k in ks for rule in rules]
    errors = [_mae(bundle.synthesizer(**options).predict(sources), truth) for options in tried]
    components = [PcaNeighbors.fit(training, np.random.default_rng(seed), n_neighbors=k) for k in ks]
    pca_errors = [_mae(one.predict(sources, subjects=subjects), truth) for one in components]
    best = int(np.argmin(errors))
    return {
        "neighbors": tried[best],
        "val_mae": errors[best],
        "pca_neighbors": ks[int(np.argmin(pca_errors))],
        "pca_val_mae": min(pca_errors),
    }


def _mae(predicted: Targets, truth: Targets) -> float:
    return float(np.abs(predicted - truth).mean())


class _Both:
    """The mean of two methods."""

    def __init__(self, one: Any, other: Any) -> None:
        self.one, self.other = one, other

    def predict(self, sources: Sources, *, subjects: Any) -> Targets:
        predicted = [self.one.predict(sources), self.other.predict(sources, subjects=subjects)]
        return np.mean(predicted, axis=0, dtype=np.float32)


class _Itself:
    """The left knee, gray levels / 255, shown as if it were the mirrored right one."""

    def __init__(self, knees: Knees, size: tuple[int, int]) -> None:
        self.knees, self.size = knees, size
        self.row_of = {knees.subjects[i]: i for i in np.flatnonzero(knees.sides == "left")}

    def predict(self, sources: Sources, *, subjects: Any) -> Targets:  # noqa: ARG002
        rows = [self.row_of[person] for person in subjects]
        return np.stack([resize_target(gray_levels(self.knees, i)[None], self.size) for i in rows])


def measure(work: Work, plan: BilateralPlan, knees: Knees, cohort: Cohort, keys: dict[str, str], seed: int) -> None:
    """Errors of all methods, recall of all encoders and looks, and recall among matched distractors."""
    place, training = f"seed{seed}", cohort.split("train")
    chosen = read_chosen(work, seed)

    def make(out: Path, _: bool) -> None:
        bundle = Bundle.open(work.folder / place / "bundle")
        ridge = open_baseline(work.folder / place / "ridge")
        tuned = bundle.synthesizer(**chosen["neighbors"])
        rng, k = np.random.default_rng(seed), plan.n_neighbors
        methods = {
            RULE.format(k=k): bundle.synthesizer(k),
            CHOSEN: tuned,
            RIDGE: ridge,
            BOTH: _Both(tuned, ridge),
            ITSELF: _Itself(knees, (plan.size, plan.size)),
            **reference_predictors(training, rng, n_neighbors=k),
            PCA_CHOSEN: PcaNeighbors.fit(training, rng, n_neighbors=chosen["pca_neighbors"]),
        }
        encoders: dict[str, Encoder] = {LEARNED: bundle.members[0].encoder}
        if seed in plan.blinded_seeds:
            encoders[BLINDED] = BlindedEncoder(open_encoder(work, f"blinded/{place}"))
        encoders[UNTRAINED] = untrained_encoder(cohort, plan, seed)
        encoders |= {name: LookEncoder.fit(look, training) for name, look in LOOKS.items()}
        test = cohort.split("test")
        options = {"n_bootstrap": plan.n_bootstrap, "seed": seed, "progress": False}
        evaluation = evaluate(methods, test, training=training, retrieval=encoders, **options)
        rows = evaluation.per_image
        ranks = {f"rank {name}": values for name, values in rows.ranks.items()}
        targets = test.read_targets()[:, 0]
        matched = {}
        for name, encoder in encoders.items():
            queries, gallery = embed_pairs(encoder, test, np.arange(len(test)), 64)
            for match, look in MATCHES.items():
                found = matched_ranks(queries, gallery, look(targets), plan.n_distractors)
                matched[f"{match} / {name}"] = found
        write_npz(out / "per_image.npz", values=rows.values, n_pixels=rows.n_pixels, **ranks)
        write_npz(out / "matched.npz", **matched)
        write_results(out / "results.json", evaluation.results)

    how = {"k": plan.n_neighbors, "n_bootstrap": plan.n_bootstrap, "distractors": plan.n_distractors}
    how |= {"looks": list(LOOKS), "matches": list(MATCHES)}
    work.stage(f"{place}/evaluation", {**keys, "how": how}, make)


def read_chosen(work: Work, seed: int) -> dict[str, Any]:
    """What validation people chose for a seed."""
    found: dict[str, Any] = json.loads((work.folder / f"seed{seed}" / "chosen" / "chosen.json").read_text())
    return found


def discard(_: Any) -> None:
    """A stage gives nothing back; what it made is in its folder."""
