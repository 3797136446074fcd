import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter

from mris.errors import ImageError, SettingsError
from mris.images.admission import admit, check_extent
from mris.images.header import Header
from mris.images.image import Image
from mris.images.transforms import (
    SourcePreparation,
    crop_region_mm,
    mirror,
    prepare_source,
    resize_source,
    resize_target,
    resized_spacing,
    scale_intensity,
    share_outside,
)
from mris.knee.anatomy import KNEE

FEWER = settings(max_examples=40, deadline=None)

SIDES = st.integers(1, 9)
VALUES = st.floats(-1000, 1000, width=32)


def images(values=VALUES, max_side=9):
    return hnp.arrays(np.float32, st.tuples(st.integers(1, 2), *[st.integers(1, max_side)] * 2), elements=values)


# ---- settings


def written(preparation: SourcePreparation) -> dict[str, Any]:
    return TypeAdapter(SourcePreparation).dump_python(preparation, mode="json")


def read(values: object) -> SourcePreparation:
    return TypeAdapter(SourcePreparation).validate_python(values)


@FEWER
@given(
    size=st.tuples(SIDES, SIDES),
    percentile=st.floats(0.1, 100),
    sides=st.lists(st.sampled_from(["left", "right", "R", "Top"]), max_size=2).map(tuple),
    region=st.none() | st.floats(1, 500),
)
def test_settings_survive_json(size, percentile, sides, region):
    preparation = SourcePreparation(size, percentile, sides, region)
    assert read(json.loads(json.dumps(written(preparation)))) == preparation


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"size": [2, 2], "zoom": 3}, "zoom is not known"),
        ({"percentile": 99}, "size is missing"),
        ({"size": [2]}, r"size\.1 is missing"),
        ({"size": [0, 2]}, r"size\.0 is 0: input should be greater than or equal to 1"),
        ({"size": [2.5, 2]}, r"size\.0 is 2\.5: input should be a valid integer"),
        ({"size": "22"}, "size is '22'"),
        ({"size": [True, 2]}, r"size\.0 is True: input should be a valid integer"),
        ({"size": [2, float("nan")]}, r"size\.1 is nan"),
        ({"size": [2, 2], "percentile": 0}, "percentile is 0: input should be greater than 0"),
        ({"size": [2, 2], "percentile": 101}, "percentile is 101: input should be less than or equal to 100"),
        ({"size": [2, 2], "percentile": "99"}, "percentile is '99'"),
        ({"size": [2, 2], "mirror_sides": "right"}, "mirror_sides is 'right'"),
        ({"size": [2, 2], "mirror_sides": [""]}, r"mirror_sides\.0 is ''"),
        ({"size": [2, 2], "region_mm": -1}, "region_mm is -1"),
        ({"size": [2, 2], "region_mm": float("inf")}, "region_mm is inf"),
        ([2, 2], r"it is \[2, 2\]: input should be a dictionary"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, match):
    with pytest.raises(SettingsError, match=match):
        read(values)


# ---- resizing


@FEWER
@given(images(), SIDES, SIDES)
def test_resizing_stays_in_range_and_an_equal_size_changes_nothing(pixels, rows, columns):
    resized = resize_source(pixels, (rows, columns))
    assert resized.shape == (len(pixels), rows, columns)
    assert resized.min() >= pixels.min()
    assert resized.max() <= pixels.max()
    equal = resize_source(pixels, pixels.shape[1:])
    np.testing.assert_array_equal(equal, pixels)
    assert not np.shares_memory(equal, pixels)


@FEWER
@given(VALUES, SIDES, SIDES, SIDES, SIDES)
def test_a_constant_stays_that_constant(value, h, w, rows, columns):
    field = np.full((1, h, w), value, np.float32)
    np.testing.assert_array_equal(resize_source(field, (rows, columns)), np.full((1, rows, columns), np.float32(value)))
    np.testing.assert_array_equal(resize_target(field, (rows, columns)), np.full((1, rows, columns), np.float32(value)))


def test_shrinking_is_antialiased_and_keeps_the_edges_in_place():
    fine = np.indices((1, 64, 64))[2] % 2 * 100.0  # stripes of one pixel
    coarse = resize_source(fine.astype(np.float32), (16, 16))
    np.testing.assert_allclose(coarse[:, :, 1:-1], 50, atol=0.5)
    ramp = np.tile((np.arange(64) + 0.5) / 64, (1, 64, 1)).astype(np.float32)
    for size in (16, 100):
        np.testing.assert_allclose(
            resize_source(ramp, (size, size))[0, 0, 4:-4], ((np.arange(size) + 0.5) / size)[4:-4], atol=1e-3
        )


