"""Reading as many bytes as a header promises, without trusting it."""

from typing import IO

_PIECE = 1 << 22


def read_promised(file: IO[bytes], n_bytes: int) -> bytearray:
    """Read `n_bytes`, or what there is; memory grows with what is really there, not with the promise.

    (One plain ``read(n_bytes)`` of a compressed stream allocates `n_bytes` first.)
    """
    data = bytearray()
    while len(data) < n_bytes and (piece := file.read(min(n_bytes - len(data), _PIECE))):
        data += piece
    return data
