"""An encoder of lossless JPEG (ITU-T T.81, process 14, first-order prediction), the syntax of many archives.

Nothing that is installed writes it, and files of real people are no test material.
"""

import struct

import numpy as np

_LENGTH = 5
_N_CLASSES = 17
"""Classes of differences 0 to 16; as all codes are 5 bits long, at most 31 classes would fit."""


def jpeg_lossless(pixels: np.ndarray, bits: int) -> bytes:
    """Encode unsigned values of `bits` bits, 2 to 16, as one gray picture."""
    rows, columns = pixels.shape
    values = pixels.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << (bits - 1)
    # Differences are modulo 2^16 (H.1.2.1).
    differences = (values - predicted + 0x7FFF) % 0x10000 - 0x7FFF
    table = bytes([0, *(_N_CLASSES if length == _LENGTH else 0 for length in range(1, 17)), *range(_N_CLASSES)])
    frame = struct.pack(">BHHB", bits, rows, columns, 1) + bytes([1, 0x11, 0])
    scan = bytes([1, 1, 0, 1, 0, 0])
    segments = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        for marker, body in ((0xC3, frame), (0xC4, table), (0xDA, scan))
    )
    stream = b"\xff\xd8" + segments + _entropy_coded(differences.ravel().tolist()) + b"\xff\xd9"
    return stream + b"\0" * (len(stream) % 2)


def _entropy_coded(differences: list[int]) -> bytes:
    text = []
    for difference in differences:
        size = abs(difference).bit_length()
        text.append(f"{size:0{_LENGTH}b}")
        if 0 < size < 16:  # a difference of 32768 has no further bits
            text.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    whole = "".join(text)
    whole += "1" * (-len(whole) % 8)
    return int(whole, 2).to_bytes(len(whole) // 8, "big").replace(b"\xff", b"\xff\x00")
