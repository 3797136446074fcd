import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mris.errors import ImageError
from mris.images.read import read_image
from mris.images.write import write_npz

REAL_TYPES = ["?", "u1", "i1", "<u2", ">u2", "<i2", ">i4", "<u4", "<i8", "<f2", ">f4", "<f4", "<f8", ">f8"]


@pytest.mark.parametrize("dtype", REAL_TYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_real_type_and_order_reads_as_the_numbers_it_holds(tmp_path, dtype, order):
    array = np.array(
        np.arange(12).reshape(3, 4) % 2 if dtype == "?" else np.arange(12).reshape(3, 4), dtype, order=order
    )
    np.save(tmp_path / "a.npy", array)
    image = read_image(tmp_path / "a.npy")
    assert image.spacing is None
    assert image.origin == str(tmp_path / "a.npy")
    np.testing.assert_array_equal(image.pixels[0], array.astype(np.float32))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    )
)
def test_saving_and_reading_is_the_identity(tmp_path, array):
    expected = array if array.ndim == 3 else array[np.newaxis]
    np.save(tmp_path / "a.npy", array)
    write_npz(tmp_path / "a.npz", thickness=array)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy").pixels, expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npz").pixels, expected)


def test_an_array_of_an_npz_is_named_in_the_path_or_by_key(tmp_path):
    path = tmp_path / "maps.npz"
    np.savez(path, femoral=np.ones((2, 3)), tibial=np.zeros((4, 5)) + 2)
    assert read_image(f"{path}::tibial").shape == (1, 4, 5)
    assert read_image(path, array_key="femoral").shape == (1, 2, 3)
    assert read_image(f"{path}::femoral", array_key="femoral").origin == f"{path}::femoral"
    with pytest.raises(ImageError, match=r"holds 2 arrays \(femoral, tibial\); name one as maps.npz::femoral"):
        read_image(path)
    with pytest.raises(ImageError, match="no array 'patellar'; it holds femoral, tibial"):
        read_image(f"{path}::patellar")
    with pytest.raises(ImageError, match="name one"):
        read_image(f"{path}::tibial", array_key="femoral")


def test_a_key_for_a_file_without_keys_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    with pytest.raises(ImageError, match="only NPZ files have keys"):
        read_image(tmp_path / "a.npy", array_key="x")


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([[Trap()]], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ImageError, match="holds Python objects, which are never loaded"):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.ones((2, 2), np.complex128), "complex128"),
        (np.array([["a"]]), "type is <U1"),
        (np.zeros((2, 2), [("x", "f4")]), "type is"),
        (np.ones((17, 4, 30)), "17 channels"),
        (np.full((2, 2), np.nan), "every pixel is NaN"),
        (np.ones((0, 2)), "no pixel"),
    ],
)
def test_an_array_that_is_no_image_costs_one_clear_line(tmp_path, array, match):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageError, match=match):
        read_image(tmp_path / "a.npy")


def test_a_header_larger_than_the_file_is_refused_before_memory_is_taken(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8000, 9000), }"
    body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64
    (tmp_path / "a.npy").write_bytes(body)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", body)
    tracemalloc.start()
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ImageError, match="needs 288,000,000 bytes"):
            read_image(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9000, 10000), }"
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        for _ in range(9):
            member.write(bytes(10_000_000))
    tracemalloc.start()
    with pytest.raises(ImageError, match="90,000,000 pixels are announced"):
        read_image(tmp_path / "bomb.npz")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_an_archive_without_arrays_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(ImageError, match="holds no array"):
        read_image(tmp_path / "a.npz")


@pytest.mark.data
def test_a_real_thickness_map_keeps_its_nan_and_its_mm(data_dir):
    path = data_dir / "oai_atlas" / "FC_2d_thickness.npy"
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[0], np.load(path).astype(np.float32))
    assert image.size == (310, 310)
    assert np.isnan(image.pixels).any()
    assert 1 < np.nanmedian(image.pixels) < 4
