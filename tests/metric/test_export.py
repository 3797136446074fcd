"""The exported encoder computes what torch computes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mris.errors import TrainingError
from mris.images.transforms import SourcePreparation
from mris.metric import export
from mris.metric.encoders import DualEncoder
from mris.synthesis.onnx_encoder import OnnxEncoder
from mris.training.card import EncoderSpec


def encoder(**network) -> DualEncoder:
    spec = EncoderSpec(
        regions=("a", "b"),
        source_shape=(1, 32, 24),
        target_shape=(2, 32, 24),
        target_scale=3.0,
        unit="mm",
        target_spacing=None,
        preparation=SourcePreparation((32, 24)),
        embedding_dim=8,
        **network,
    )
    torch.manual_seed(0)
    return DualEncoder(spec)


@pytest.mark.parametrize(
    "network", [{"width": 8}, {"width": 8, "stem": "fine"}, {"width": 8, "source_contrast": "local"}], ids=str
)
@pytest.mark.parametrize("n", [1, 3, 8])
def test_onnx_runtime_embeds_as_torch_for_every_batch_size(network: dict, n: int, tmp_path: Path) -> None:
    torch_encoder = encoder(**network)
    onnx_encoder = OnnxEncoder(export.export_encoder(torch_encoder, tmp_path))
    rng = np.random.default_rng(n)
    sources = rng.random((n, 1, 32, 24), dtype=np.float32)
    targets = rng.random((n, 2, 32, 24), dtype=np.float32) * 3
    targets[:, :, :4] = np.nan
    np.testing.assert_allclose(onnx_encoder.encode_sources(sources), torch_encoder.encode_sources(sources), atol=1e-5)
    np.testing.assert_allclose(onnx_encoder.encode_targets(targets), torch_encoder.encode_targets(targets), atol=1e-5)
    assert onnx_encoder.fingerprint == torch_encoder.fingerprint
    assert onnx_encoder.regions == torch_encoder.regions


@pytest.mark.slow
def test_the_imagenet_architecture_exports_too(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'imagenet' is not installed")
    torch_encoder = encoder(architecture="efficientnet-lite0")
    onnx_encoder = OnnxEncoder(export.export_encoder(torch_encoder, tmp_path))
    sources = np.random.default_rng(0).random((2, 1, 32, 24), dtype=np.float32)
    np.testing.assert_allclose(onnx_encoder.encode_sources(sources), torch_encoder.encode_sources(sources), atol=1e-4)


def test_an_export_that_differs_is_refused_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(TrainingError, match="differs from torch"):
        export.export_encoder(encoder(width=8), tmp_path)
    assert not list(tmp_path.glob("*.onnx"))


def test_features_of_any_size_are_exported_as_well_as_their_size_allows(tmp_path: Path) -> None:
    torch_encoder = encoder(width=8, source_components=4)
    assert torch_encoder.components is not None
    torch_encoder.components.directions.normal_().mul_(1e5)
    onnx_encoder = OnnxEncoder(export.export_encoder(torch_encoder, tmp_path))
    sources = np.random.default_rng(0).random((2, 1, 32, 24), dtype=np.float32)
    for found, expected in zip(
        onnx_encoder.describe_sources(sources), torch_encoder.describe_sources(sources), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_encoders_of_unknown_origin_keep_the_fingerprint_of_earlier_versions() -> None:
    spec = encoder(width=8).spec
    assert json.dumps(spec.to_json(), sort_keys=True) == (
        '{"architecture": "resnet18", "embedding_dim": 8, "preparation": {"mirror_sides": [], "percentile": 99.0, '
        '"region_mm": null, "size": [32, 24]}, "regions": ["a", "b"], "source_shape": [1, 32, 24], '
        '"stem": "standard", "target_scale": 3.0, "target_shape": [2, 32, 24], "target_spacing": null, "unit": "mm", '
        '"width": 8}'
    )
    assert EncoderSpec.model_validate(spec.to_json()) == spec


def test_an_encoder_of_simulated_images_says_so_after_its_export(tmp_path: Path) -> None:
    assert OnnxEncoder(export.export_encoder(encoder(width=8, origin="simulated"), tmp_path)).origin == "simulated"
