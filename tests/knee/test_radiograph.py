import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plates import pixels_of, write_plate

from mris.errors import ImageError
from mris.images.image import Image
from mris.images.transforms import SourcePreparation, prepare_source
from mris.images.write import write_png
from mris.knee.anatomy import KNEE
from mris.knee.radiograph import KneeLocation, knee_region, read_plate


def given_knee(row, column, side="left"):
    return KneeLocation(side, (row, column), "given", "given")


def test_a_dicom_plate_brings_pixels_spacing_and_its_facts(tmp_path):
    pixels = pixels_of()
    plate = read_plate(write_plate(tmp_path / "a.dcm", pixels, ImageLaterality="L"))
    np.testing.assert_array_equal(plate.pixels[0], pixels)
    assert plate.spacing == (0.5, 0.5)
    assert plate.header.spacing_source == "ImagerPixelSpacing"
    assert (plate.laterality, plate.header.view, plate.header.mirrored) == ("left", "PA", False)


def test_both_photometric_interpretations_of_a_plate_give_one_picture(tmp_path):
    pixels = pixels_of()
    plate = read_plate(write_plate(tmp_path / "a.dcm", pixels))
    inverted = read_plate(
        write_plate(tmp_path / "b.dcm", np.iinfo(np.uint16).max - pixels, PhotometricInterpretation="MONOCHROME1")
    )
    np.testing.assert_array_equal(inverted.pixels, plate.pixels)
    assert inverted.header.photometric == "MONOCHROME1"


def test_a_plate_of_both_knees_has_no_side_of_its_own(tmp_path):
    plate = read_plate(write_plate(tmp_path / "a.dcm", pixels_of(), ImageLaterality="B"))
    assert plate.laterality is None
    assert plate.header.sides == ("right", "left")


def test_a_spacing_is_taken_where_the_file_states_none(tmp_path):
    write_png(tmp_path / "a.png", pixels_of())
    assert read_plate(tmp_path / "a.png").spacing is None
    assert read_plate(tmp_path / "a.png").header.spacing_source == "none"
    plate = read_plate(tmp_path / "a.png", spacing=(0.2, 0.3))
    assert (plate.spacing, plate.header.spacing_source) == ((0.2, 0.3), "given")
    stated = read_plate(write_plate(tmp_path / "a.dcm", pixels_of()), spacing=(0.2, 0.3))
    assert (stated.spacing, stated.header.spacing_source) == ((0.5, 0.5), "ImagerPixelSpacing")


def test_a_spacing_that_is_none_is_refused(tmp_path):
    write_png(tmp_path / "a.png", pixels_of())
    with pytest.raises(ImageError, match="two positive numbers"):
        read_plate(tmp_path / "a.png", spacing=(0.2, -1))


@pytest.mark.parametrize(
    ("view", "frontal"),
    [("PA", True), ("AP", True), ("PA FLEX", True), ("LL", False), ("LAT", False), ("STANDING", None), ("", None)],
)
def test_only_words_that_mean_something_tell_the_view(tmp_path, view, frontal):
    plate = read_plate(write_plate(tmp_path / "a.dcm", pixels_of(), ViewPosition=view))
    assert KNEE.is_frontal(plate.header.view) is frontal


@hypothesis.settings(deadline=None)
@given(
    row=st.floats(-0.5, 99.5), column=st.floats(-0.5, 149.5), size=st.floats(1, 300), spacing=st.floats(0.3, 1.0)
)  # fmt: skip
def test_a_region_has_its_size_wherever_it_lies_and_the_plate_inside(row, column, size, spacing):
    pixels = pixels_of((100, 150)).astype(np.float32)[np.newaxis]
    plate = Image(pixels, spacing=(spacing, spacing))
    region = knee_region(plate, given_knee(row, column), size)
    n = round(size / spacing)
    assert region.size == (n, n)
    assert region.laterality == "left"
    # An oracle: one pixel after the other.
    top, left = np.floor(row - (n - 1) / 2 + 0.5), np.floor(column - (n - 1) / 2 + 0.5)
    for y, x in ((0, 0), (0, n - 1), (n - 1, 0), (n // 2, n // 2)):
        v, u = int(top + y), int(left + x)
        inside = 0 <= v < 100 and 0 <= u < 150
        assert region.pixels[0, y, x] == (pixels[0, v, u] if inside else pixels.min())


def test_a_mirrored_plate_gives_the_regions_of_its_mirror_picture(tmp_path):
    pixels = pixels_of()
    plain = read_plate(write_plate(tmp_path / "a.dcm", pixels, PatientOrientation=["L", "F"]))
    mirrored = read_plate(write_plate(tmp_path / "b.dcm", pixels[:, ::-1], PatientOrientation=["R", "F"]))
    assert (plain.header.mirrored, mirrored.header.mirrored) == (False, True)
    region = knee_region(plain, given_knee(200, 150, "right"), 120)
    back = knee_region(mirrored, given_knee(200, 599 - 150, "right"), 120)
    np.testing.assert_array_equal(back.pixels, region.pixels)


def test_a_region_is_what_the_encoders_would_have_cut_out_of_the_plate(tmp_path):
    plate = read_plate(write_plate(tmp_path / "a.dcm", pixels_of(), ImageLaterality="R"))
    location = given_knee(60.0, 500.0, "right")
    settings = {"size": (64, 64), "mirror_sides": ("right",)}
    from_plate = prepare_source(plate, SourcePreparation(**settings, region_mm=140.0), center=location.center)
    from_region = prepare_source(knee_region(plate, location, 140.0), SourcePreparation(**settings))
    np.testing.assert_array_equal(from_region, from_plate)


def test_a_region_needs_a_spacing():
    plate = Image(np.ones((1, 50, 50), np.float32))
    with pytest.raises(ImageError, match="pixel spacing is unknown"):
        knee_region(plate, given_knee(20, 20))
