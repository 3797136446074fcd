"""Hypothesis strategies of DICOM files, sound and spoiled, made byte by byte so that any lie can be written."""

import functools
import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from tests.dicom_sources import IDENTIFYING, radiograph
from tests.jpeg_lossless import jpeg_lossless

from mris.serving.dicom_source import PATIENT_AND_STUDY

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
COMPRESSED = (RLELossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
DEPTHS = ((8, 8), (16, 10), (16, 12), (16, 16))
"""Bits allocated and stored that radiographs come in."""

_LONG = (b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT")
_UNDEFINED = 0xFFFFFFFF
_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
"""Delimiter of a sequence of fragments."""


@dataclass(frozen=True)
class Element:
    """One element as it is written: `length` may lie."""

    tag: int
    vr: bytes
    value: bytes
    length: int | None = None


@dataclass(frozen=True)
class DicomCase:
    """A file and the way it was made, for tallies."""

    kind: str
    content: bytes


def stored_pixels(shape: tuple[int, int], allocated: int, bits: int, signed: bool, seed: int) -> np.ndarray:
    """Smooth values with noise in the whole range of `bits`."""
    rng = np.random.default_rng(seed)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    ramp = np.add.outer(np.linspace(0, 0.5, shape[0]), np.linspace(0, 0.4, shape[1])) + 0.1 * rng.random(shape)
    return np.rint(low + ramp * (high - low)).astype(f"{'i' if signed else 'u'}{allocated // 8}")


def pixel_data(stored: np.ndarray, bits: int, syntax: UID) -> bytes:
    """The value of PixelData in a transfer syntax."""
    if syntax == ExplicitVRBigEndian:
        return stored.astype(stored.dtype.newbyteorder(">")).tobytes()
    if syntax in NATIVE:
        return stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    if syntax == JPEGBaseline8Bit:
        buffer = io.BytesIO()
        PIL.Image.fromarray((stored.astype(np.int64) >> (bits - 8)).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        return bytes(encapsulate([buffer.getvalue()]))
    if syntax == JPEGLosslessSV1:
        mask = (1 << bits) - 1
        return bytes(encapsulate([jpeg_lossless(stored.astype(np.int64) & mask, bits)]))
    dataset = radiograph(stored, BitsStored=bits, HighBit=bits - 1)
    plugin = {RLELossless: "pydicom", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}[syntax]
    dataset.compress(syntax, stored, encoding_plugin=plugin)
    return bytes(dataset.PixelData)


def image_elements(
    stored: np.ndarray, bits: int, syntax: UID, photometric: str = "MONOCHROME2", spacing: str = "0.2\\0.2"
) -> list[Element]:
    """Elements of a sound radiograph, in order."""
    allocated, signed = stored.dtype.itemsize * 8, stored.dtype.kind == "i"
    data = pixel_data(stored, bits, syntax)
    if syntax == JPEGBaseline8Bit:
        allocated, bits, signed = 8, 8, False
    numbers = ((0x00280010, stored.shape[0]), (0x00280011, stored.shape[1]))
    depth = ((0x00280100, allocated), (0x00280101, bits), (0x00280102, bits - 1), (0x00280103, int(signed)))
    native = syntax in NATIVE
    return [
        Element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.1.1\0"),
        Element(0x00080018, b"UI", b"1.2.3.4\0"),
        Element(0x00080060, b"CS", b"DX"),
        Element(0x00181164, b"DS", _even(spacing.encode())),
        Element(0x00185101, b"CS", b"PA"),
        Element(0x0020000D, b"UI", b"1.2.3\0"),
        Element(0x0020000E, b"UI", b"1.2.3.5\0"),
        _short(0x00280002, 1),
        Element(0x00280004, b"CS", _even(photometric.encode())),
        *(_short(tag, value) for tag, value in numbers),
        *(_short(tag, value) for tag, value in depth),
        Element(
            0x7FE00010,
            b"OW" if native and allocated == 16 else b"OB",
            data if native else data + _END,
            None if native else _UNDEFINED,
        ),
    ]


def identified_file(
    changes: Mapping[str, bytes | None], *, vrs: Mapping[str, bytes] | None = None, syntax: UID = ExplicitVRLittleEndian
) -> bytes:
    """A radiograph of a person who does not exist, as bytes, so that an element may hold what no library writes.

    Args:
        changes: Values by keyword, None for none, in place of those of `IDENTIFYING`.
        vrs: Other types than the elements have.
        syntax: A native one.
    """
    texts = {key: str(value).encode() for key, value in IDENTIFYING.items()}
    texts |= {"SpecificCharacterSet": b"ISO_IR 192", "BodyPartExamined": b"KNEE"}
    elements = {element.tag: element for element in _sound((33, 64), (16, 12), False, 0, syntax)}
    for keyword, value in (texts | dict(changes)).items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        elements.pop(tag, None)
        if value is not None:
            vr = (vrs or {}).get(keyword, dictionary_VR(tag).encode())
            elements[tag] = Element(tag, vr, _even(value, b"\0" if vr == b"UI" else b" "))
    return file_bytes([elements[tag] for tag in sorted(elements)], syntax)


def file_bytes(elements: list[Element], syntax: UID | str, *, preamble: bool = True) -> bytes:
    """Write elements as a file; a data set in big endian, implicit or deflated where the syntax says so."""
    uid = str(syntax).encode()
    meta = b"".join(
        _written(element, "<", explicit=True)
        for element in (
            Element(0x00020001, b"OB", b"\0\1"),
            Element(0x00020002, b"UI", b"1.2.840.10008.5.1.4.1.1.1.1\0"),
            Element(0x00020003, b"UI", b"1.2.3.4\0"),
            Element(0x00020010, b"UI", uid + b"\0" * (len(uid) % 2)),
        )
    )
    head = _written(Element(0x00020000, b"UL", struct.pack("<L", len(meta))), "<", explicit=True) + meta
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    body = b"".join(_written(element, order, explicit=syntax != ImplicitVRLittleEndian) for element in elements)
    if syntax == DeflatedExplicitVRLittleEndian:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = deflate.compress(body) + deflate.flush()
    return (b"\0" * 128 + b"DICM" if preamble else b"") + head + body


def _short(tag: int, value: int) -> Element:
    return Element(tag, b"US", struct.pack("<H", value))


def _even(value: bytes, padding: bytes = b" ") -> bytes:
    return value + padding * (len(value) % 2)


def _written(element: Element, order: str, *, explicit: bool) -> bytes:
    value = element.value
    if order == ">" and element.vr == b"US":
        value = value[::-1]
    length = len(value) if element.length is None else element.length
    tag = struct.pack(f"{order}HH", element.tag >> 16, element.tag & 0xFFFF)
    if not explicit:
        return tag + struct.pack(f"{order}L", length & _UNDEFINED) + value
    if element.vr in _LONG:
        return tag + element.vr + b"\0\0" + struct.pack(f"{order}L", length & _UNDEFINED) + value
    return tag + element.vr + struct.pack(f"{order}H", length & 0xFFFF) + value


# --- strategies ------------------------------------------------------------------------------------------------------

SHORTS = st.sampled_from([0, 1, 2, 3, 7, 8, 12, 16, 17, 32, 64, 255, 256, 4095, 40000, 0x8000, 0xFFFF])
TEXTS = st.sampled_from(
    [b"", b"0", b"-1", b"2", b"1e400", b"NaN", b"inf", b"abc", b"1\\", b"\\1", b"1\\2\\3", b"0\\0", b"-0.2\\0.2",
     b"1e-320", b"9" * 300, b"RGB ", b"MONOCHROME1 ", b"YBR_FULL", b"PALETTE COLOR ", b"\xff\xfe\x00", b"R\\F ", b"B ",
     b"MONOCHROME2\0"]
)  # fmt: skip
LENGTHS = st.sampled_from([0, 1, 3, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, _UNDEFINED])
VRS = st.sampled_from(
    [b"US", b"SS", b"UL", b"DS", b"IS", b"LO", b"CS", b"UI", b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"AT", b"FD",
     b"UT", b"PN", b"DA", b"??", b"\0\0"]
)  # fmt: skip
NUMERIC_TAGS = (
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102,
    0x00280103, 0x00280120, 0x00280121, 0x00281052, 0x00281053, 0x00281050, 0x00281051, 0x00181164, 0x00181114,
    0x00200062, 0x00200020, 0x00185101, 0x00080005, 0x00283000, 0x52009229, 0x7FE00001, 0x7FE00002, 0x7FE00008,
    0x00082218, 0x60003000, 0x00287FE0,
)  # fmt: skip


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """The bytes of an element's value."""
    one = st.one_of(SHORTS.map(lambda number: struct.pack("<H", number)), TEXTS, st.binary(max_size=12))
    return draw(one)


def _shapes(syntax: UID) -> st.SearchStrategy[tuple[int, int]]:
    """Two encoders refuse smaller pictures."""
    small = [] if syntax in (JPEGLSLossless, JPEG2000Lossless) else [(1, 1), (7, 5)]
    return st.sampled_from([(33, 64), (48, 40), *small])


@functools.lru_cache(maxsize=256)
def _sound(shape: tuple[int, int], depth: tuple[int, int], signed: bool, seed: int, syntax: UID) -> tuple[Element, ...]:
    stored = stored_pixels(shape, *depth, signed, seed)
    return tuple(image_elements(stored, depth[1], syntax))


@st.composite
def _changed(draw: st.DrawFn, elements: list[Element]) -> list[Element]:
    """One lie about the elements."""
    place = draw(st.integers(0, len(elements) - 1))
    old = elements[place]
    match draw(st.sampled_from(["value", "value", "length", "vr", "drop", "again", "new", "new", "nest", "table"])):
        case "value":
            new = [Element(old.tag, old.vr, draw(values()), None)]
        case "length":
            new = [Element(old.tag, old.vr, old.value, draw(LENGTHS))]
        case "vr":
            new = [Element(old.tag, draw(VRS), old.value, old.length)]
        case "drop":
            new = []
        case "again":
            new = [old, Element(old.tag, old.vr, draw(values()), None)]
        case "new":
            tag = draw(st.sampled_from(NUMERIC_TAGS) | st.integers(0, 0xFFFFFFFF))
            new = [Element(tag, draw(VRS), draw(values()), draw(st.none() | LENGTHS)), old]
        case "nest":
            new = [
                _nested(draw(st.sampled_from([1, 10, 300, 3000])), draw(st.sampled_from([0x00091010, 0x00081140]))),
                old,
            ]
        case _:
            new = [_table(draw), old]
    return [*elements[:place], *new, *elements[place + 1 :]]


def _nested(depth: int, tag: int) -> Element:
    """Sequences in sequences, none of which says how long it is."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, _UNDEFINED)
    inner = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"SQ\0\0" + struct.pack("<L", _UNDEFINED)
    return Element(tag, b"SQ", (item + inner) * depth, _UNDEFINED)


def _table(draw: st.DrawFn) -> Element:
    """A modality or VOI table whose descriptor and data may not fit."""
    descriptor = b"".join(struct.pack("<H", draw(SHORTS)) for _ in range(draw(st.sampled_from([3, 3, 3, 2, 4]))))
    data = b"".join(struct.pack("<H", draw(SHORTS)) for _ in range(draw(st.integers(0, 6))))
    item = b"".join(
        _written(element, "<", explicit=True)
        for element in (Element(0x00283002, b"US", descriptor), Element(0x00283006, b"OW", data))
    )
    value = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    return Element(draw(st.sampled_from([0x00283000, 0x00283010])), b"SQ", value)


def _with_changed_bytes(draw: st.DrawFn, content: bytes, first: int) -> bytes:
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(min(first, len(changed) - 1), len(changed) - 1))
        changed[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFE, 0xFF]) | st.integers(0, 255))
    return bytes(changed)


@st.composite
def sound_files(draw: st.DrawFn) -> tuple[DicomCase, np.ndarray]:
    """A radiograph that must be read, and its stored pixels (of a lossless syntax)."""
    depth = draw(st.sampled_from(DEPTHS))
    signed = draw(st.booleans())
    syntax = draw(st.sampled_from([s for s in (*NATIVE, *COMPRESSED) if s != JPEGBaseline8Bit]))
    shape = draw(_shapes(syntax))
    seed = draw(st.integers(0, 3))
    elements = list(_sound(shape, depth, signed, seed, syntax))
    stored = stored_pixels(shape, *depth, signed, seed)
    return DicomCase(f"sound {syntax.name}", file_bytes(elements, syntax)), stored


@st.composite
def built_files(draw: st.DrawFn) -> DicomCase:
    """A radiograph with up to four lies in its elements, and perhaps cut, or with other bytes."""
    syntax = draw(st.sampled_from((*NATIVE, *COMPRESSED)))
    shape = draw(_shapes(syntax))
    depth, signed = draw(st.sampled_from(DEPTHS)), draw(st.booleans())
    elements = list(_sound(shape, depth, signed, draw(st.integers(0, 3)), syntax))
    for _ in range(draw(st.integers(0, 4))):
        elements = draw(_changed(elements)) if elements else elements
    said = draw(st.sampled_from([syntax] * 8 + [*NATIVE, *COMPRESSED, "1.2.840.10008.1.2.4.57", "1.2.3", ""]))
    content = file_bytes(elements, said, preamble=draw(st.sampled_from([True] * 9 + [False])))
    match draw(st.sampled_from(["whole"] * 6 + ["cut", "bytes"])):
        case "cut":
            content = content[: draw(st.integers(0, len(content)))]
        case "bytes":
            content = _with_changed_bytes(draw, content, draw(st.sampled_from([0, 132, len(content) // 2])))
    return DicomCase("built", content)


@st.composite
def giant_files(draw: st.DrawFn) -> DicomCase:
    """A small file that announces a huge picture, in its header, its stream, or both."""
    if draw(st.sampled_from([True] + [False] * 9)):
        return DicomCase("bomb", _bomb(draw(st.sampled_from([1000, 5000, 8900]))))
    syntax = draw(st.sampled_from((*NATIVE, *COMPRESSED)))
    elements = list(_sound((33, 64), draw(st.sampled_from(DEPTHS)), False, 0, syntax))
    rows, columns = (draw(st.sampled_from([8000, 8900, 20000, 65535])) for _ in range(2))
    sizes = {0x00280010: rows, 0x00280011: columns}
    elements = [_short(e.tag, sizes[e.tag]) if e.tag in sizes else e for e in elements]
    data = elements[-1].value
    if draw(st.booleans()):
        for old, new in (
            (struct.pack(">HH", 33, 64), struct.pack(">HH", rows, columns)),  # JPEG and JPEG-LS: rows, columns
            (struct.pack(">LL", 64, 33), struct.pack(">LL", columns, rows)),  # JPEG 2000: columns, rows
        ):
            data = data.replace(old, new)
    elements[-1] = Element(elements[-1].tag, elements[-1].vr, data, elements[-1].length)
    return DicomCase("giant", file_bytes(elements, syntax))


@functools.lru_cache(maxsize=4)
def _bomb(edge: int) -> bytes:
    """A deflated file of ``edge * edge`` black pixels of 16 bit."""
    elements = list(_sound((1, 1), (16, 16), False, 0, ExplicitVRLittleEndian))
    elements = [_short(e.tag, edge) if e.tag in (0x00280010, 0x00280011) else e for e in elements[:-1]]
    return file_bytes([*elements, Element(0x7FE00010, b"OW", bytes(2 * edge * edge))], DeflatedExplicitVRLittleEndian)


@functools.lru_cache(maxsize=1)
def _shipped() -> tuple[bytes, ...]:
    """Small files that pydicom brings; those of gray pictures, which get furthest, four times."""
    files = sorted(path for path in SHIPPED.iterdir() if path.is_file() and 0 < path.stat().st_size < 45_000)
    contents = [path.read_bytes() for path in files]
    gray = [content for content in contents if b"MONOCHROME" in content]
    return (*contents, *gray, *gray, *gray)


def _data_start(content: bytes) -> int:
    """Where the pixel data begins, as far as its tag can be seen."""
    return max(content.rfind(b"\xe0\x7f\x10\x00"), content.rfind(b"\x7f\xe0\x00\x10"), 0)


def _places(content: bytes) -> st.SearchStrategy[int]:
    """From where on a file is spoiled: all of it, after the preamble, or in the pixels' head, offsets or stream."""
    start = _data_start(content)
    return st.sampled_from([0, 132, start, start + 12, start + 28, start + 28, start + 100])


@st.composite
def spoiled_files(draw: st.DrawFn) -> DicomCase:
    """A file that pydicom brings, with other bytes, cut, or with a piece taken out or put in."""
    content = draw(st.sampled_from(_shipped()))
    start = min(draw(_places(content)), len(content))
    match draw(st.sampled_from(["bytes", "bytes", "bytes", "cut", "out", "in"])):
        case "bytes":
            content = _with_changed_bytes(draw, content, start)
        case "cut":
            content = content[: draw(st.integers(0, len(content)))]
        case "out":
            place = draw(st.integers(start, len(content)))
            content = content[:place] + content[place + draw(st.integers(1, 64)) :]
        case _:
            place = draw(st.integers(start, len(content)))
            content = content[:place] + draw(st.binary(min_size=1, max_size=64)) + content[place:]
    return DicomCase("spoiled", content)


@st.composite
def gray_streams(draw: st.DrawFn) -> DicomCase:
    """A compressed radiograph whose header is sound and whose stream is not."""
    syntax = draw(st.sampled_from(COMPRESSED))
    shape = draw(_shapes(syntax))
    content = file_bytes(
        list(_sound(shape, draw(st.sampled_from(DEPTHS)), False, draw(st.integers(0, 3)), syntax)), syntax
    )
    return DicomCase(f"stream {syntax.name}", _with_changed_bytes(draw, content, draw(_places(content))))


HEADER_TEXTS = st.sampled_from(
    [b"", b" ", b"\\", b"A\\B", b"A\\", b"A^B", b"A^B^C^D^E^F^G", b"=", b"A=B=C=D", b"M\xfcller^Hans", b"\r\n",
     b"A\0B", b"\xff", "山田^太郎".encode(), b"\x1b$B;3ED\x1b(B^x", b"x" * 65, b"x" * 17, "ö".encode() * 64,
     b"20240613", b"20240231", b"2024.06.13", b"20240101-20240201", b"17.9.53", b"142751.25", b"142760", b"14:27",
     b"071Y", b"71", b"1,65", b"1.65", b"NaN", b"1e400", b"-1", b"9" * 17, b"YES", b"NO", b"yes", b"KNEE",
     b"Knie links", b"KNEE\\KNEE", b"F", b"f", b"1.2.3", b"1.2.abc", b"1.02", b"3" * 70, b"1.2.3\\1.2.4",
     b"1.2.840.10008.5.1.4.1.1.1.1", b"L", b"R", b"B", b"L\\F", b"R\\F", b"P\\F", b"LL", b"3\\3", b"0.2\\0.2"]
) | st.binary(max_size=70)  # fmt: skip
CHARSETS = st.sampled_from(
    [b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 13", b"ISO_IR 192", b"ISO_IR 999", b"GB18030", b"ISO 2022 IR 87",
     b"\\ISO 2022 IR 87", b"ISO_IR 100\\ISO 2022 IR 87", b"ISO_IR 192\\ISO 2022 IR 149", b"utf8", b"\xff"]
)  # fmt: skip
HEADER = (*PATIENT_AND_STUDY, *PATIENT_AND_STUDY, "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID",
          "BodyPartExamined", "BurnedInAnnotation", "ImageLaterality", "Laterality", "PatientOrientation",
          "ViewPosition", "PixelSpacing", "ImagerPixelSpacing")  # fmt: skip


@st.composite
def header_files(draw: st.DrawFn) -> DicomCase:
    """A radiograph whose pixels are sound, and whose header of patient, study and place is not."""
    changes = draw(st.dictionaries(st.sampled_from(HEADER), st.none() | HEADER_TEXTS, max_size=6))
    vrs = {key: draw(VRS) for key in changes if draw(st.sampled_from([False] * 7 + [True]))}
    if draw(st.booleans()):
        changes["SpecificCharacterSet"] = draw(CHARSETS)
    if draw(st.booleans()):
        changes.setdefault("ImagerPixelSpacing", b"3\\3")  # wide enough for two knees
    return DicomCase("header", identified_file(changes, vrs=vrs, syntax=draw(st.sampled_from(NATIVE))))


def dicom_files() -> st.SearchStrategy[DicomCase]:
    """All of them."""
    return st.one_of(
        sound_files().map(lambda pair: pair[0]), built_files(), built_files(), giant_files(), spoiled_files(),
        spoiled_files(), gray_streams(), gray_streams(), header_files(), header_files(), header_files(),
    )  # fmt: skip
