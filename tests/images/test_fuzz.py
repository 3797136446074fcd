"""Whatever the bytes are, a reader answers with an `Image` or an `ImageError`."""

import gzip
import io
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mris.errors import ImageError
from mris.images.image import Image
from mris.images.read import read_image

ARRAY = np.arange(35, dtype=np.float32).reshape(5, 7)


def saved(save, *arguments, **options):
    buffer = io.BytesIO()
    save(buffer, *arguments, **options)
    return buffer.getvalue()


def shipped(name):
    return (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()


def picture(dtype):
    return PIL.Image.fromarray(ARRAY.astype(dtype))


NIFTI = nib.Nifti1Image(ARRAY, np.diag([1.0, 2.0, 1.0, 1.0])).to_bytes()
GOOD = {
    "npy": (".npy", saved(np.save, ARRAY)),
    "npz": (".npz", saved(np.savez_compressed, image=ARRAY)),
    "nifti": (".nii", NIFTI),
    "nifti, gzip": (".nii.gz", gzip.compress(NIFTI)),
    "png": (".png", saved(picture(np.uint16).save, format="PNG")),
    "tiff": (".tif", saved(picture(np.uint16).save, format="TIFF")),
    "tiff, float": (".tif", saved(picture(np.float32).save, format="TIFF")),
    "dicom": (".dcm", shipped("rtdose_1frame.dcm")),
    "dicom, implicit": (".dcm", shipped("MR_small_implicit.dcm")),
    "dicom, rle": (".dcm", shipped("rtdose_rle_1frame.dcm")),
    "dicom, jpeg-ls": (".dcm", shipped("JPEGLSNearLossless_08.dcm")),
    "dicom, jpeg 2000": (".dcm", shipped("MR_small_jp2klossless.dcm")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def _no_warnings_of_parsers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def image_or_error(folder, suffix, content):
    path = folder / f"a{suffix}"
    path.write_bytes(content)
    try:
        image = read_image(path)
    except ImageError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert isinstance(image, Image)
        assert image.pixels.dtype == np.float32
        assert not np.isinf(image.pixels).any()


@pytest.mark.parametrize("kind", GOOD)
def test_the_untouched_file_is_an_image(folder, kind):
    suffix, content = GOOD[kind]
    (folder / f"good{suffix}").write_bytes(content)
    assert read_image(folder / f"good{suffix}").pixels.size >= 35


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_file_cut_at_any_byte_is_an_image_or_an_image_error(folder, kind, data):
    suffix, content = GOOD[kind]
    image_or_error(folder, suffix, content[: data.draw(st.integers(0, len(content) - 1))])


def with_bytes_changed(content, data):
    content = bytearray(content)
    # Half of the changes fall on the header, where they hurt most.
    places = st.integers(0, min(len(content), 400) - 1) | st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        content[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    return bytes(content)


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_file_with_any_bytes_changed_is_an_image_or_an_image_error(folder, kind, data):
    suffix, content = GOOD[kind]
    image_or_error(folder, suffix, with_bytes_changed(content, data))


@pytest.mark.slow
@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_many_more_changes_are_an_image_or_an_image_error(folder, kind, data):
    suffix, content = GOOD[kind]
    image_or_error(folder, suffix, with_bytes_changed(content, data))


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_random_bytes_after_a_good_beginning_are_an_image_or_an_image_error(folder, kind, data):
    suffix, content = GOOD[kind]
    length = data.draw(st.sampled_from([0, 8, 132, 348, 352]))
    image_or_error(folder, suffix, content[:length] + data.draw(st.binary(max_size=400)))