def area_average(target, size):
    """Plain loops: mean of what is valid, weighted by the area shared with each input pixel."""
    (h, w), (rows, columns) = target.shape, size
    out = np.full(size, np.nan)
    for i in range(rows):
        for j in range(columns):
            valid_area = total = 0.0
            for y in range(h):
                for x in range(w):
                    high = min((i + 1) * h / rows, y + 1) - max(i * h / rows, y)
                    wide = min((j + 1) * w / columns, x + 1) - max(j * w / columns, x)
                    if high > 0 and wide > 0 and not np.isnan(target[y, x]):
                        valid_area += high * wide
                        total += high * wide * target[y, x]
            if valid_area / (h / rows * w / columns) >= 0.5 - 1e-6:
                out[i, j] = total / valid_area
    return out


def linear(target, size):
    """Plain loops: linear between pixel centers over what is valid."""
    (h, w), (rows, columns) = target.shape, size
    out = np.full(size, np.nan)
    for i in range(rows):
        for j in range(columns):
            y = min(max((i + 0.5) * h / rows - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / columns - 0.5, 0), w - 1)
            weight = total = 0.0
            for a in range(h):
                for b in range(w):
                    share = max(0, 1 - abs(a - y)) * max(0, 1 - abs(b - x))
                    if share > 1e-6 and not np.isnan(target[a, b]):
                        weight += share
                        total += share * target[a, b]
            if weight >= 0.5 - 1e-6:
                out[i, j] = total / weight
    return out


@FEWER
@given(images(VALUES | st.just(np.nan), max_side=6), st.data())
def test_a_target_shrinks_by_the_area_of_its_valid_pixels(target, data):
    size = tuple(data.draw(st.integers(1, n)) for n in target.shape[1:])
    resized = resize_target(target, size)
    for region, expected in zip(resized, target, strict=True):
        np.testing.assert_allclose(region, area_average(expected, size), rtol=1e-5, atol=1e-3)


@FEWER
@given(images(VALUES | st.just(np.nan), max_side=4), st.data())
def test_a_target_grows_linearly_between_its_valid_pixels(target, data):
    size = tuple(data.draw(st.integers(n + 1, n + 4)) for n in target.shape[1:])
    resized = resize_target(target, size)
    for region, expected in zip(resized, target, strict=True):
        np.testing.assert_allclose(region, linear(expected, size), rtol=1e-5, atol=1e-3)


@FEWER
@given(images(VALUES | st.just(np.nan)), SIDES, SIDES)
def test_a_resized_target_invents_no_value_and_equal_size_is_the_identity(target, rows, columns):
    resized = resize_target(target, (rows, columns))
    assert resized.dtype == np.float32
    for before, after in zip(target, resized, strict=True):
        if not np.isnan(after).all():
            tolerance = 1e-6 * np.nanmax(np.abs(before))
            assert np.nanmin(after) >= np.nanmin(before) - tolerance
            assert np.nanmax(after) <= np.nanmax(before) + tolerance
    np.testing.assert_array_equal(resize_target(target, target.shape[1:]), target)
    np.testing.assert_array_equal(resize_target(target[0], (rows, columns)), resized[0])


def test_bone_without_cartilage_stays_zero_and_outside_stays_nan():
    target = np.full((310, 310), np.nan)
    target[50:250, 40:270] = 2.0
    target[100:150, 100:150] = 0.0
    for size in ((256, 256), (128, 100), (400, 400)):
        resized = resize_target(target, size)
        rows, columns = np.round(np.array(size) / 310 * 125).astype(int)
        assert resized[rows, columns] == 0.0
        assert np.isnan(resized[0, 0])
        assert set(np.unique(resized[~np.isnan(resized)])) >= {0.0, 2.0}
        share = np.isnan(target).mean()
        assert np.isnan(resized).mean() == pytest.approx(share, abs=0.02)


