import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from mris.errors import ImageError
from mris.images.codestream import StatedSize, stated_size
from mris.images.read import read_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom tells what it tolerates

STORED = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100


def item(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_plain_file_reads_as_its_stored_values(make_dicom):
    image = read_image(make_dicom(STORED))
    np.testing.assert_array_equal(image.pixels[0], STORED)
    assert image.spacing is None
    assert image.laterality is None


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("slope", "intercept"), [(None, None), (2.0, -1000.0), (-0.5, 3.0)])
def test_larger_is_brighter_after_rescale_and_inversion(make_dicom, dtype, photometric, slope, intercept):
    info = np.iinfo(dtype)
    stored = np.array([[info.min, 0, 1], [50, 100, info.max]], dtype)
    image = read_image(
        make_dicom(stored, PhotometricInterpretation=photometric, RescaleSlope=slope, RescaleIntercept=intercept)
    )
    # MONOCHROME1 mirrors the range of stored values: smallest <-> largest
    values = stored.astype(np.float64)
    if photometric == "MONOCHROME1":
        values = info.min + info.max - values
    expected = values * (slope or 1.0) + (intercept or 0.0)
    np.testing.assert_allclose(image.pixels[0], expected, rtol=1e-6, atol=2e-7 * np.ptp(expected))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bits=st.integers(2, 16), signed=st.booleans(), seed=st.integers(0, 1000))
def test_only_the_stored_bits_count_and_their_sign(make_dicom, bits, signed, seed):
    raw = np.random.default_rng(seed).integers(0, 1 << 16, (3, 4), dtype=np.uint16)
    path = make_dicom(raw, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed))
    low = raw.astype(np.int64) & ((1 << bits) - 1)
    expected = np.where(low >= 1 << (bits - 1), low - (1 << bits), low) if signed else low
    np.testing.assert_array_equal(read_image(path).pixels[0], expected)


def test_twelve_bits_are_inverted_within_twelve_bits(make_dicom):
    path = make_dicom(STORED, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_image(path).pixels[0], 4095 - STORED.astype(int))


def test_a_modality_table_goes_before_rescale(make_dicom):
    table = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US", LUTData=[0, 10, 100, 1000])
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    stored = np.array([[0, 1], [2, 3]], np.uint16)
    elements = {"ModalityLUTSequence": Sequence([table]), "BitsStored": 2, "HighBit": 1, "RescaleSlope": 7}
    path = make_dicom(stored, **elements)
    np.testing.assert_array_equal(read_image(path).pixels[0], [[0, 10], [100, 1000]])
    path = make_dicom(stored, PhotometricInterpretation="MONOCHROME1", **elements)
    np.testing.assert_array_equal(read_image(path).pixels[0], [[1000, 990], [900, 0]])


def test_windows_are_a_choice_of_viewers_and_not_applied(make_dicom):
    path = make_dicom(STORED, WindowCenter=100, WindowWidth=10, PresentationLUTShape="IDENTITY")
    np.testing.assert_array_equal(read_image(path).pixels[0], STORED)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_no_signal_in_either_photometric(make_dicom, photometric):
    path = make_dicom(STORED, PixelPaddingValue=0, PixelPaddingRangeLimit=100, PhotometricInterpretation=photometric)
    np.testing.assert_array_equal(np.isnan(read_image(path).pixels[0]), STORED <= 100)


def test_padding_of_signed_pixels_may_be_written_unsigned(make_dicom):
    path = make_dicom(np.array([[-2000, 5], [6, 7]], np.int16))
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    dataset.save_as(path)
    np.testing.assert_array_equal(np.isnan(read_image(path).pixels[0]), [[True, False], [False, False]])


def test_a_file_of_padding_alone_is_refused(make_dicom):
    with pytest.raises(ImageError, match="every pixel is NaN"):
        read_image(make_dicom(np.zeros((2, 2), np.uint16), PixelPaddingValue=0))


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": [0.5, 0.25], "ImagerPixelSpacing": [0.1, 0.1]}, (0.5, 0.25)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25}, (0.16, 0.08)),
        ({"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 0}, (0.2, 0.1)),
        ({"PixelSpacing": [0, 0], "NominalScannedPixelSpacing": [0.175, 0.175]}, (0.175, 0.175)),
        ({"PixelSpacing": None}, None),
    ],
)
def test_spacing_is_that_at_the_patient(make_dicom, elements, expected):
    assert read_image(make_dicom(STORED, **elements)).spacing == pytest.approx(expected)


