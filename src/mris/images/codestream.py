"""Sizes that a JPEG or JPEG 2000 stream states about itself, read without decoding it.

A damaged or hostile stream can state a size far from that of the file around it; decoders allocate what the stream
says, so it is compared first.
"""

import struct

_NOT_SIZES = {0xC4, 0xC8, 0xCC}  # Huffman tables, an extension, arithmetic conditioning


def stated_size(stream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) as stated by a JPEG, JPEG-LS, JPEG 2000 or HTJ2K stream; None if it is none of these."""
    if stream[:2] == b"\xff\xd8":
        return _jpeg_size(stream)
    start = stream.find(b"\xff\x4f\xff\x51", 0, 4096)  # start of codestream and image size, maybe in a JP2 box
    if start < 0 or len(stream) < start + 24:
        return None
    right, bottom, left, top = struct.unpack(">4I", stream[start + 8 : start + 24])
    return bottom - top, right - left


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(stream):
        if stream[position] != 0xFF:
            return None
        marker = stream[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif (0xC0 <= marker <= 0xCF and marker not in _NOT_SIZES) or marker == 0xF7:  # start of a frame; of JPEG-LS
            rows, columns = struct.unpack(">2H", stream[position + 5 : position + 9])
            return rows, columns
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
            position += 2
        elif marker == 0xDA:  # data begin
            return None
        else:
            position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return None
