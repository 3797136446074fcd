"""How many bytes the tags of a TIFF's first page name, read without following them.

Each tag names a place and a length; many may name the same place, so that a small file can ask for more than there is
memory for.
"""

import struct
from typing import IO

_UNIT_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_TAGS = 4096


def tags_size(file: IO[bytes], start: bytes) -> int:
    """Sum up the bytes of all tags of the first page; what follows `_MOST_TAGS` counts for one megabyte each.

    Args:
        file: The file, which can be sought.
        start: Its first 16 bytes or more.

    Returns:
        Bytes; 0 where the file is cut, which its reader will tell.
    """
    order = ">" if start.startswith(b"MM") else "<"
    large = start[2:4] in (b"+\0", b"\0+")
    place, count, entry = ("Q", "Q", "HHQQ") if large else ("L", "H", "HHLL")
    try:
        file.seek(*struct.unpack_from(order + place, start, 8 if large else 4))
        (n_tags,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
        if n_tags > _MOST_TAGS:
            return int(n_tags) << 20
        table = file.read(n_tags * struct.calcsize(order + entry))
        return sum(_UNIT_SIZES.get(kind, 1) * n for _, kind, n, _ in struct.iter_unpack(order + entry, table))
    except (struct.error, OSError, OverflowError):
        return 0
