"""Sizes that a JPEG or JPEG 2000 stream states about itself, read without decoding it.

A damaged or hostile stream can state a size far from that of the file around it; decoders allocate what the stream
says, so it is compared first.
"""

import struct
from dataclasses import dataclass

_NOT_SIZES = {0xC4, 0xC8, 0xCC}  # Huffman tables, an extension, arithmetic conditioning
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # start of codestream, then of the segment of its size


@dataclass(frozen=True)
class StatedSize:
    """What a stream states: rows, columns, and samples (components) a pixel."""

    rows: int
    columns: int
    samples: int

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} pixels" + ("" if self.samples == 1 else f" of {self.samples} samples")


def stated_size(stream: bytes) -> StatedSize | None:
    """Return the size stated by a JPEG, JPEG-LS, JPEG 2000 or HTJ2K stream; None if it is none of these."""
    if stream[:2] == b"\xff\xd8":
        return _jpeg_size(stream)
    start = _codestream_start(stream) if stream.startswith(_JP2) else 0
    if stream[start : start + 4] != _CODESTREAM or len(stream) < start + 42:
        return None
    right, bottom, left, top = struct.unpack(">4I", stream[start + 8 : start + 24])
    (samples,) = struct.unpack(">H", stream[start + 40 : start + 42])
    return StatedSize(bottom - top, right - left, samples)


def is_cut(stream: bytes) -> bool:
    """Whether a JPEG or JPEG-LS stream lacks the marker that ends it (T.81, B.1.1.3), padding left aside.

    Decoders fill what is missing with some gray without a word. Those of JPEG 2000 notice; False for their streams.
    """
    return stream[:2] == b"\xff\xd8" and not stream.rstrip(b"\x00\xff").endswith(b"\xff\xd9")


def _codestream_start(stream: bytes) -> int:
    """Position of the codestream in the boxes of a JP2 file; that of its end if there is none."""
    position = 0
    while position + 8 <= len(stream):
        length, kind = struct.unpack(">I4s", stream[position : position + 8])
        head = 8
        if length == 1:
            length, head = int.from_bytes(stream[position + 8 : position + 16], "big"), 16
        if kind == b"jp2c":
            return position + head
        if length < head:  # 0: to the end of the file
            break
        position += length
    return len(stream)


def _jpeg_size(stream: bytes) -> StatedSize | None:
    position = 2
    while position + 10 <= len(stream):
        if stream[position] != 0xFF:
            return None
        marker = stream[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif (0xC0 <= marker <= 0xCF and marker not in _NOT_SIZES) or marker == 0xF7:  # start of a frame; of JPEG-LS
            return StatedSize(*struct.unpack(">2HB", stream[position + 5 : position + 10]))
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
            position += 2
        elif marker == 0xDA:  # data begin
            return None
        else:
            position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return None
