import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mris.errors import ImageError
from mris.images.read import read_image
from mris.images.write import write_png

RAMP = np.arange(12).reshape(3, 4)


def write_png_chunks(path, *, size=(4, 3), depth=8, color=0, rows=None, extra=()):
    """A PNG by hand, for what Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in (rows or [])))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks))
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=st.sampled_from([np.bool_, np.uint8, np.uint16]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    )
)
def test_writing_then_reading_a_png_is_the_identity(tmp_path, array):
    write_png(tmp_path / "a.png", array)
    expected = array * 255.0 if array.dtype == np.bool_ else array
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.pixels[0], expected)
    assert image.spacing is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_gray_tiff_of_every_depth_reads_as_its_values(tmp_path, dtype, compression):
    array = (RAMP * (1000 if dtype != np.uint8 else 20)).astype(dtype)
    PIL.Image.fromarray(array).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], array)


def tiff(path, array, *, order="<", photometric=1, sample_format=1, count=1):
    """An uncompressed one-strip TIFF by hand: byte order, photometric and sample format of choice."""
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    h, w = array.shape
    bits = array.dtype.itemsize * 8
    tags = {256: w, 257: h, 258: bits, 259: 1, 262: photometric, 273: 8, 277: count, 278: h, 279: len(data)}
    tags[339] = sample_format
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(data))
    path.write_bytes(start + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    return path


TIFF_TYPES = [
    (order, *kind) for order in "<>" for kind in [("u1", 1), ("i1", 2), ("u2", 1), ("i2", 2), ("i4", 2), ("f4", 3)]
]


@pytest.mark.parametrize(("order", "dtype", "sample_format"), [*TIFF_TYPES, ("<", "u4", 1)])
def test_either_byte_order_and_sign_of_tiff_is_read(tmp_path, order, dtype, sample_format):
    array = (RAMP - (5 if dtype[0] in "if" else 0)).astype(dtype)
    if dtype == "u4":
        array[0, 0] = 2**31 + 2**20
    path = tiff(tmp_path / "a.tif", array, order=order, sample_format=sample_format)
    np.testing.assert_array_equal(read_image(path).pixels[0], array.astype(np.float32))


def test_a_depth_that_pillow_does_not_know_is_refused(tmp_path):
    path = tiff(tmp_path / "a.tif", RAMP.astype("u8"))
    with pytest.raises(ImageError, match="cannot be read as PNG or TIFF"):
        read_image(path)


@pytest.mark.parametrize(("dtype", "top"), [("u1", 255), ("u2", 65535)])
def test_white_is_zero_is_inverted(tmp_path, dtype, top):
    path = tiff(tmp_path / "a.tif", RAMP.astype(dtype), photometric=0)
    np.testing.assert_array_equal(read_image(path).pixels[0], top - RAMP)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f2", "f8"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_floats_of_16_and_64_bit_are_read_as_their_values(tmp_path, order, dtype, photometric):
    array = (RAMP / 4 - 1).astype(dtype)
    array[1, 1] = np.nan if photometric else 0
    path = tiff(tmp_path / "a.tif", array, order=order, sample_format=3, photometric=photometric)
    expected = array if photometric else array.max() + array.min() - array
    np.testing.assert_array_equal(read_image(path).pixels[0], expected.astype(np.float32))


def test_floats_of_64_bit_that_are_cut_off_compressed_or_several_are_refused(tmp_path):
    whole = tiff(tmp_path / "a.tif", RAMP.astype("f8"), sample_format=3).read_bytes()
    for tag, value, match in ((279, 40, "the file is truncated"), (259, 5, "compressed"), (277, 2, "several pages")):
        start = whole.index(struct.pack("<HHI", tag, 4, 1))
        (tmp_path / "a.tif").write_bytes(whole[: start + 8] + struct.pack("<I", value) + whole[start + 12 :])
        with pytest.raises(ImageError, match=match):
            read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "description",
    ["ImageJ=1.53t\nimages=2\nslices=2\nloop=false\nmin=0.0\n", '{"shape": [2, 3, 4], "truncated": true}'],
)
def test_planes_that_stand_behind_one_page_are_not_lost_but_refused(tmp_path, description):
    for n, text in ((2, description), (1, description.replace("=2", "=1").replace("[2, ", "["))):
        picture = PIL.Image.fromarray(RAMP.astype(np.uint16))
        picture.save(tmp_path / "a.tif", tiffinfo={270: text})
        with (tmp_path / "a.tif").open("ab") as file:
            file.write(RAMP.astype(np.uint16).tobytes())
        if n == 1:
            np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], RAMP)
            continue
        with pytest.raises(ImageError, match="holds several pages"):
            read_image(tmp_path / "a.tif")


def test_white_is_zero_of_floats_is_inverted_within_their_range(tmp_path):
    path = tiff(tmp_path / "a.tif", RAMP.astype("f4"), photometric=0, sample_format=3)
    np.testing.assert_array_equal(read_image(path).pixels[0], 11 - RAMP)


def test_one_bit_images_are_read(tmp_path):
    mask = RAMP % 2 == 0
    for name in ("a.png", "a.tif"):
        PIL.Image.fromarray(mask).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels[0] > 0, mask)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_gray_in_disguise_is_gray(tmp_path, mode, suffix):
    gray = PIL.Image.fromarray(RAMP.astype(np.uint8) * 20)
    gray.convert(mode).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels[0], RAMP * 20)


def colored(mode):
    colors = np.zeros((3, 4, 3), np.uint8)
    colors[0, 0] = (255, 0, 0)
    return PIL.Image.fromarray(colors).convert(mode)


def transparent(mode):
    picture = PIL.Image.fromarray(RAMP.astype(np.uint8)).convert(mode)
    picture.putalpha(PIL.Image.fromarray(RAMP.astype(np.uint8) * 20))
    return picture


@pytest.mark.parametrize(
    ("picture", "suffix", "match"),
    [
        (colored("RGB"), ".png", "is colored"),
        (colored("RGB"), ".tif", "is colored"),
        (colored("P"), ".png", "is colored"),
        (colored("CMYK"), ".tif", "its colors are CMYK"),
        (transparent("RGB"), ".png", "transparent pixels"),
        (transparent("L"), ".png", "transparent pixels"),
    ],
)
def test_color_and_transparency_are_refused(tmp_path, picture, suffix, match):
    picture.save(tmp_path / f"a{suffix}")
    with pytest.raises(ImageError, match=match):
        read_image(tmp_path / f"a{suffix}")


def test_a_gray_value_declared_transparent_is_refused_where_it_occurs(tmp_path):
    rows = [bytes(row) for row in RAMP.astype(np.uint8)]
    used = write_png_chunks(tmp_path / "a.png", rows=rows, extra=[(b"tRNS", b"\0\5")])
    with pytest.raises(ImageError, match="gray value 5 is declared transparent"):
        read_image(used)
    unused = write_png_chunks(tmp_path / "b.png", rows=rows, extra=[(b"tRNS", b"\0\x63")])
    assert read_image(unused).size == (3, 4)


@pytest.mark.parametrize(("color", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_color_is_refused_because_it_would_be_cut_to_eight(tmp_path, color, channels):
    path = write_png_chunks(tmp_path / "a.png", depth=16, color=color, rows=[bytes(4 * channels * 2)] * 3)
    with pytest.raises(ImageError, match="several channels of 16 bit"):
        read_image(path)


def test_several_pages_or_frames_are_refused(tmp_path):
    pages = [PIL.Image.fromarray(RAMP.astype(np.uint8) + n) for n in range(3)]
    for name in ("a.tif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(ImageError, match="holds several pages or frames"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("size", [(60000, 60000), (9000, 9500)])
def test_a_decompression_bomb_is_an_image_error(tmp_path, size):
    path = write_png_chunks(tmp_path / "a.png", size=size, rows=[])
    with pytest.raises(ImageError, match=r"pixels"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_size_that_the_bytes_cannot_fill_is_refused(tmp_path, suffix):
    if suffix == ".png":
        path = write_png_chunks(tmp_path / "a.png", size=(8000, 8000), rows=[])
    else:
        path = tiff(tmp_path / "a.tif", RAMP.astype("u2"))
        width, wider = (struct.pack("<HHII", 256, 4, 1, columns) for columns in (4, 4000))
        path.write_bytes(path.read_bytes().replace(width, wider))
    with pytest.raises(ImageError, match="the file is truncated"):
        read_image(path)


def test_infinite_and_empty_float_tiffs_are_refused(tmp_path):
    for value, match in ((np.inf, "infinite"), (np.nan, "every pixel is NaN")):
        path = tiff(tmp_path / "a.tif", np.full((2, 2), value, np.float32), sample_format=3)
        with pytest.raises(ImageError, match=match):
            read_image(path)


@pytest.mark.data
def test_a_real_radiograph_is_read_as_its_gray_values(data_dir):
    path = next(iter(sorted((data_dir / "oai_radiographs" / "images").rglob("*.png"))))
    image = read_image(path)
    assert image.size == (224, 224)
    np.testing.assert_array_equal(image.pixels[0], np.asarray(PIL.Image.open(path).convert("L")))
