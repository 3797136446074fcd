"""Does a prepared source show a knee as encoders are used to it: a joint in its middle, upright, with bright bone?

A network that was made to bear any contrast and position answers to a picture of noise, too. The joint detector does
not: it looks for a joint, and tells how sure it is.
"""

import numpy as np
from jaxtyping import Float32

from mris.images.image import Image
from mris.knee.joint_detector import (
    LARGEST_EXTENT_MM,
    LEAST_EXTENT_MM,
    MIN_CONFIDENCE,
    JointDetection,
    detect_joints,
)

LEAST_CONFIDENCE = 0.2
"""Of the joint detector, below which no joint is seen; chosen, as the next, on digital knees and 300 real ones."""

SURER = 0.25
"""By how much it must be surer of a picture turned over before that counts as upside down."""

FARTHEST_MM = 20.0
"""Of a joint from the middle of its picture."""

_BONE_MM, _BESIDE_MM = 28.0, 40.0
_NEAR_MM, _GAP_MM, _FAR_MM = 3.5, 10.0, 32.0


def doubts_on_knee(source: Float32[np.ndarray, "c h w"], edge_mm: float) -> tuple[str, ...]:
    """Say what speaks against a picture's being one of a knee, seen from the front; nothing where it looks like one.

    Args:
        source: As encoders see it, over the same length in both directions.
        edge_mm: That length; not between 40 mm and 1.5 m the joint detector can tell nothing, and no doubt is said.

    Raises:
        BundleError: The package's weights are missing or damaged.

    Example:
        >>> noise = np.random.default_rng(0).random((1, 80, 80), dtype=np.float32)
        >>> doubts_on_knee(noise, 88.0)[0][:37]
        'no joint of a knee is seen in it (the'
    """
    if not LEAST_EXTENT_MM < edge_mm < LARGEST_EXTENT_MM:
        return ()
    upright = _surest(source, edge_mm)
    turned = upright if upright.confidence >= 1 - SURER else _surest(source[:, ::-1], edge_mm)  # none can be surer
    doubts = []
    if turned.confidence > upright.confidence + SURER and turned.confidence >= MIN_CONFIDENCE:
        doubts.append(
            f"it looks upside down (the joint detector's confidence is {turned.confidence:.2f} for the picture turned "
            f"over, {upright.confidence:.2f} as it is)"
        )
    elif upright.confidence < LEAST_CONFIDENCE:
        doubts.append(
            f"no joint of a knee is seen in it (the joint detector's confidence is {upright.confidence:.2f}): another "
            "part of the body, another view, an implant, or a picture that is turned"
        )
    else:
        away = np.hypot(*(np.subtract(upright.center, (np.array(source.shape[1:]) - 1) / 2) * _pixel(source, edge_mm)))
        if away > FARTHEST_MM:
            doubts.append(f"its joint lies {away:.0f} mm from the middle; give its center, or let it be found")
        if _contrast_of_bone(source, upright, edge_mm) < 0:
            doubts.append("its grays look inverted: bone is darker than what lies beside and between it")
    return tuple(doubts)


def _surest(source: Float32[np.ndarray, "c h w"], edge_mm: float) -> JointDetection:
    height, width = _pixel(source, edge_mm)
    image = Image(np.ascontiguousarray(source), spacing=(float(height), float(width)))
    return max(detect_joints(image), key=lambda joint: joint.confidence)


def _pixel(source: Float32[np.ndarray, "c h w"], edge_mm: float) -> np.ndarray:
    return edge_mm / np.array(source.shape[1:])


def _contrast_of_bone(source: Float32[np.ndarray, "c h w"], joint: JointDetection, edge_mm: float) -> float:
    """How much brighter bone is than the soft tissue beside it, plus than the joint space, in grays of the source."""
    pixels = source.mean(axis=0)
    height, width = _pixel(source, edge_mm)
    away = np.abs(np.arange(pixels.shape[0]) - joint.center[0])[:, None] * height
    aside = np.abs(np.arange(pixels.shape[1]) - joint.center[1])[None, :] * width
    shown = pixels > pixels.min()  # the least is what lies outside, too
    bone = (away > _GAP_MM) & (away < _FAR_MM) & (aside < _BONE_MM) & shown
    space = (away < _NEAR_MM) & (aside < _BONE_MM) & shown
    beside = (away < _FAR_MM) & (aside > _BESIDE_MM) & shown
    seen = [part for part in (space, beside) if part.any()] if bone.any() else []
    return sum(float(pixels[bone].mean() - pixels[part].mean()) for part in seen)
