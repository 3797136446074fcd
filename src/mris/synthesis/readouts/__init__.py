"""Readouts: how the targets of a database become the synthesis of a query. Each one is a file here, and a weighted sum.

Other rooms use `Readout`, what is stored with a bundle, and `open_readout`, which makes it answer.
"""

from mris.synthesis.readouts.choose import choose_readout
from mris.synthesis.readouts.opened import check_readout, open_readout
from mris.synthesis.readouts.readout import (
    READOUTS,
    Answer,
    OpenReadout,
    Queries,
    Readout,
    SynthesisSettings,
)

__all__ = [
    "READOUTS",
    "Answer",
    "OpenReadout",
    "Queries",
    "Readout",
    "SynthesisSettings",
    "check_readout",
    "choose_readout",
    "open_readout",
]
