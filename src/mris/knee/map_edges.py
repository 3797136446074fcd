"""What lies at the edges of thickness maps, for their pictures."""

from mris.images.edges import Edges

_MEDIAL_AT_TOP = Edges("medial", "lateral", "posterior", "anterior")

ATLAS_EDGES = {"tibial": _MEDIAL_AT_TOP, "femoral": Edges("lateral", "medial", "posterior", "anterior")}
"""Of maps that `mris thickness` and the OAI_analysis atlas make (`mris.knee.flatten`); pictures face as the first."""

PHANTOM_EDGES = {"femoral": _MEDIAL_AT_TOP, "tibial": _MEDIAL_AT_TOP}
"""Of the digital cohort's maps; see `mris.knee.phantom.atlas`."""
