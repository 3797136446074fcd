"""A network that knows the answer: a scan whose gray values are its classes, and an ONNX file that rounds them."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mris.images.write import write_json
from mris.knee.mr.knee_shape import KneeShape
from mris.knee.mr.model import CARD_FILE, CLASSES, MODEL_FILE, ModelCard
from mris.knee.mr.shapes import knee_labels
from mris.knee.mr.tissues import N_CLASSES, Tissue

PATCH, STEP_MM = 64, 1.6
ORDER = (0, 2, 4, 6, 7, 5, 3, 1)
"""Gray value of each class, in hundreds: those of large tissues are at the ends, so that clipping hits no small one."""


def write_oracle(folder: Path, edge: int = PATCH, step_mm: float = STEP_MM, **changes: object) -> Path:
    """Write a model whose likeliest class is the one whose gray value is nearest: ``2 c x - c^2`` is largest there."""
    folder.mkdir(parents=True, exist_ok=True)
    gray = np.array([100.0 * ORDER.index(number) for number in range(N_CLASSES)], np.float32)
    sharp = np.float32(0.01)
    weights = numpy_helper.from_array((2 * sharp * gray).reshape(-1, 1, 1, 1, 1), "weights")
    bias = numpy_helper.from_array(-sharp * gray**2, "bias")
    shape = [edge] * 3
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["patch", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "oracle",
        [helper.make_tensor_value_info("patch", TensorProto.FLOAT, [1, 1, *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, N_CLASSES, *shape])],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / MODEL_FILE)
    card = {
        "classes": CLASSES[:N_CLASSES],
        "spacing_mm": (step_mm,) * 3,
        "patch": tuple(shape),
        "sha256": hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest(),
    }
    write_json(folder / CARD_FILE, ModelCard(**(card | changes)).to_json() if not changes else card | changes)
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
