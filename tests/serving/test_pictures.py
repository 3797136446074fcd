"""What pictures of a synthesis say and show."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageDraw
from tests.tiny_synthesis import tiny_synthesis

from mris.errors import SettingsError
from mris.images.edges import Edges, turned_as
from mris.serving.canvas import Canvas
from mris.serving.capture_picture import capture_pixels
from mris.serving.pictures import Look, write_maps_picture, write_neighbors_picture

STRANGE = r"軟骨 $\frac$ 膝"
SOURCE = np.linspace(0, 1, 72, dtype=np.float32).reshape(1, 9, 8)


def maps_of(synthesis):
    return (np.stack([synthesis.image, synthesis.image / 2]),)


def test_letters_that_the_font_lacks_and_dollars_reach_every_picture_as_text(tmp_path, monkeypatch):
    tiny = tiny_synthesis()
    part = replace(tiny.contributions[0], regions=(STRANGE, "tibial"))
    synthesis = replace(tiny, regions=(STRANGE, "tibial"), unit=STRANGE, contributions=(part,))
    drawn = letters_drawn(monkeypatch)
    write_maps_picture(tmp_path / "maps.png", synthesis)
    write_neighbors_picture(tmp_path / "neighbors.png", synthesis, SOURCE, maps_of(synthesis))
    capture_pixels(synthesis, maps_of(synthesis), caption=STRANGE, source=SOURCE, source_title=STRANGE)
    told = r"\u8edf\u9aa8 $\frac$ \u819d"
    assert {told, f"synthesis: {told}", f"{told}: spread of neighbors"} <= set(drawn)
    assert all(line.isascii() for line in drawn), "an empty box would stand for any letter"


@pytest.mark.parametrize("look", [{"values": (2.0, 2.0)}, {"values": (3.0, 1.0)}, {"spread": 0.0}, {"spread": np.nan}])
def test_colors_without_a_range_are_refused_before_anything_is_drawn(look):
    with pytest.raises(SettingsError, match=r"the colors of (values|spread) go from .*the smaller first"):
        Look(**look)


def letters_drawn(monkeypatch):
    drawn, write = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda pen, at, text, **kw: [drawn.append(text), write(pen, at, text, **kw)]
    )
    return drawn


def texts_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(Canvas, "write", lambda self, x, y, text, *_, **kw: [drawn.append(text), 0.0][1])
    return drawn


EDGES = {"femoral": Edges("lateral", "medial", "back", "front"), "tibial": Edges("medial", "lateral", "back", "front")}


def test_regions_face_the_same_way_and_say_what_lies_at_their_edges(tmp_path, monkeypatch):
    synthesis, drawn, panels = tiny_synthesis(), texts_drawn(monkeypatch), []
    monkeypatch.setattr("mris.serving.pictures.draw_map", lambda panel, values, *_: panels.append(values) or panel)
    monkeypatch.setattr("mris.serving.pictures._Grid.bar", lambda *_: None)
    write_maps_picture(tmp_path / "maps.png", synthesis, look=Look(edges=EDGES))
    at_edges = [text for text in drawn if ":" not in text]  # titles name what is shown and its region
    assert at_edges == ["lateral", "medial", "back", "front"] * 4, "image and spread of two regions"
    np.testing.assert_array_equal(panels[0], synthesis.image[0])
    np.testing.assert_array_equal(panels[1], synthesis.image[1][::-1])


def test_nothing_is_written_at_edges_that_nobody_names(tmp_path, monkeypatch):
    drawn = texts_drawn(monkeypatch)
    monkeypatch.setattr("mris.serving.pictures._Grid.bar", lambda *_: None)
    write_maps_picture(tmp_path / "maps.png", tiny_synthesis())
    assert drawn == [f"{what}: {region}" for what in ("synthesis", "spread") for region in ("femoral", "tibial")]


@given(flips=st.tuples(st.booleans(), st.booleans()))
def test_a_map_that_is_turned_shows_at_each_edge_what_the_other_shows(flips):
    values = np.arange(12).reshape(3, 4)
    like = Edges("north", "south", "west", "east")
    stored, edges = values, like
    if flips[0]:
        stored, edges = stored[::-1], replace(edges, top="south", bottom="north")
    if flips[1]:
        stored, edges = stored[:, ::-1], replace(edges, left="east", right="west")
    turned, now = turned_as(stored, edges, like)
    assert now == like
    np.testing.assert_array_equal(turned, values)
