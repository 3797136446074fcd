"""Train a baseline on a cohort: one run, one folder, by the trainer that trains the encoders."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mris.baselines.autoencoder import build_autoencoder
from mris.baselines.data import TranslationData
from mris.baselines.export import FINISHED, write_baseline
from mris.baselines.module import MONITOR, AdversarialModule, TranslationModule
from mris.baselines.pix2pix import build_discriminator, build_generator
from mris.baselines.predictor import Baseline, open_baseline
from mris.baselines.settings import BaselineSettings
from mris.baselines.transunet import build_transunet
from mris.baselines.unet import build_unet
from mris.cohort.cohort import Cohort
from mris.training.callbacks import read_metrics
from mris.training.networks import cover_strides
from mris.training.run import Run, run_card
from mris.training.trainer import check_devices


def build_network(cohort: Cohort, settings: BaselineSettings, seed: int) -> nn.Module:
    """Build the network of a method for a cohort's images, with starting weights that `seed` decides.

    Raises:
        SettingsError: the method cannot work on images of this size.
    """
    channels, regions = cohort.header.source_shape[0], len(cohort.regions)
    source, target = cohort.header.source_shape[1:], cohort.header.target_shape[1:]
    width = settings.width
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if settings.method == "unet":
            network = build_unet(channels, regions, source_size=source, target_size=target, width=width)
        elif settings.method == "pix2pix":
            network = build_generator(
                channels, regions, source_size=source, target_size=target, width=width, dropout=settings.dropout
            )
        elif settings.method == "transunet":
            network = build_transunet(
                channels,
                regions,
                source_size=source,
                target_size=target,
                width=width,
                hidden=settings.hidden,
                layers=settings.layers,
                heads=settings.heads,
                mlp=4 * settings.hidden,
                decoder=settings.decoder,
            )
        else:
            network = build_autoencoder(
                channels, regions, source_size=source, target_size=target, width=width, bottleneck=settings.bottleneck
            )
    cover_strides(network)
    return network


def train_baseline(
    cohort: Cohort,
    run: str | Path,
    settings: BaselineSettings,
    *,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> Baseline:
    """Train a network from sources to targets, on the pairs, batches and augmentation of the encoders.

    The epoch with the smallest mean absolute error of validation subjects is kept, exported to ONNX and compared with
    torch. RUN then holds run.json, metrics.csv, curves.png, checkpoints/ and baseline/.

    Args:
        cohort: prepared pairs with splits "train" and "val"; all its regions are learned together.
        run: a new folder.
        settings: the method and its recipe; see `mris.baselines.settings.preset`.
        seed: decides starting weights, batches and augmentation.
        resume: continue an interrupted run; the result equals an uninterrupted run's.
        progress: show bars on a terminal, a line an epoch elsewhere.

    Returns:
        The baseline, ready to predict; it needs no torch.

    Raises:
        TrainingError: the folder already holds a run, the cohort lacks a split, the run to resume had other settings,
            or the loss stopped being finite.
        SettingsError: the method cannot work on images of this size.
        OutputError: the folder cannot be written.
    """
    card = run_card("baseline", cohort, settings, cohort.regions, seed)
    training = Run.open(run, card, result=FINISHED, resume=resume)
    if training.finished:
        return open_baseline(training.folder)
    check_devices(settings.accelerator, settings.devices, settings.num_nodes)
    data = TranslationData(cohort, settings, seed)
    network = build_network(cohort, settings, seed)
    mask = torch.from_numpy(np.ascontiguousarray(cohort.atlas_mask))
    if settings.method == "pix2pix":
        with torch.random.fork_rng():
            torch.manual_seed(seed + 1)
            discriminator = build_discriminator(
                cohort.header.source_shape[0],
                len(cohort.regions),
                target_size=cohort.header.target_shape[1:],
                width=settings.width,
            )
        module: TranslationModule = AdversarialModule(network, discriminator, settings, mask, seed, data.n_validated)
    else:
        module = TranslationModule(network, settings, mask, seed, data.n_validated)
    training.fit(module, data, settings, part="network", monitor=MONITOR, progress=progress, unit=cohort.header.unit)

    def write() -> None:
        seconds = sum(row["seconds"] for row in read_metrics(training.folder / "metrics.csv"))
        write_baseline(
            training.folder,
            network,
            cohort,
            settings.method,
            target_scale=settings.target_scale,
            training_seconds=seconds,
        )

    training.finish(write)
    return open_baseline(training.folder)
