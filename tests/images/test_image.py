import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mris.errors import ImageError
from mris.images.image import MAX_PIXELS, Image, check_array_shape, side_name


def test_an_image_keeps_values_spacing_and_side():
    image = Image.from_array(np.array([[1, 2, 3], [4, 5, 6]]), spacing=(0.5, 0.25), origin="here", laterality="left")
    assert image.pixels.dtype == np.float32
    assert image.pixels.flags.c_contiguous
    assert image.shape == (1, 2, 3)
    assert image.size == (2, 3)
    assert image.n_channels == 1
    assert image.extent_mm == (1.0, 0.75)
    assert repr(image) == "Image(1 x 2 x 3, spacing 0.5 x 0.25 mm, left, here)"


def test_an_image_of_an_array_is_a_copy():
    array = np.ones((1, 2, 3), np.float32)
    image = Image.from_array(array)
    array[:] = 7
    assert (image.pixels == 1).all()


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.ones((2, 2), np.complex64), "complex64"),
        (np.array([["a"]]), "type is <U1"),
        (np.array([[None]]), "object"),
        (np.ones(4), r"\(4,\) has 1 axes"),
        (np.ones((1, 1, 2, 2)), "4 axes"),
        (np.ones((0, 3)), "no pixel"),
        (np.ones((40, 30, 3)), "move the channels to the front"),
        (np.ones((20, 30, 30)), "cut one plane out"),
        (np.array([[1.0, np.inf]]), "1 pixels are infinite"),
        (np.array([[1.0, 1e300]]), "exceed float32"),
    ],
)
def test_an_array_that_is_no_image_is_refused_with_the_reason(array, match):
    with pytest.raises(ImageError, match=match):
        Image.from_array(array, origin="here")


@pytest.mark.parametrize("pixels", [np.ones((2, 2), np.float32), np.ones((1, 2, 2)), [[1.0]]])
def test_the_constructor_converts_nothing(pixels):
    with pytest.raises(ImageError, match="from_array converts"):
        Image(pixels)


@pytest.mark.parametrize(
    "spacing", [(0, 1), (1, -1), (1, np.nan), (1, np.inf), (1e-320, 1), (1, 1e39), (1,), (1, 2, 3), ("a", 1), 1]
)
def test_a_spacing_that_is_no_length_is_refused(spacing):
    with pytest.raises(ImageError, match="two positive numbers of mm"):
        Image(np.ones((1, 2, 2), np.float32), spacing=spacing)


def test_an_unknown_laterality_is_refused():
    with pytest.raises(ImageError, match="laterality is 'up'"):
        Image(np.ones((1, 2, 2), np.float32), laterality="up")


def test_nan_is_a_pixel_without_value_and_allowed():
    assert np.isnan(Image.from_array(np.array([[1.0, np.nan]])).pixels).sum() == 1


@given(st.lists(st.integers(-2, 2**40), max_size=5))
def test_a_shape_is_either_bounded_or_refused(shape):
    try:
        check_array_shape(shape, "here")
    except ImageError:
        return
    assert len(shape) in (2, 3)
    assert 1 <= np.prod([int(n) for n in shape], dtype=object) <= MAX_PIXELS


@pytest.mark.parametrize(
    ("text", "name"), [("R", "right"), (" l ", "left"), ("LEFT", "left"), ("", None), (None, None), ("Apex", "apex")]
)
def test_sides_have_one_name(text, name):
    assert side_name(text) == name
