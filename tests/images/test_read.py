import os

import numpy as np
import pytest

from mris.errors import ImageError
from mris.images.read import file_of, read_image
from mris.images.write import write_nifti, write_npz, write_png


@pytest.fixture
def files(tmp_path, make_dicom):
    """The same 3 x 4 image in every format."""
    array = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.save(tmp_path / "a.npy", array)
    write_npz(tmp_path / "a.npz", image=array)
    write_nifti(tmp_path / "a.nii", array, (1.0, 1.0))
    write_nifti(tmp_path / "a.nii.gz", array, (1.0, 1.0))
    write_png(tmp_path / "a.png", array)
    make_dicom(array, name="a.dcm")
    return [tmp_path / f"a{suffix}" for suffix in (".npy", ".npz", ".nii", ".nii.gz", ".png", ".dcm")]


def test_the_same_picture_reads_the_same_from_every_format(files):
    for file in files:
        np.testing.assert_array_equal(read_image(file).pixels[0], np.arange(12).reshape(3, 4), err_msg=str(file))
        stated = (1.0, 1.0) if ".nii" in file.name else (0.5, 0.25)
        assert read_image(str(file), spacing=(0.5, 0.25)).spacing == stated


def test_the_content_decides_the_format_not_the_name(files, tmp_path):
    for file in files:
        for name in ("I0001", "wrong.png", "wrong.dcm", "wrong.npy", "UPPER.NII.GZ"):
            other = tmp_path / name
            other.write_bytes(file.read_bytes())
            np.testing.assert_array_equal(read_image(other).pixels, read_image(file).pixels)


def test_a_file_whose_name_holds_two_colons_is_a_file(tmp_path):
    np.save(tmp_path / "a::b.npy", np.ones((2, 2)))
    assert read_image(tmp_path / "a::b.npy").size == (2, 2)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("absent.png", None, "no such file"),
        ("absent.npz::key", None, "no such file"),
        ("empty.dcm", b"", "the file is empty"),
        ("photo.jpg", b"\xff\xd8\xff\xe0 JFIF", "is a JPEG, which is lossy"),
        ("notes.txt", b"some text", "neither content nor suffix"),
        ("notes.dcm", b"some text" * 40, "cannot be read as DICOM|holds no image"),
        ("notes.png", b"some text" * 40, "cannot be read as PNG or TIFF"),
        ("notes.npy", b"some text" * 40, "cannot be read as NPY"),
        ("notes.npz", b"some text" * 40, "cannot be read as NPZ"),
        ("notes.nii", b"some text" * 80, "is not NIfTI"),
        ("notes.nii", b"some text", "ends inside its header"),
        ("nul\0.png", None, "no such file|cannot be opened"),
        ("x" * 300 + ".png", None, "cannot be opened|no such file"),
    ],
)
def test_a_file_that_is_no_image_costs_one_clear_line(tmp_path, name, content, match):
    path = f"{tmp_path}/{name}"
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=match) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(ImageError, match="is a folder; name one file"):
        read_image(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights_costs_one_clear_line(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    (tmp_path / "a.npy").chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_image(tmp_path / "a.npy")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(ImageError, match="it is a pipe"):
        read_image(tmp_path / "pipe.npy")


def test_a_truncated_file_costs_one_clear_line(files, tmp_path):
    for file in files:
        short = tmp_path / f"short{''.join(file.suffixes)}"
        short.write_bytes(file.read_bytes()[:-30])
        with pytest.raises(ImageError, match="short") as caught:
            read_image(short)
        assert "\n" not in str(caught.value)


def test_the_file_of_a_name_is_found_below_a_folder_with_two_colons_too(tmp_path):
    folder = tmp_path / "knees::2024"
    folder.mkdir()
    (folder / "a.png").touch()
    assert file_of(folder / "a.png") == folder / "a.png"
    assert file_of(folder / "a.npz::left") == folder / "a.npz"