def test_half_valid_is_valid_and_less_is_not():
    target = np.array([[1.0, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(resize_target(target, (1, 2)), [[1.0, np.nan]])
    np.testing.assert_array_equal(resize_target(target, (1, 1)), [[np.nan]])


def test_spacing_follows_a_resize():
    assert resized_spacing((0.5, 0.25), (1, 100, 80), (1, 50, 160)) == (1.0, 0.125)


# ---- regions


@FEWER
@given(
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    row=st.floats(-0.5, 11.5),
    column=st.floats(-0.5, 11.5),
    size=st.floats(1, 20),
    spacing=st.sampled_from([(1.0, 1.0), (0.5, 1.0), (1.0, 0.25)]),
)
def test_a_region_holds_the_image_where_there_is_one_and_its_minimum_elsewhere(h, w, row, column, size, spacing):
    row, column = min(row, h - 0.5), min(column, w - 0.5)
    pixels = np.arange(h * w, dtype=np.float32).reshape(1, h, w) + 5
    region = crop_region_mm(Image(pixels, spacing), size, (row, column))
    rows, columns = round(size / spacing[0]), round(size / spacing[1])
    assert region.size == (rows, columns)
    assert region.spacing == spacing
    top, left = int(np.floor(row - (rows - 1) / 2 + 0.5)), int(np.floor(column - (columns - 1) / 2 + 0.5))
    for i in range(rows):
        for j in range(columns):
            y, x = top + i, left + j
            inside = 0 <= y < h and 0 <= x < w
            assert region.pixels[0, i, j] == (pixels[0, y, x] if inside else 5)
    assert abs(top + (rows - 1) / 2 - row) <= 0.5 + 1e-9


@FEWER
@given(
    size=st.tuples(SIDES, SIDES),
    center=st.tuples(st.floats(-3, 12), st.floats(-3, 12)),
    edge=st.floats(1, 20),
    spacing=st.sampled_from([(1.0, 1.0), (0.5, 1.0), (1.0, 0.25)]),
)
def test_the_share_outside_is_that_of_points_that_are_spread_over_the_region(size, center, edge, spacing):
    points = (np.arange(500) + 0.5) / 500 - 0.5
    rows, columns = (middle + edge / mm * points for middle, mm in zip(center, spacing, strict=True))
    inside = [(places > -0.5) & (places < length - 0.5) for places, length in zip((rows, columns), size, strict=True)]
    share = share_outside(Image(np.ones((1, *size), np.float32), spacing), edge, center)
    assert share == pytest.approx(1 - inside[0].mean() * inside[1].mean(), abs=0.01)


def test_a_picture_that_shows_little_of_the_region_is_noted():
    settings_ = SourcePreparation(size=(16, 16), region_mm=88.0)
    small, large = (Image(np.ones((1, edge, edge), np.float32), (0.5, 0.5)) for edge in (90, 160))
    (note,) = admit(small, settings_).notes
    assert note == ("shows 45 x 45 mm, and 74% of the 88 mm that the encoders see lie outside; check its spacing")
    assert admit(large, settings_).notes == ()
    (note,) = admit(large, settings_, center=(10, 80)).notes
    assert note.endswith("check its spacing and the center")


@pytest.mark.parametrize("mm", [0.05, 0.005, 1e-5, 1e-9])
def test_a_picture_that_shows_next_to_nothing_of_the_region_is_told_to_check_its_spacing(mm):
    image = Image(distinct(0, (1, 100, 100)), (mm, mm))
    with pytest.raises(ImageError, match="check its spacing"):
        prepare_source(image, SourcePreparation(size=(80, 80), region_mm=88.0))


def test_a_picture_whose_region_is_a_few_pixels_is_noted():
    settings_ = SourcePreparation(size=(16, 16), region_mm=88.0)
    (note,) = admit(Image(np.ones((1, 224, 224), np.float32), (39.0, 12.0)), settings_).notes
    assert note == "has 2 x 7 pixels in the 88 mm that the encoders see with 16 x 16; check its spacing"
    assert admit(Image(np.ones((1, 224, 224), np.float32), (11.0, 11.0)), settings_).notes == ()


def test_a_picture_of_another_part_of_the_body_is_noted_and_one_of_the_part_or_of_any_is_not():
    def noted(part):
        image = Image(np.ones((1, 8, 8), np.float32), header=Header(body_part=part))
        return admit(image, None, anatomy=KNEE).notes

    assert noted("PELVIS") == ("its header (BodyPartExamined) names PELVIS, which shows no knee",)
    assert [noted(part) for part in ("KNEE", "LEG", "LOWER LIMB", "")] == [(), (), (), ()]


def test_the_default_center_is_the_middle_and_a_full_region_is_the_image():
    image = Image(np.arange(16, dtype=np.float32).reshape(1, 4, 4), (0.5, 0.5), "here", "left")
    region = crop_region_mm(image, 2.0)
    np.testing.assert_array_equal(region.pixels, image.pixels)
    assert (region.origin, region.laterality) == ("here", "left")
    np.testing.assert_array_equal(crop_region_mm(image, 1.0).pixels[0], [[5, 6], [9, 10]])


@pytest.mark.parametrize(
    ("spacing", "size", "center", "match"),
    [
        (None, 2.0, None, "pixel spacing is unknown; give a spacing"),
        ((1.0, 1.0), 0.2, None, "less than one pixel of .*; check its spacing"),
        ((1e-6, 1e-6), 100.0, None, "100,000,000 x 100,000,000 pixels of .*; check its spacing"),
        ((1.0, 1.0), 2.0, (-1.0, 1.0), r"center \(row -1, column 1\) is outside its 4 x 4 pixels"),
        ((1.0, 1.0), 2.0, (1.0, 3.6), "is outside"),
        ((1.0, 1.0), 2.0, (np.nan, 1.0), "is outside"),
    ],
)
def test_a_region_that_cannot_be_cut_is_refused_with_the_way_out(spacing, size, center, match):
    with pytest.raises(ImageError, match=match):
        crop_region_mm(Image(np.ones((1, 4, 4), np.float32), spacing, "here"), size, center)


# ---- intensities


def distinct(seed, shape):
    """An image without ties, so that its percentiles are not its minimum."""
    values = np.random.default_rng(seed).permutation(60_000)[: np.prod(shape)] - 1000.0
    return values.reshape(shape).astype(np.float32)


@FEWER
@given(st.integers(0, 10_000), st.floats(20, 100))
def test_the_minimum_maps_to_0_and_the_percentile_to_itself(seed, percentile):
    pixels = distinct(seed, (2, 8, 9))
    scaled = scale_intensity(pixels, percentile)
    assert scaled.dtype == np.float32
    for before, after in zip(pixels, scaled, strict=True):
        assert after.min() == 0
        assert after.max() <= 1
        anchor = np.percentile(before.astype(float), percentile)
        expected = np.clip((before - before.min()) / (anchor - before.min()) * percentile / 100, 0, 1)
        np.testing.assert_allclose(after, expected, atol=1e-6)


@FEWER
@given(st.integers(0, 10_000), st.integers(1, 50))
def test_gain_and_offset_of_a_detector_do_not_matter(seed, gain):
    pixels = distinct(seed, (1, 8, 9))
    np.testing.assert_allclose(scale_intensity(pixels * gain + 100), scale_intensity(pixels), atol=1e-5)


def test_channels_are_scaled_one_by_one(rng):
    pixels = rng.normal(size=(2, 9, 9)).astype(np.float32) * np.array([[[1.0]], [[1000.0]]], np.float32)
    np.testing.assert_array_equal(scale_intensity(pixels)[1:], scale_intensity(pixels[1:]))


def test_the_largest_floats_do_not_overflow():
    top = np.finfo(np.float32).max
    scaled = scale_intensity(np.array([[[-top, 0, top]]], np.float32), 100.0)
    np.testing.assert_allclose(scaled, [[[0, 0.5, 1]]])


def test_an_image_without_contrast_is_refused():
    with pytest.raises(ImageError, match="image here: every pixel is 3; a constant image"):
        scale_intensity(np.full((1, 4, 4), 3, np.float32), origin="here")
    dot = np.zeros((2, 40, 40), np.float32)
    dot[:, 3, 3] = 1
    with pytest.raises(ImageError, match=r"channel 0: 99 % of its pixels are 0, its minimum; give a region"):
        scale_intensity(dot)
    assert scale_intensity(dot, 100).max() == 1
    with pytest.raises(SettingsError):
        scale_intensity(dot, 0)


# ---- the whole preparation


@pytest.fixture
def radiograph(rng):
    return Image.from_array(rng.gamma(2.0, 100.0, size=(60, 50)), spacing=(0.5, 1.0), origin="knee.dcm")


def test_preparing_is_region_then_size_then_scale(radiograph):
    settings_ = SourcePreparation(size=(16, 20), region_mm=20.0)
    prepared = prepare_source(radiograph, settings_, center=(20, 30))
    region = crop_region_mm(radiograph, 20.0, (20, 30))
    assert region.size == (40, 20)
    np.testing.assert_array_equal(prepared, scale_intensity(resize_source(region.pixels, (16, 20))))
    assert prepared.shape == (1, 16, 20)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    assert np.percentile(prepared, 99) == pytest.approx(0.99, abs=1e-6)


def test_only_the_asked_side_is_mirrored(radiograph):
    plain = prepare_source(radiograph, SourcePreparation((16, 20)))
    mirrored = SourcePreparation((16, 20), mirror_sides=("right",))
    np.testing.assert_array_equal(prepare_source(radiograph, mirrored, side="left"), plain)
    np.testing.assert_array_equal(prepare_source(radiograph, mirrored, side="R"), plain[..., ::-1])
    with pytest.raises(ImageError, match=r"sides \['right'\] are to be mirrored; give the side"):
        prepare_source(radiograph, mirrored)


def test_the_side_of_the_file_counts_where_none_is_given(radiograph):
    right = Image(radiograph.pixels, laterality="right")
    mirrored = SourcePreparation((16, 20), mirror_sides=("right",))
    expected = prepare_source(radiograph, SourcePreparation((16, 20)))
    np.testing.assert_array_equal(prepare_source(right, mirrored), mirror(expected))
    np.testing.assert_array_equal(prepare_source(right, mirrored, side="left"), expected)


@FEWER
@given(images())
def test_mirroring_twice_is_the_identity(pixels):
    np.testing.assert_array_equal(mirror(mirror(pixels)), pixels)


def test_pixels_without_value_are_dark(radiograph):
    holes = radiograph.pixels.copy()
    holes[0, 10:20, 5:15] = np.nan
    dark = np.where(np.isnan(holes), np.nanmin(holes), holes)
    settings_ = SourcePreparation((30, 25))
    np.testing.assert_array_equal(prepare_source(Image(holes), settings_), prepare_source(Image(dark), settings_))


def test_a_channel_or_region_without_any_value_is_refused(radiograph):
    both = np.concatenate([radiograph.pixels, np.full_like(radiograph.pixels, np.nan)])
    with pytest.raises(ImageError, match="a channel is NaN everywhere"):
        prepare_source(Image(both), SourcePreparation((8, 8)))


def test_a_region_without_spacing_names_the_way_out(radiograph):
    with pytest.raises(ImageError, match="pixel spacing is unknown; give a spacing"):
        prepare_source(Image(radiograph.pixels), SourcePreparation((8, 8), region_mm=140))


def test_a_gradient_over_a_wide_plate_stays_a_gradient():
    plate = Image(np.tile(np.arange(3520, dtype=np.float32), (1, 1000, 1)))
    prepared = prepare_source(plate, SourcePreparation((64, 64)))
    assert np.all(np.diff(prepared[0], axis=1) >= 0)


def test_a_whole_image_of_another_extent_than_the_cohort_s_is_refused(radiograph):
    def shown(rows, columns):
        return replace(radiograph, spacing=(rows / radiograph.size[0], columns / radiograph.size[1]))

    trained = SourcePreparation((16, 16), extent_mm=(100.0, 100.0))
    check_extent(shown(101, 99), trained)
    check_extent(replace(radiograph, spacing=None), trained)
    with pytest.raises(ImageError, match="shows 140 x 140 mm, but the encoders were trained on pictures of 100 x"):
        check_extent(shown(140, 140), trained)
    check_extent(shown(430, 350), SourcePreparation((16, 16), region_mm=140.0))  # of which a region is cut


def test_where_the_cohort_s_extent_is_unknown_a_picture_too_wide_for_one_knee_is_a_plate(radiograph):
    unknown = SourcePreparation((16, 16), mirror_sides=("right",))
    for width in (140, 300):
        check_extent(replace(radiograph, spacing=(1.0, width / radiograph.size[1])), unknown, KNEE)
    with pytest.raises(ImageError, match=r"one knee are at most 300 mm wide; if it is a plate.*--knees detect"):
        check_extent(replace(radiograph, spacing=(1.0, 350 / radiograph.size[1])), unknown, KNEE)


def test_a_chest_is_not_measured_by_a_knee(radiograph):
    chest = replace(radiograph, laterality=None, spacing=(1.0, 430 / radiograph.size[1]))
    check_extent(chest, SourcePreparation((16, 16)), KNEE)
    with pytest.raises(ImageError, match="one knee are at most 300 mm wide"):
        check_extent(replace(chest, laterality="left"), SourcePreparation((16, 16)), KNEE)


def test_an_extent_is_kept_and_is_the_edge_of_a_region_only_where_it_is_square():
    square = SourcePreparation((16, 16), extent_mm=[100.0, 100.4])
    assert read(written(square)).extent_mm == (100.0, 100.4)
    assert square.edge_mm == 100.0
    assert SourcePreparation((16, 16), extent_mm=(300.0, 240.0)).edge_mm is None
    assert SourcePreparation((16, 16), region_mm=140.0).edge_mm == 140.0
    assert "extent_mm" not in written(SourcePreparation((16, 16)))  # as cohorts and encoders had it
    for wrong in ((1.0,), (0.0, 1.0), "ab", 3.0):
        with pytest.raises(SettingsError, match=r"extent_mm(\.\d)? is"):
            SourcePreparation((16, 16), extent_mm=wrong)
