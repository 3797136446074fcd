"""A network as TorchScript, as in a MONAI bundle, answers as the same one as ONNX does; what is not one is refused."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.mr_oracle import ORDER, PATCH, write_oracle

from mris.errors import BundleError
from mris.knee.mr.model import CARD_FILE, MODEL_FILE, TORCHSCRIPT_FILE, Model
from mris.knee.mr.tissues import N_CLASSES

torch = pytest.importorskip("torch")


class Oracle(torch.nn.Module):
    """The network of `write_oracle`."""

    def __init__(self) -> None:
        super().__init__()
        gray = torch.tensor([100.0 * ORDER.index(number) for number in range(N_CLASSES)])
        self.voxel = torch.nn.Conv3d(1, N_CLASSES, 1)
        self.voxel.weight = torch.nn.Parameter((0.02 * gray).reshape(-1, 1, 1, 1, 1))
        self.voxel.bias = torch.nn.Parameter(-0.01 * gray**2)

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.voxel(patch), dim=1)


def write_bundle(folder: Path, network: torch.nn.Module) -> Path:
    """Write a bundle as MONAI lays it out, with our card."""
    card = json.loads((write_oracle(folder) / CARD_FILE).read_text())
    (folder / MODEL_FILE).unlink()
    path = folder / TORCHSCRIPT_FILE
    path.parent.mkdir()
    torch.jit.script(network).save(str(path))
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / CARD_FILE).write_text(json.dumps(card))
    return folder


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_network_as_torchscript_answers_as_the_same_as_onnx(tmp_path: Path, rng: np.random.Generator) -> None:
    patch = rng.uniform(0, 700, (1, PATCH, PATCH, PATCH)).astype(np.float32)
    ours = Model(write_bundle(tmp_path / "bundle", Oracle()), threads=1).probabilities(patch)
    theirs = Model(write_oracle(tmp_path / "onnx"), threads=1).probabilities(patch)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


class Other(torch.nn.Module):
    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        return patch


class Failing(torch.nn.Module):
    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        return patch.reshape(3, 5, 7)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("network", "message"),
    [(Other(), r"answers \(1, 1, 64, 64, 64\), but its card says \(1, 8,"), (Failing(), "failed .*shape")],
)
def test_a_torchscript_network_that_is_not_as_its_card_says_is_refused(
    tmp_path: Path, network: torch.nn.Module, message: str
) -> None:
    model = Model(write_bundle(tmp_path / "bundle", network), threads=1)
    with pytest.raises(BundleError, match=message) as refused:
        model.probabilities(np.zeros((1, PATCH, PATCH, PATCH), np.float32))
    assert "\n" not in str(refused.value)


def test_a_damaged_torchscript_file_is_refused(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle", Oracle()) / TORCHSCRIPT_FILE
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Model(tmp_path / "bundle", threads=1).probabilities(np.zeros((1, PATCH, PATCH, PATCH), np.float32))
    card = json.loads((tmp_path / "bundle" / CARD_FILE).read_text())
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "bundle" / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(BundleError, match="cannot be loaded"):
        Model(tmp_path / "bundle", threads=1).probabilities(np.zeros((1, PATCH, PATCH, PATCH), np.float32))
    path.unlink()
    with pytest.raises(BundleError, match="is missing"):
        Model(tmp_path / "bundle", threads=1).probabilities(np.zeros((1, PATCH, PATCH, PATCH), np.float32))
