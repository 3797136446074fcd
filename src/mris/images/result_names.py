"""How the results of a query are named after its file."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mris.errors import SettingsError


def result_stems(files: Sequence[Path]) -> list[str]:
    """Name the results of each file after it; where names repeat, after its folders below the common one too.

    Args:
        files: Queries; ``file.npz::key`` names an array of an archive. A folder has no suffix: its name is whole.

    Returns:
        A stem a file, all different.

    Raises:
        SettingsError: Two files would write the same results.

    Example:
        >>> result_stems([Path("a/hand.nii.gz"), Path("b/hand.png")])
        ['a_hand', 'b_hand']
    """
    stems = [_stem(path) for path in files]
    if len(set(stems)) < len(stems):
        absolute = [path.absolute() for path in files]
        common = Path(os.path.commonpath([path.parent for path in absolute]))
        inside = [path.relative_to(common).parts for path in absolute]
        stems = ["_".join((*parts[:-1], _stem(path))) for path, parts in zip(files, inside, strict=True)]
    for stem, count in Counter(stems).items():
        if count > 1:
            same = [str(path) for path, other in zip(files, stems, strict=True) if other == stem]
            raise SettingsError(
                f"{count} files would all write {stem!r} ({same[0]}, {same[1]}); rename them, or use separate folders"
            )
    return stems


def _stem(path: Path) -> str:
    with suppress(OSError):  # with its key, file.npz::key may be too long for a file's name
        if path.is_dir():
            return path.name
    file, _, key = path.name.partition("::")
    file = file.removesuffix(".gz")
    bare = file.rpartition(".")[0] or file
    return f"{bare}_{key}" if key else bare
