import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mris.errors import ImageError, OutputError
from mris.images.read import read_image
from mris.images.write import write_nifti

ROW_SPACING = st.floats(2.0**-10, 2.0**10, width=32)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=5),
        elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.just(np.nan),
    ).filter(lambda array: not np.isnan(array).all()),
    spacing=st.none() | st.tuples(ROW_SPACING, ROW_SPACING),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_writing_then_reading_is_the_identity(tmp_path, array, spacing, suffix):
    write_nifti(tmp_path / f"map{suffix}", array, spacing)
    image = read_image(tmp_path / f"map{suffix}")
    np.testing.assert_array_equal(image.pixels, array if array.ndim == 3 else array[np.newaxis])
    assert image.spacing == spacing


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8", ">f4", ">i2"])
def test_every_real_type_survives_a_round_trip(tmp_path, dtype):
    array = (np.arange(6).reshape(2, 3) % 2).astype(dtype)
    write_nifti(tmp_path / "a.nii", array, (1.0, 2.0))
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").pixels[0], array.astype(np.float32))


def test_columns_run_along_the_first_voxel_axis_as_in_itk(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_nifti(tmp_path / "a.nii", array, (0.5, 0.25))
    file = nib.load(tmp_path / "a.nii")
    assert file.shape == (3, 2, 1)
    np.testing.assert_array_equal(file.get_fdata()[:, :, 0].T, array)
    assert file.header.get_zooms() == (0.25, 0.5, 1.0)
    assert file.header.get_xyzt_units()[0] == "mm"
    assert nib.aff2axcodes(file.affine)[:2] == ("L", "P")


def test_regions_are_volumes_of_one_slice_in_their_order(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    write_nifti(tmp_path / "a.nii.gz", array, (1.0, 1.0))
    file = nib.load(tmp_path / "a.nii.gz")
    assert file.shape == (3, 2, 1, 2)
    np.testing.assert_array_equal(file.get_fdata()[:, :, 0, 1].T, array[1])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 2), (1, 2, 3)),
        ((3, 2, 1), (1, 2, 3)),
        ((3, 1, 2), (1, 2, 3)),
        ((1, 3, 2), (1, 2, 3)),
        ((3, 2, 1, 1), (1, 2, 3)),
    ],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_one_singleton_axis_anywhere_gives_the_plane_of_the_others(tmp_path, shape, expected, kind):
    voxels = np.arange(6, dtype=np.float32).reshape(shape)
    zooms = {3: 0.3, 2: 0.2}
    image = kind(voxels, np.diag([zooms.get(n, 9.0) for n in (*shape, 1)[:3]] + [1]))
    nib.save(image, tmp_path / "a.nii")
    read = read_image(tmp_path / "a.nii")
    assert read.shape == expected
    np.testing.assert_array_equal(read.pixels[0], np.squeeze(voxels).T)
    assert read.spacing == pytest.approx((0.2, 0.3))