def test_the_functional_groups_of_an_enhanced_frame_are_heard(make_dicom):
    groups = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.25])]),
        PixelValueTransformationSequence=Sequence([item(RescaleSlope=2, RescaleIntercept=1)]),
    )
    image = read_image(make_dicom(STORED, NumberOfFrames=1, SharedFunctionalGroupsSequence=Sequence([groups])))
    assert image.spacing == (0.5, 0.25)
    np.testing.assert_array_equal(image.pixels[0], STORED * 2 + 1)


@pytest.mark.parametrize(
    ("elements", "side"),
    [
        ({"ImageLaterality": "R"}, "right"),
        ({"Laterality": "L"}, "left"),
        ({"ImageLaterality": "L", "Laterality": "B"}, "left"),
        ({"ImageLaterality": "L", "Laterality": "L"}, "left"),
        ({"ImageLaterality": "B"}, None),
        ({"Laterality": ""}, None),
    ],
)
def test_the_side_is_told_where_the_file_says_it(make_dicom, elements, side):
    assert read_image(make_dicom(STORED, **elements)).laterality == side


@pytest.mark.parametrize(
    ("elements", "match"),
    [
        ({"NumberOfFrames": 2, "PixelData": STORED.tobytes() * 2}, "holds 2 frames"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "RGB with 3 sample"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": None}, "PhotometricInterpretation is missing"),
        ({"PixelData": None}, "has no pixel data, or is cut off before their end"),
        ({"PixelData": b""}, "has no pixel data"),
        ({"Rows": None, "Columns": None}, "holds no image"),
        ({"Rows": 0}, "Rows is 0"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit is 15 and BitsStored 12, but .* HighBit 11"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "Laterality says right, and ImageLaterality says left"),
        ({"Rows": 60000, "Columns": 60000}, "3,600,000,000 pixels are announced"),
        ({"Rows": 8000, "Columns": 9000}, "need 144,000,000 bytes, but only 24"),
        ({"PixelData": STORED.tobytes()[:-2]}, "need 24 bytes, but only 22"),
        ({"BitsAllocated": None}, "cannot be read as DICOM"),
        ({"RescaleSlope": 1e38, "RescaleIntercept": 1e38}, "infinite"),
    ],
)
def test_what_is_no_gray_frame_costs_one_clear_line_and_no_memory(make_dicom, elements, match):
    path = make_dicom(STORED, **elements)
    tracemalloc.start()
    with pytest.raises(ImageError, match=match) as caught:
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_preamble_or_suffix_is_known_by_content_or_suffix(make_dicom, tmp_path):
    path = make_dicom(STORED, name="I0001")
    assert read_image(path).size == (3, 4)
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(path.read_bytes()[132:])
    assert read_image(bare).size == (3, 4)


MR_SMALL = [
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
]


@pytest.mark.parametrize("name", MR_SMALL)
def test_every_lossless_transfer_syntax_gives_the_pixels_of_the_native_file(pydicom_file, name):
    native, other = read_image(pydicom_file("MR_small.dcm")), read_image(pydicom_file(name))
    np.testing.assert_array_equal(other.pixels, native.pixels)
    assert other.spacing == native.spacing == (0.3125, 0.3125)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressing_a_signed_rescaled_file_changes_nothing(make_dicom, tmp_path, syntax):
    stored = np.random.default_rng(0).integers(-2000, 2000, (40, 50)).astype(np.int16)
    path = make_dicom(stored, RescaleSlope=2, RescaleIntercept=-5)
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "pylibjpeg")
    dataset.save_as(tmp_path / "compressed.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "compressed.dcm").pixels, read_image(path).pixels)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("syntax", "plugin"), [(RLELossless, "pydicom"), (JPEG2000Lossless, "pylibjpeg"), (JPEGLSLossless, "pyjpegls")]
)
def test_compressed_pixels_are_cut_to_the_stored_bits_and_their_sign(make_dicom, tmp_path, syntax, plugin, signed):
    values = np.random.default_rng(0).integers(*((-2048, 2048) if signed else (0, 4096)), (40, 50))
    overlay = np.random.default_rng(1).integers(0, 16, values.shape) << 12
    dataset = pydicom.dcmread(make_dicom((values & 4095 | overlay).astype(np.uint16)))
    dataset.compress(syntax, encoding_plugin=plugin)  # all 16 bits, as archives do that keep what they were sent
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, int(signed)
    dataset.save_as(tmp_path / "compressed.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "compressed.dcm").pixels[0], values)


def test_padding_beyond_the_stored_bits_is_no_signal(make_dicom):
    stored = np.array([[-32768, 1], [2, 3]], np.int16)
    dataset = pydicom.dcmread(make_dicom(stored, BitsStored=12, HighBit=11))
    dataset.add_new("PixelPaddingValue", "SS", -32768)
    dataset.save_as(dataset.filename)
    np.testing.assert_array_equal(read_image(dataset.filename).pixels[0], [[np.nan, 1], [2, 3]])


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("CT_small.dcm", (128, 128)),
        ("image_dfl.dcm", (512, 512)),
        ("693_J2KI.dcm", (512, 512)),
        ("JPEG2000.dcm", (1024, 256)),
        ("JPGExtended.dcm", (1024, 256)),
        ("JPEGLSNearLossless_08.dcm", (45, 10)),
        ("JPEGLSNearLossless_16.dcm", (50, 10)),
        ("liver_expb_1frame.dcm", (512, 512)),
        ("rtdose_rle_1frame.dcm", (10, 10)),
        ("examples_overlay.dcm", (300, 484)),
    ],
)
def test_real_files_of_many_scanners_and_codecs_are_read(pydicom_file, name, size):
    image = read_image(pydicom_file(name))
    dataset = pydicom.dcmread(pydicom_file(name))
    assert image.size == size == (dataset.Rows, dataset.Columns)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    expected = dataset.pixel_array * slope + intercept
    known = ~np.isnan(image.pixels[0])
    np.testing.assert_allclose(image.pixels[0][known], expected[known], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("MR_truncated.dcm", "need 8,192 bytes, but only 8,130"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "header says 1024 x 256 pixels, but the compressed stream"),
        ("SC_rgb_rle.dcm", "RGB with 3"),
        ("examples_palette.dcm", "PALETTE COLOR"),
        ("rtdose.dcm", "15 frames"),
        ("test-SR.dcm", "holds no image"),
        ("waveform_ecg.dcm", "holds no image"),
        ("badVR.dcm", "cannot be read as DICOM"),
    ],
)
def test_real_files_that_hold_no_gray_frame_are_refused(pydicom_file, name, match):
    with pytest.raises(ImageError, match=match):
        read_image(pydicom_file(name))


