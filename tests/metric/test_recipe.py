"""What the recipe says is what a step, an epoch and its validation do."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mris.cohort.cohort import Cohort
from mris.metric.data import Judged, PairsData
from mris.metric.encoders import DualEncoder
from mris.metric.module import YARDSTICK, MetricModule
from mris.metric.settings import TrainSettings
from mris.metric.validation import neighbor_weights, weighted_error
from mris.training.card import EncoderSpec
from mris.training.pairs import Batch

SETTINGS = TrainSettings(width=8, embedding_dim=4, batch_size=8, epochs=4, lr_source=3e-3, lr_target=2e-4)


@pytest.fixture(scope="module")
def cohort(tiny_cohort_path: Path) -> Cohort:
    return Cohort.open(tiny_cohort_path)


@pytest.fixture
def module(cohort: Cohort) -> MetricModule:
    network = {"width": 8, "embedding_dim": 4}
    spec = EncoderSpec.for_cohort(cohort.header, regions=cohort.regions, target_scale=3.0, **network)
    nothing = Judged(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), torch.ones(1, dtype=torch.bool))
    module = MetricModule(DualEncoder(spec), SETTINGS, nothing, seed=5)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    return module


def sources_of_step(module: MetricModule, batch: Batch, step: int, epoch: int = 0) -> torch.Tensor:
    """What the source encoder sees in a step."""
    seen: list[torch.Tensor] = []
    module._trainer = SimpleNamespace(current_epoch=epoch, global_rank=0)  # type: ignore[assignment]
    hook = module.encoder.source.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    module.training_step(batch, step)
    hook.remove()
    return seen[0]


def test_each_encoder_has_its_own_rate_and_both_the_weight_decay(module: MetricModule) -> None:
    (optimizer,), _ = module.configure_optimizers()
    for network, rate in ((module.encoder.source, 3e-3), (module.encoder.target, 2e-4)):
        group = next(g for g in optimizer.param_groups if g["initial_lr"] == rate)
        assert {id(p) for p in group["params"]} == {id(p) for p in network.parameters()}
        assert group["weight_decay"] == SETTINGS.weight_decay


def test_each_encoder_is_clipped_by_itself(module: MetricModule) -> None:
    """A huge gradient of one leaves a small one of the other as it is."""
    networks = module.encoder.source, module.encoder.target
    for network, size in zip(networks, (1e4, 1e-5), strict=True):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, size)
    module.on_before_optimizer_step(torch.optim.SGD(module.parameters()))
    source, target = (math.hypot(*(float(p.grad.norm()) for p in n.parameters())) for n in networks)  # type: ignore[union-attr]
    assert source == pytest.approx(SETTINGS.clip_norm, rel=1e-3)
    assert all(torch.all(p.grad == 1e-5) for p in networks[1].parameters())
    assert target < SETTINGS.clip_norm


def test_the_rate_steps_after_so_many_whole_epochs_and_the_cosine_begins_at_one() -> None:
    step = TrainSettings(epochs=450)
    assert [step.rate(epoch) for epoch in (0, 149)] == [1.0, 1.0]
    assert [step.rate(epoch) for epoch in (150, 299, 300)] == pytest.approx([0.2, 0.2, 0.04])
    cosine = TrainSettings(epochs=10, schedule="cosine")
    assert cosine.rate(0) == 1.0
    assert cosine.rate(5) == pytest.approx(0.505)
    assert cosine.rate(10) == pytest.approx(0.01)


def test_augmentation_is_new_in_every_step_and_epoch_and_the_same_when_a_step_is_repeated(
    cohort: Cohort, module: MetricModule
) -> None:
    data = PairsData(cohort, cohort.regions, SETTINGS, seed=5)
    batch = data.reader.read(np.arange(6))
    first = sources_of_step(module, batch, step=0)
    assert torch.equal(first, sources_of_step(module, batch, step=0))
    assert not torch.equal(first, sources_of_step(module, batch, step=1))
    assert not torch.equal(first, sources_of_step(module, batch, step=0, epoch=1))


def test_each_epoch_has_batches_of_its_own(cohort: Cohort) -> None:
    data = PairsData(cohort, cohort.regions, SETTINGS, seed=5)

    def plan(epoch: int) -> list[list[int]]:
        data.trainer = SimpleNamespace(global_rank=0, world_size=1, current_epoch=epoch)  # type: ignore[assignment]
        return [positions.tolist() for positions in data.train_dataloader().plan]

    assert plan(2) == plan(2) != plan(3)


def test_networks_see_targets_divided_by_the_scale_and_zero_where_there_is_no_value(cohort: Cohort) -> None:
    data = PairsData(cohort, cohort.regions, SETTINGS.model_copy(update={"target_scale": 4.0}), seed=5)
    seen, stored = data.reader.read(np.arange(3)), cohort.split("train").read_targets([0, 1, 2])
    np.testing.assert_allclose(seen.targets.numpy(), np.nan_to_num(stored, nan=0.0) / 4, rtol=1e-6)
    assert np.array_equal(seen.valid.numpy(), np.isfinite(stored))


def test_the_validation_gallery_is_one_baseline_target_of_each_training_subject(cohort: Cohort) -> None:
    data, train = PairsData(cohort, cohort.regions, SETTINGS, seed=5), cohort.split("train")
    subjects = train.subjects[data.gallery_rows].tolist()
    assert sorted(subjects) == sorted(set(train.subjects.tolist()))
    assert train.is_baseline[data.gallery_rows].all()
    assert not set(subjects) & set(cohort.split("val").subjects.tolist())


def test_a_limited_gallery_is_drawn_from_all_people_and_again_the_same(cohort: Cohort) -> None:
    train, settings = cohort.split("train"), SETTINGS.model_copy(update={"gallery_limit": 4})
    people = np.unique(train.subjects).tolist()

    def drawn(seed: int) -> list[str]:
        return train.subjects[PairsData(cohort, cohort.regions, settings, seed=seed).gallery_rows].tolist()

    galleries = [drawn(seed) for seed in range(12)]
    assert galleries[3] == drawn(3)
    assert all(len(set(gallery)) == 4 for gallery in galleries)
    seen = {person for gallery in galleries for person in gallery}
    assert seen & set(people[-4:]), "the last names stand in some gallery"
    assert len({tuple(gallery) for gallery in galleries}) > 6


def test_the_error_that_chooses_an_epoch_is_that_of_a_plain_loop_over_pixels() -> None:
    """Targets with holes, a pixel no neighbor knows, a pixel outside the mask, a truth without some pixels."""
    rng = np.random.default_rng(1)
    queries, gallery = (np.abs(rng.normal(size=(n, 5))).astype(np.float32) for n in (6, 9))
    truths, targets = (rng.uniform(1, 3, (n, 12)).astype(np.float32) for n in (6, 9))
    truths[rng.random(truths.shape) < 0.2] = np.nan
    targets[rng.random(targets.shape) < 0.5] = np.nan
    targets[0] = 2.0  # every pixel has a value somewhere
    mask = np.arange(12) != 7
    errors, filled = [], 0
    for query, truth in zip(queries, truths, strict=True):
        similarities = gallery @ query / np.linalg.norm(gallery, axis=1) / np.linalg.norm(query)
        nearest = np.argsort(-similarities)[:3]
        image = []
        for pixel in targets.T:
            known = [i for i in nearest if np.isfinite(pixel[i])]
            filled += not known
            image.append(np.average(pixel[known], weights=similarities[known]) if known else np.nanmean(pixel))
        errors.append(np.mean([abs(a - b) for a, b, m in zip(image, truth, mask, strict=True) if m and np.isfinite(b)]))
    assert filled, "no pixel is without a neighbor"
    weights = neighbor_weights(torch.from_numpy(queries), torch.from_numpy(gallery), n_neighbors=3)
    found = weighted_error(weights, *(torch.from_numpy(a) for a in (targets, truths, mask)))
    assert found == pytest.approx(np.mean(errors), rel=1e-5)


def test_the_yardstick_of_validation_is_the_error_of_the_mean_of_all_training_targets_also_of_those_out_of_the_gallery(
    make_cohort: Callable[..., Cohort], rng: np.random.Generator
) -> None:
    """Targets with holes, visits that are not in the gallery, a gallery of few."""
    subjects = [f"S{row // 2}" for row in range(24)]
    targets = rng.uniform(0.5, 3.0, (24, 2, 8, 8)).astype(np.float32)
    targets[rng.random(targets.shape) < 0.3] = np.nan
    splits = ["train"] * 16 + ["val"] * 8
    cohort = make_cohort(subjects, rng=rng, split=splits, targets=targets)
    data = PairsData(cohort, ("tibial",), SETTINGS.model_copy(update={"gallery_limit": 3}), seed=0)
    spec = EncoderSpec.for_cohort(cohort.header, regions=("tibial",), target_scale=3.0, width=8, embedding_dim=4)
    logged: dict[str, float] = {}
    module = MetricModule(DualEncoder(spec), SETTINGS, data.judged, seed=0)
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign]
    module.embedded = {name: [torch.ones(n, 4)] for name, n in (("sources", 8), ("targets", 8), ("gallery", 3))}
    module.on_validation_epoch_end()

    tibial, inside = targets[:, 1], cohort.atlas_mask[1]
    mean = np.nanmean(tibial[:16], axis=0)
    each = [np.nanmean(np.abs(truth - mean)[inside]) for truth in tibial[16:]]
    assert logged[YARDSTICK] == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize("objective", ["both", "synthesis", "triplet"])
def test_every_parameter_that_trains_gets_a_gradient_as_processes_that_train_together_need(
    cohort: Cohort, objective: str
) -> None:
    settings = SETTINGS.model_copy(
        update={"objective": objective, "target_network": "components", "n_components": 4, "source_components": 3}
    )
    network = {"width": 8, "embedding_dim": 4, "target_network": "components", "n_components": 4}
    spec = EncoderSpec.for_cohort(
        cohort.header, regions=cohort.regions, target_scale=3.0, **network, source_components=3, temperature=0.1
    )
    encoder, data = DualEncoder(spec), PairsData(cohort, cohort.regions, settings, seed=0)
    data.fit_components(encoder)
    module = MetricModule(encoder, settings, data.judged, seed=0, synthesis=data.objective(encoder))
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    module._trainer = SimpleNamespace(current_epoch=0, global_rank=0)  # type: ignore[assignment]
    module.training_step(data.reader.read(np.arange(8)), 0).backward()
    idle = [name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not idle
    assert (encoder.log_temperature.grad is None) == (objective == "triplet")


def test_candidates_move_with_the_network_and_stay_out_of_its_checkpoint(cohort: Cohort) -> None:
    settings = SETTINGS.model_copy(update={"objective": "synthesis", "target_network": "components", "n_components": 4})
    network = {"width": 8, "embedding_dim": 4, "target_network": "components", "n_components": 4, "temperature": 0.1}
    encoder = DualEncoder(EncoderSpec.for_cohort(cohort.header, regions=cohort.regions, target_scale=3.0, **network))
    data = PairsData(cohort, cohort.regions, settings, seed=0)
    data.fit_components(encoder)
    objective = data.objective(encoder)
    assert objective is not None
    scores, candidates = objective.to("meta").pool.draw(chance=0)
    assert {one.device.type for one in (scores, candidates.values, candidates.subjects)} == {"meta"}
    assert set(objective.state_dict()) == {"head.weight", "head.bias"}
