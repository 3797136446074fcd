"""DICOM files with lies in them are an `Image` or one clear `ImageError`; benchmarks/fuzz_dicom.py reads thousands."""

import dataclasses

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless
from tests.dicom_strategies import (
    COMPRESSED,
    built_files,
    file_bytes,
    giant_files,
    gray_streams,
    image_elements,
    sound_files,
    spoiled_files,
    stored_pixels,
)
from tests.jpeg_lossless import jpeg_lossless

from mris.errors import ImageError
from mris.images.dicom import read_dicom_facts
from mris.images.read import read_image

SOON = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dicom_fuzz")


def read_or_refused(path):
    """Read for pixels and for facts; the image, or None where one clear line says why not."""
    image = None
    try:
        image = read_image(path)
        assert image.pixels.dtype == np.float32
        assert not np.isinf(image.pixels).any()
    except ImageError as error:
        assert str(path) in str(error)
        assert str(error).isprintable()
    try:
        facts = read_dicom_facts(path)
        assert image is None or facts is None or facts.spacing == image.spacing
    except ImageError as error:
        assert image is None
        assert str(path) in str(error)
    return image


@SOON
@given(pair=sound_files())
def test_a_sound_file_of_any_depth_sign_and_lossless_syntax_gives_its_stored_pixels(folder, pair):
    case, stored = pair
    (folder / "sound.dcm").write_bytes(case.content)
    image = read_or_refused(folder / "sound.dcm")
    assert image.spacing == (0.2, 0.2)
    np.testing.assert_array_equal(image.pixels[0], stored)


@SOON
@given(case=built_files())
def test_a_file_whose_elements_lie_is_an_image_or_one_clear_line(folder, case):
    (folder / "built.dcm").write_bytes(case.content)
    read_or_refused(folder / "built.dcm")


@SOON
@given(case=spoiled_files() | gray_streams())
def test_a_real_file_or_stream_with_other_bytes_is_an_image_or_one_clear_line(folder, case):
    (folder / "spoiled.dcm").write_bytes(case.content)
    read_or_refused(folder / "spoiled.dcm")


@settings(SOON, max_examples=15)
@given(case=giant_files().filter(lambda case: case.kind == "giant"))
def test_a_small_file_that_announces_a_huge_picture_is_refused(folder, case):
    (folder / "giant.dcm").write_bytes(case.content)
    assert read_or_refused(folder / "giant.dcm") is None


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_a_large_picture_in_next_to_no_bytes_is_not_decoded_and_a_small_one_is(folder, syntax, monkeypatch):
    path = folder / "flat.dcm"
    path.write_bytes(file_bytes(image_elements(np.zeros((512, 512), np.uint16), 16, syntax), syntax))
    assert read_or_refused(path) is not None
    monkeypatch.setattr("mris.images.dicom._LARGE", 1 << 10)
    if syntax in (JPEG2000Lossless, JPEGLSLossless):
        with pytest.raises(ImageError, match=r"512 x 512 pixels are announced, but the compressed stream has only"):
            read_image(path)
    else:  # these spend bits on every block or run, however flat it is
        assert read_or_refused(path) is not None


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
@settings(SOON, max_examples=15)
@given(share=st.floats(0.05, 0.99))
def test_a_compressed_picture_whose_stream_was_cut_is_refused_and_never_filled_up(folder, syntax, share):
    elements = image_elements(stored_pixels((64, 80), 16, 12, False, 1), 12, syntax)
    (folder / "whole.dcm").write_bytes(file_bytes(elements, syntax))
    assert read_or_refused(folder / "whole.dcm") is not None
    frame = next(generate_frames(pydicom.dcmread(folder / "whole.dcm").PixelData, number_of_frames=1))
    data = encapsulate([frame[: int(share * len(frame))]])
    elements[-1] = dataclasses.replace(elements[-1], value=data + elements[-1].value[-8:])  # the delimiter
    (folder / "cut.dcm").write_bytes(file_bytes(elements, syntax))
    assert read_or_refused(folder / "cut.dcm") is None


@pytest.mark.parametrize("text", ["MONO\n\x1b[2Jmris: fine", "\r", "X" * 3000])
def test_what_a_header_says_does_not_steer_a_terminal(folder, text):
    elements = image_elements(stored_pixels((7, 5), 16, 12, False, 0), 12, ExplicitVRLittleEndian, text)
    (folder / "loud.dcm").write_bytes(file_bytes(elements, ExplicitVRLittleEndian))
    assert read_or_refused(folder / "loud.dcm") is None
    with pytest.raises(ImageError, match="PhotometricInterpretation is") as caught:
        read_image(folder / "loud.dcm")
    assert len(str(caught.value)) < 400


def test_a_depth_that_is_text_is_named(folder):
    elements = [
        dataclasses.replace(element, vr=b"CS") if element.tag == 0x00280103 else element
        for element in image_elements(stored_pixels((7, 5), 16, 12, True, 0), 12, ExplicitVRLittleEndian)
    ]
    (folder / "text.dcm").write_bytes(file_bytes(elements, ExplicitVRLittleEndian))
    with pytest.raises(ImageError, match=r"PixelRepresentation is \S+, but must be one whole number"):
        read_image(folder / "text.dcm")
    assert read_or_refused(folder / "text.dcm") is None


def test_baseline_jpeg_comes_back_but_for_its_loss(folder):
    stored = stored_pixels((64, 80), 16, 12, False, 1)
    (folder / "lossy.dcm").write_bytes(file_bytes(image_elements(stored, 12, JPEGBaseline8Bit), JPEGBaseline8Bit))
    assert np.abs(read_image(folder / "lossy.dcm").pixels[0] - (stored >> 4)).max() < 20


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg_encodes_every_difference(folder, bits):
    from libjpeg import decode

    top = (1 << bits) - 1
    values = np.array([[0, top, 0, top // 2, top // 2 + 1, 1], [top, 0, 1, 3, top - 1, top]])
    np.testing.assert_array_equal(decode(jpeg_lossless(values, bits)), values)
    assert stored_pixels((3, 4), 16, bits, False, 0).max() <= top
