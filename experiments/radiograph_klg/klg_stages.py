"""The stages of the study: pictures, spaces, classifiers, answers without a network of their own."""

from pathlib import Path

import numpy as np
from bilateral_plan import BilateralPlan
from bilateral_stages import open_encoder, untrained_encoder
from klg_methods import (
    Parts,
    answers_of,
    by_grade,
    by_logistic,
    by_neighbors,
    grade_numbers,
    principal_components,
    rise_shares,
)
from klg_plan import KlgPlan
from klg_tasks import KneeTask
from radiographs import Knees

from mris.cohort.cohort import Cohort
from mris.images.transforms import SourcePreparation, prepare_source
from mris.images.write import write_json, write_npz
from mris.study.class_predictions import ClassPredictions
from mris.study.stages import Work, can_resume

CLASSIFIER = "classifier"
KNN, KNN_UNTRAINED, KNN_PCA = "k-NN, bilateral", "k-NN, untrained network", "k-NN, principal components"
LINEAR, LINEAR_UNTRAINED = "logistic, bilateral", "logistic, untrained network"
GRADE, BOTH_GRADES = "baseline grade alone", "grades of both knees"
READ_GRADE, GRADE_AND_SPACE = "grade as the classifier reads it", "grades of both knees + bilateral"


def make_pictures(work: Work, knees: Knees, size: int, cohort_key: str) -> str:
    """Prepare every knee as a source is: its 99th percentile scaled, right knees mirrored; (n, 1, h, w) float16."""

    def make(out: Path, _: bool) -> None:
        how = SourcePreparation((size, size), mirror_sides=("right",))
        pictures = np.stack([prepare_source(knees.image(i), how).astype(np.float16) for i in range(len(knees))])
        write_npz(out / "pictures.npz", pictures=pictures)

    return work.stage("pictures", {"cohort": cohort_key, "size": size}, make)


def read_pictures(work: Work) -> np.ndarray:
    """What `make_pictures` wrote, as float32."""
    with np.load(work.folder / "pictures" / "pictures.npz") as archive:
        return np.asarray(archive["pictures"], dtype=np.float32)


def make_spaces(
    work: Work, bilateral: Work, plan: BilateralPlan, knees: Knees, cohort: Cohort, keys: dict[str, str], seed: int
) -> str:
    """Embed all knees: left ones by the source encoder, mirrored right ones by the target encoder, into one space.

    The untrained network is the source encoder as it began, for all knees: two random networks share no space.
    """

    def make(out: Path, _: bool) -> None:
        trained, untrained = open_encoder(bilateral, f"seed{seed}"), untrained_encoder(cohort, plan, seed)
        space = np.empty((len(knees), plan.metric_settings.embedding_dim), dtype=np.float32)
        first = 2 * np.searchsorted(knees.people, cohort.subjects)  # knees stand by person, left before right
        for batch in cohort.batches(64):
            space[first[batch.positions]] = trained.encode_sources(batch.sources)
            space[first[batch.positions] + 1] = trained.encode_targets(batch.targets)
        pictures = read_pictures(work)
        parts = [untrained.encode_sources(pictures[i : i + 64]) for i in range(0, len(pictures), 64)]
        write_npz(out / "spaces.npz", bilateral=space, untrained=np.concatenate(parts))

    return work.stage(f"seed{seed}/spaces", {**keys, "untrained": "source encoder"}, make)


def augmented(pictures: np.ndarray, plan: KlgPlan, seed: int) -> np.ndarray:
    """Pictures, and behind them `plan.copies` augmented copies of all: what the trainer of classifiers does not do."""
    import torch

    from mris.training.augmentation import Augmentation, apply_augmentation, draw_augmentation

    how = Augmentation(plan.rotation, plan.translation, plan.contrast, plan.noise)
    generator = torch.Generator().manual_seed(seed)
    images, copies = torch.from_numpy(pictures), [torch.from_numpy(pictures)]
    for _ in range(plan.copies):
        draw = draw_augmentation(tuple(images.shape), how, generator)
        copies.append(apply_augmentation(images, draw))
    return torch.cat(copies).numpy()


