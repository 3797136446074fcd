"""A network that knows the answer: a scan whose gray values are its classes, and an ONNX file that rounds them."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mris.images.write import write_json
from mris.knee.mr.knee_shape import KneeShape
from mris.knee.mr.model import CARD_FILE, CLASSES, MODEL_FILE
from mris.knee.mr.shapes import knee_labels
from mris.knee.mr.tissues import N_CLASSES, Tissue

PATCH, STEP_MM = 64, 1.6
ORDER = (0, 2, 4, 6, 7, 5, 3, 1)
"""Gray value of each class, in hundreds: those of large tissues are at the ends, so that clipping hits no small one."""


def write_oracle(folder: Path, edge: int = PATCH, step_mm: float = STEP_MM, **changes: object) -> Path:
    """Write a model whose likeliest class is the one whose gray value is nearest: ``2 c x - c^2`` is largest there."""
    gray = np.array([100.0 * ORDER.index(number) for number in range(N_CLASSES)], np.float32)
    sharp = np.float32(0.01)
    return write_model(folder, (2 * sharp * gray).reshape(-1, 1), -sharp * gray**2, edge, step_mm, **changes)


def write_repeater(folder: Path, edge: int = PATCH, step_mm: float = STEP_MM) -> Path:
    """Write a guided model that says what its guide has said, and never looks at the picture."""
    weights = np.concatenate([np.zeros((N_CLASSES, 1)), 20 * np.eye(N_CLASSES)], axis=1)
    return write_model(folder, weights, np.zeros(N_CLASSES), edge, step_mm, guided=True)


def write_model(
    folder: Path, weights: np.ndarray, bias: np.ndarray, edge: int, step_mm: float, **changes: object
) -> Path:
    """Write a model of one convolution of a voxel: from channels to classes."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = [
        numpy_helper.from_array(weights.astype(np.float32)[:, :, None, None, None], "weights"),
        numpy_helper.from_array(bias.astype(np.float32), "bias"),
    ]
    shape = [edge] * 3
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["patch", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "oracle",
        [helper.make_tensor_value_info("patch", TensorProto.FLOAT, [1, weights.shape[1], *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, N_CLASSES, *shape])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / MODEL_FILE)
    card = {
        "format_version": 1,
        "classes": CLASSES[:N_CLASSES],
        "spacing_mm": (step_mm,) * 3,
        "patch": tuple(shape),
        "sha256": hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest(),
    }
    write_json(folder / CARD_FILE, card | changes)
    return folder


def digital_labels(step_mm: float = STEP_MM) -> np.ndarray:
    """Classes of the middle one of the digital knees, a left one; axes right, anterior, superior."""
    labels = knee_labels(KneeShape(), step_mm)
    return np.where(labels == Tissue.FIBULA, 0, labels).astype(np.uint8)


def gray_of(labels: np.ndarray) -> np.ndarray:
    """The scan that the oracle reads."""
    return (100 * np.array([ORDER.index(number) for number in range(N_CLASSES)])[labels]).astype(np.uint16)


def affine_at(step_mm: float = STEP_MM, side: str = "left") -> np.ndarray:
    """Affine of `digital_labels`."""
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = (-150.0 if side == "left" else 30.0, -75.0, -69.0)
    return affine
