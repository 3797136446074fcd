"""What pictures of a synthesis say and show."""

import warnings
from dataclasses import replace

import numpy as np
from tests.tiny_synthesis import tiny_synthesis

from mris.synthesis.capture_picture import capture_pixels
from mris.synthesis.pictures import write_maps_picture, write_neighbors_picture

STRANGE = r"軟骨 $\frac$ 膝"
SOURCE = np.linspace(0, 1, 72, dtype=np.float32).reshape(1, 9, 8)


def maps_of(synthesis):
    return (np.stack([synthesis.image, synthesis.image / 2]),)


def test_letters_that_the_font_lacks_and_dollars_reach_every_picture_as_text(tmp_path):
    tiny = tiny_synthesis()
    part = replace(tiny.contributions[0], regions=(STRANGE, "tibial"))
    synthesis = replace(tiny, regions=(STRANGE, "tibial"), unit=STRANGE, contributions=(part,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns of each letter that becomes an empty box
        write_maps_picture(tmp_path / "maps.png", synthesis)
        write_neighbors_picture(tmp_path / "neighbors.png", synthesis, SOURCE, maps_of(synthesis))
        capture_pixels(synthesis, maps_of(synthesis), caption=STRANGE, source=SOURCE, source_title=STRANGE)