def make_classifier(work: Work, plan: KlgPlan, knees: Knees, parts: Parts, pictures_key: str, seed: int) -> str:
    """Train a ResNet-18 on the radiographs of a task's training knees, and let it answer for every knee."""
    settings, task = plan.classifier_settings, parts.train

    def make(out: Path, resumes: bool) -> None:
        from mris.study.classifier import LabeledMaps, train_classifier

        pictures = read_pictures(work)
        n = 1 + plan.copies
        people = knees.subjects[task.rows].tolist() * n
        maps = augmented(pictures[task.rows], plan, seed)
        labeled = LabeledMaps(maps, np.tile(task.classes, n), people, len(task.class_names))
        again = can_resume(out / "run", resumes)
        classifier = train_classifier(labeled, out / "run", settings, seed=seed, resume=again, progress=False)
        write_npz(out / "answers.npz", probabilities=classifier.probabilities(pictures))

    copies = plan.model_dump(include={"copies", "rotation", "translation", "contrast", "noise"})
    depends = {"pictures": pictures_key, "settings": settings.model_dump(mode="json"), "copies": copies}
    depends |= {"rows": task.rows.tolist(), "classes": task.classes.tolist(), "seed": seed}
    return work.stage(f"seed{seed}/classifier/{stem(task)}", depends, make)


def classifier_answers(work: Work, knees: Knees, task: KneeTask, seed: int) -> ClassPredictions:
    """The classifier's answers for a task's knees."""
    return answers_of(task, knees, _probabilities(work, stem(task), seed)[task.rows])


def _probabilities(work: Work, name: str, seed: int) -> np.ndarray:
    with np.load(work.folder / f"seed{seed}" / "classifier" / name / "answers.npz") as archive:
        return np.asarray(archive["probabilities"])


def make_others(
    work: Work, plan: KlgPlan, knees: Knees, parts: Parts, keys: dict[str, str], seed: int, grade_stem: str
) -> None:
    """Answers of neighbors and regressions for test knees, chosen on validation people."""
    task = parts.test

    def make(out: Path, _: bool) -> None:
        with np.load(work.folder / f"seed{seed}" / "spaces" / "spaces.npz") as archive:
            bilateral, untrained = archive["bilateral"], archive["untrained"]
        pca = principal_components(read_pictures(work), parts.train.rows, plan.n_components)
        answers, chosen = {}, {}
        for name, space in ((KNN, bilateral), (KNN_UNTRAINED, untrained), (KNN_PCA, pca)):
            answers[name], chosen[name] = by_neighbors(space, parts, knees, plan.try_neighbors)
        spaces = {LINEAR: bilateral, LINEAR_UNTRAINED: untrained}
        if task.is_ranking:
            grades = grade_numbers(knees)
            spaces |= {BOTH_GRADES: grades, GRADE_AND_SPACE: np.concatenate([grades, bilateral], axis=1)}
            answers[GRADE] = by_grade(parts, knees)
            read = _probabilities(work, grade_stem, seed)[task.rows]
            rises = read @ rise_shares(parts, knees)
            answers[READ_GRADE] = np.column_stack([1 - rises, rises])
        for name, numbers in spaces.items():
            answers[name], chosen[name] = by_logistic(numbers, parts, knees, plan.try_penalties)
        write_npz(out / "answers.npz", **answers)
        write_json(out / "chosen.json", chosen)

    tried = plan.model_dump(include={"try_neighbors", "try_penalties", "n_components"})
    depends = {**keys, "tried": tried, "rows": task.rows.tolist(), "classes": task.classes.tolist()}
    work.stage(f"seed{seed}/others/{stem(task)}", depends, make)


def other_answers(work: Work, knees: Knees, task: KneeTask, seed: int) -> dict[str, ClassPredictions]:
    """What `make_others` wrote, by method."""
    with np.load(work.folder / f"seed{seed}" / "others" / stem(task) / "answers.npz") as archive:
        return {name: answers_of(task, knees, archive[name]) for name in archive.files}


def stem(task: KneeTask) -> str:
    """A task's name as that of a folder."""
    return task.name.lower().replace(" ", "-")
