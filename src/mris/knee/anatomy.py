"""What the other rooms are told of knees: the size of the crop round one, views, names, and what to advise."""

import numpy as np
from jaxtyping import Float32

from mris.images.anatomy import Anatomy
from mris.knee.crop import REGION_MM

OTHER_PARTS = frozenset({
    "ABDOMEN", "ANKLE", "BREAST", "CHEST", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW", "FOOT", "HAND", "HEAD", "HIP",
    "JAW", "LSPINE", "NECK", "PELVIS", "SACRUM", "SHOULDER", "SKULL", "SPINE", "SSPINE", "TSPINE", "WRIST",
})  # fmt: skip
"""DICOM's terms (PS3.16, annex L) for parts of the body whose radiographs show no knee."""


def _sight(source: Float32[np.ndarray, "c h w"], edge_mm: float) -> tuple[str, ...]:
    from mris.knee.sight import doubts_on_knee  # it loads a network's library

    return doubts_on_knee(source, edge_mm)


KNEE = Anatomy(
    name="knee",
    plural="knees",
    other_views=frozenset({"SKY", "SKYLINE", "SUNRISE", "MERCHANT", "LAURIN", "PATELLA", "TUNNEL", "NOTCH"}),
    widest_mm=300.0,  # cassettes for one knee are at most 24 x 30 cm
    region_mm=REGION_MM,
    body_part="KNEE",
    other_parts=OTHER_PARTS,
    code=("72696002", "SCT", "Knee"),
    plate_advice="let mris synthesize find its knees (--knees detect, --right, --left), or cut them out by mris "
    "radiograph",
    center_advice="cut the knee out by its center (--right, --left, in mris synthesize or mris radiograph)",
    mirrored_advice="cut its knees out by mris radiograph, or let mris synthesize find them (--knees detect, --right, "
    "--left): both mirror it back",
    targets=frozenset({"femoral", "tibial"}),
    sight=_sight,
)
"""The doors pass it on: what knees are called, which views show them, how wide their pictures are."""
