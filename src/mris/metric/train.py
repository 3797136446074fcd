"""Train two encoders on a cohort: one run, one folder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from mris.cohort.cohort import Cohort
from mris.cohort.training_subjects import TrainingSubjects
from mris.errors import TrainingError
from mris.metric.data import PairsData
from mris.metric.encoders import DualEncoder
from mris.metric.module import MONITOR, MetricModule
from mris.metric.settings import TrainSettings, preset
from mris.training.card import EncoderSpec
from mris.training.networks import imagenet_weights_file, load_weights
from mris.training.run import Run, run_card
from mris.training.trainer import check_devices

ENCODER_FOLDER = "encoder"
_FINISHED = f"{ENCODER_FOLDER}/encoder.json"  # written after the weights


def build_encoder(spec: EncoderSpec, settings: TrainSettings, seed: int) -> DualEncoder:
    """Build the two encoders with the settings' starting weights; without any, random ones that `seed` decides."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = DualEncoder(spec)
    for network, weights in ((encoder.source, settings.source_weights), (encoder.target, settings.target_weights)):
        if weights is not None:
            load_weights(network, imagenet_weights_file(spec.architecture) if weights == "imagenet" else Path(weights))
    return encoder


def encoder_spec(cohort: Cohort, regions: Sequence[str], settings: TrainSettings) -> EncoderSpec:
    """Say which encoders the settings mean for some regions of a cohort."""
    shared = {name: value for name, value in settings if name in EncoderSpec.model_fields}
    absent = {} if settings.target_network == "components" else {"n_components": 0, "temperature": None}
    return EncoderSpec.for_cohort(cohort.header, regions=tuple(regions), **shared | absent)


def train_encoders(
    cohort: Cohort,
    run: str | Path | None = None,
    *,
    settings: TrainSettings | None = None,
    regions: Sequence[str] | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> DualEncoder:
    """Train a source and a target encoder by the objective of the settings.

    It is the subject-aware triplet loss (Chen & Niethammer 2023, Eq. 2), the loss on the prediction
    (`mris.metric.prediction`, P1), or both.

    After every epoch the encoders are judged on the split "val": recall among all its pairs, and the mean absolute
    error of synthesis from training targets, beside that of the mean training map. The epoch with the smallest error is
    kept; recall measures identity, not synthesis, and does not choose.

    Args:
        cohort: prepared pairs with splits "train" and "val".
        run: a new folder for settings, logs, curves, checkpoints and the encoder; without it nothing is left on disk.
        settings: the recipe; by default the preset "small". `mris.metric.settings.preset` gives "paper".
        regions: target regions to learn from; by default all of the cohort's (the paper's MRIS-C). One run for each
            region gives MRIS-S.
        seed: decides starting weights, batches and augmentation; on one machine it reproduces the run.
        resume: continue an interrupted run from its last finished epoch; the result equals an uninterrupted run's.
        progress: show bars on a terminal, a line an epoch elsewhere.

    Returns:
        The chosen encoders, on the CPU.

    Raises:
        TrainingError: the folder already holds a run, the cohort lacks a split or subjects, the run to resume had
            other settings, or the loss stopped being finite.
        SettingsError: starting weights that do not fit, or devices that are not there.
        OutputError: the folder cannot be written.
    """
    settings = settings or preset("small")
    if run is None:
        with tempfile.TemporaryDirectory() as folder:
            return train_encoders(
                cohort, Path(folder) / "run", settings=settings, regions=regions, seed=seed, progress=progress
            )
    chosen = _check_regions(cohort, regions)
    spec = encoder_spec(cohort, chosen, settings)
    card = run_card("metric", cohort, settings, chosen, seed)
    training = Run.open(run, card, result=_FINISHED, resume=resume)
    if training.finished:
        return DualEncoder.load(training.folder / ENCODER_FOLDER)
    check_devices(settings.accelerator, settings.devices, settings.num_nodes)
    module, data = trainable(cohort, spec, settings, seed)
    encoder = module.encoder
    training.fit(module, data, settings, part="encoder", monitor=MONITOR, progress=progress, unit=cohort.header.unit)
    if encoder.spec.temperature is not None:
        encoder.spec = encoder.spec.model_copy(update={"temperature": float(encoder.temperature.detach())})
    encoder.training_subjects = TrainingSubjects.of(cohort.split("train").subjects)
    training.finish(lambda: encoder.save(training.folder / ENCODER_FOLDER))
    return encoder


def trainable(cohort: Cohort, spec: EncoderSpec, settings: TrainSettings, seed: int) -> tuple[MetricModule, PairsData]:
    """Build what a trainer trains, new encoders and their loss, and what it trains them on.

    Raises:
        TrainingError: The cohort lacks a split or subjects.
        SettingsError: Starting weights that do not fit.
    """
    data = PairsData(cohort, spec.regions, settings, seed)
    encoder = build_encoder(spec, settings, seed)
    data.fit_components(encoder)
    return MetricModule(encoder, settings, data.judged, seed, data.objective(encoder)), data


def _check_regions(cohort: Cohort, regions: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(regions) if regions else cohort.regions
    unknown = [region for region in chosen if region not in cohort.regions]
    if unknown:
        raise TrainingError(f"cohort {cohort.path} has no region {unknown[0]!r}; it has {', '.join(cohort.regions)}")
    return chosen