def test_scale_factors_are_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(6, dtype=np.int16).reshape(3, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").pixels[0], nib.load(tmp_path / "a.nii").get_fdata().T)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("micron", 0.001), ("unknown", 1)])
def test_spacing_is_in_mm_whatever_the_unit_of_the_file(tmp_path, unit, factor):
    image = nib.Nifti1Image(np.ones((3, 2), np.float32), np.diag([2.0, 4.0, 1.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").spacing == pytest.approx((4 * factor, 2 * factor))


def test_a_given_spacing_is_taken_only_where_the_file_states_none(tmp_path):
    write_nifti(tmp_path / "a.nii", np.ones((2, 2)), (1.0, 1.0))
    image = read_image(tmp_path / "a.nii", spacing=(0.1, 0.2))
    assert (image.spacing, image.header.spacing_source) == ((1.0, 1.0), "file")
    corrected = image.corrected(spacing=(0.1, 0.2))
    assert (corrected.spacing, corrected.header.spacing_source) == ((0.1, 0.2), "given")
    with pytest.raises(ImageError, match="two positive numbers"):
        read_image(tmp_path / "a.nii", spacing=(0.0, 0.2))


@pytest.mark.parametrize(
    ("voxels", "match"),
    [
        (np.ones((3, 4, 5), np.float32), "is a volume; one plane is read"),
        (np.ones((3, 4, 1, 17), np.float32), "is a series"),
        (np.ones((3, 4, 2, 2), np.float32), "is a series"),
        (np.ones((3, 4), np.complex64), "complex64"),
        (np.zeros((3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "real numbers"),
        (np.full((3, 4), np.nan, np.float32), "every pixel is NaN"),
        (np.full((3, 4), np.inf, np.float32), "12 pixels are infinite"),
    ],
)
def test_a_file_that_is_no_plane_of_numbers_costs_one_clear_line(tmp_path, voxels, match):
    nib.save(nib.Nifti1Image(voxels, np.eye(4), dtype=voxels.dtype), tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match=match):
        read_image(tmp_path / "a.nii.gz")


def test_one_half_of_a_pair_is_refused(tmp_path):
    nib.save(nib.Nifti1Pair(np.ones((3, 4), np.float32), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(ImageError, match="one half of a pair"):
        read_image(tmp_path / "a.hdr")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_promises_more_than_the_file_takes_no_memory(tmp_path, suffix):
    header = nib.Nifti1Header()
    header.set_data_shape((8000, 9000))
    header.set_data_dtype(np.float32)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    content = header.binaryblock + bytes(100)
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    tracemalloc.start()
    with pytest.raises(ImageError, match="needs 288,000,000 bytes, but only"):
        read_image(tmp_path / f"a{suffix}")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "array", "spacing", "match"),
    [
        ("a.img", np.ones((2, 2)), None, "ends in .nii or .nii.gz"),
        ("a.nii", np.ones(4), None, r"shape \(4,\)"),
        ("a.nii", np.ones((2, 2), complex), None, "complex128"),
        ("a.nii", np.ones((2, 2)), (0.0, 1.0), "two numbers of mm"),
    ],
)
def test_what_nifti_cannot_hold_is_not_written(tmp_path, name, array, spacing, match):
    with pytest.raises(OutputError, match=match):
        write_nifti(tmp_path / name, array, spacing)
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_a_real_volume_is_refused_and_its_slice_is_read(data_dir, tmp_path):
    path = next(iter(sorted((data_dir / "hippocampus" / "images").glob("*.nii.gz"))))
    with pytest.raises(ImageError, match="is a volume"):
        read_image(path)
    volume = nib.load(path)
    nib.save(volume.slicer[:, 10:11, :], tmp_path / "slice.nii.gz")
    image = read_image(tmp_path / "slice.nii.gz")
    np.testing.assert_array_equal(image.pixels[0], volume.get_fdata()[:, 10, :].T.astype(np.float32))
    assert image.spacing == (1.0, 1.0)


@pytest.mark.parametrize("spacing", [None, (0.5, 0.25), (1.5, 0.7)])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">f4"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (3, 5, 7)])
def test_what_is_written_is_to_the_byte_what_nibabel_writes(tmp_path, shape, dtype, spacing):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    voxels = array.reshape(-1, 5, 7).transpose(2, 1, 0)[:, :, np.newaxis]
    row, column = spacing or (1.0, 1.0)
    image = nib.Nifti1Image(
        voxels if shape == (3, 5, 7) else voxels[..., 0], np.diag([-column, -row, 1.0, 1.0]), dtype=array.dtype
    )
    image.header.set_xyzt_units("mm" if spacing else "unknown")
    if spacing is None:
        image.set_sform(None, code=0)
        image.set_qform(None, code=0)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, tmp_path / name)
        write_nifti(tmp_path / f"ours_{name}", array, spacing)
        assert (tmp_path / f"ours_{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_an_image_longer_than_the_format_can_say_is_refused(tmp_path):
    with pytest.raises(OutputError, match="edge above 32767"):
        write_nifti(tmp_path / "a.nii", np.zeros((1, 32768), np.uint8), None)