@pytest.mark.filterwarnings("error")
def test_every_file_that_pydicom_ships_is_an_image_or_one_clear_line_without_a_warning(pydicom_file):
    n_read = 0
    for path in sorted(pydicom_file("").iterdir()):
        try:
            n_read += read_image(path).pixels.size > 0
        except ImageError as error:
            assert str(path) in str(error)
    assert n_read > 20


def test_a_stream_that_states_another_size_than_the_header_is_not_decoded(pydicom_file, tmp_path):
    dataset = pydicom.dcmread(pydicom_file("MR_small_jp2klossless.dcm"))
    dataset.PixelData = dataset.PixelData.replace(
        b"\x00\x00\x00\x40\x00\x00\x00\x40", b"\x00\x00\xff\xff\x00\x00\xff\xff"
    )
    dataset.save_as(tmp_path / "liar.dcm")
    with pytest.raises(ImageError, match="header says 64 x 64 pixels, but the compressed stream is 65535 x 65535"):
        read_image(tmp_path / "liar.dcm")


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(["L", "F"], True), (["R", "F"], True), (["A", "F"], True), (["L", "P"], True), (["L", "PH"], True), ("", True),
     (["L", "H"], False), (["R", "H"], False), (["A", "H"], False), (["L", "HA"], False)],
)  # fmt: skip
def test_a_picture_is_refused_exactly_where_its_header_says_that_it_is_upside_down(make_dicom, orientation, upright):
    path = make_dicom(STORED, PatientOrientation=orientation)
    if upright:
        np.testing.assert_array_equal(read_image(path).pixels[0], STORED)
    else:
        with pytest.raises(ImageError, match=r"\(PatientOrientation\) says that the picture is upside down"):
            read_image(path)


def test_a_deflate_bomb_is_refused(make_dicom, tmp_path, monkeypatch):
    monkeypatch.setattr("mris.images.dicom._LARGEST_INFLATED", 1 << 25)
    dataset = pydicom.dcmread(make_dicom(STORED))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)
    content = (tmp_path / "deflated.dcm").read_bytes()
    np.testing.assert_array_equal(read_image(tmp_path / "deflated.dcm").pixels[0], STORED)

    length = int(pydicom.dcmread(tmp_path / "deflated.dcm").file_meta.FileMetaInformationGroupLength)
    bomb = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = bomb.compress(bytes(1 << 26)) + bomb.flush()
    (tmp_path / "bomb.dcm").write_bytes(content[: 144 + length] + body)
    tracemalloc.start()
    with pytest.raises(ImageError, match="inflates beyond"):
        read_image(tmp_path / "bomb.dcm")
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


CODESTREAM = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + struct.pack(">4I", 9, 8, 1, 2) + bytes(16) + b"\0\1"
JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


def box(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (b"", None),
        (b"\xff\xd8", None),
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08\x00\x02\x00\x03\x01", StatedSize(2, 3, 1)),
        (b"\xff\xd8\xff\xff\xff\xf7\x00\x0b\x08\x00\x02\x00\x03\x01", StatedSize(2, 3, 1)),
        (b"\xff\xd8\xff\x01\xff\xd0\xff\xc3\x00\x0b\x08\x00\x02\x00\x03\x01", StatedSize(2, 3, 1)),
        (b"\xff\xd8\xff\xc4\x00\x02\xff\xda\x00\x0b\x08\x00\x02\x00\x03\x01", None),
        (b"\xff\xd8junk junk junk", None),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x02\x00\x03\x03", StatedSize(2, 3, 3)),
        (CODESTREAM, StatedSize(6, 8, 1)),
        (CODESTREAM[:-1], None),
        (JP2 + box(b"jp2h", bytes(7)) + box(b"jp2c", CODESTREAM), StatedSize(6, 8, 1)),
        (
            JP2 + b"\0\0\0\1free" + struct.pack(">Q", 16 + 42) + CODESTREAM + box(b"jp2c", CODESTREAM[:41] + b"\2"),
            StatedSize(6, 8, 2),
        ),
        (JP2 + box(b"free", CODESTREAM), None),
        (JP2 + b"\0\0\0\0free" + CODESTREAM, None),
        (b"\xff\x4f\xff\x51\x00\x29", None),
    ],
)
def test_the_size_a_stream_states_is_read_without_decoding(stream, size):
    assert stated_size(stream) == size


@settings(max_examples=50)
@given(st.binary(max_size=64))
def test_any_bytes_state_a_size_or_none(stream):
    for start in (b"", b"\xff\xd8\xff", b"\xff\x4f\xff\x51"):
        size = stated_size(start + stream)
        assert size is None or min(size.columns, size.samples) < 1 << 32


def test_a_whole_plate_costs_its_float_pixels_and_its_bytes_once_or_twice(make_dicom):
    path = make_dicom(np.tile(np.arange(3520, dtype=np.uint16), (4280, 1)), PhotometricInterpretation="MONOCHROME1")
    script = """
import resource, sys
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation, prepare_source
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare_source(read_image(sys.argv[1], spacing=(0.1, 0.1)), SourcePreparation((256, 256), region_mm=140.0))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert int(done.stdout) < 220, done.stderr  # MB; the plate is 30 MB on disk and 60 MB as float32


@pytest.mark.parametrize("double", [False, True])
def test_float_pixel_data_is_read(make_dicom, double):
    values = np.array([[0.5, -1.25], [3.0, 1e6]], np.float64 if double else np.float32)
    keyword = "DoubleFloatPixelData" if double else "FloatPixelData"
    bits = 64 if double else 32
    path = make_dicom(
        np.zeros((2, 2), np.uint16),
        **{"PixelData": None, "BitsAllocated": bits, "BitsStored": None, "HighBit": None, keyword: values.tobytes()},
    )
    np.testing.assert_array_equal(read_image(path).pixels[0], values.astype(np.float32))
