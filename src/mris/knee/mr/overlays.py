"""A picture of a segmentation over its scan, and a page of all of them, to look at before any number is trusted."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, Float32, UInt8

from mris.drawing import Figure, FigureCanvasAgg, drawable
from mris.finding import Finding
from mris.images.write import atomic_write
from mris.knee.mr.resample import Turn
from mris.wording import counted

_COLORS = np.array(
    [
        (0.0, 0.0, 0.0, 0.0),
        (0.9, 0.4, 0.9, 0.6),  # patellar cartilage
        (1.0, 0.8, 0.1, 0.6),  # femoral
        (0.2, 0.9, 0.4, 0.6),  # medial tibial
        (0.1, 0.8, 0.9, 0.6),  # lateral tibial
        (1.0, 0.4, 0.3, 0.5),  # menisci
        (1.0, 0.4, 0.3, 0.5),
        (0.3, 0.5, 1.0, 0.28),  # femur
        (0.6, 0.4, 1.0, 0.28),  # tibia
        (0.5, 0.7, 0.6, 0.28),  # patella
    ]
)
_PAGE = """<!doctype html>
<meta charset="utf-8"><title>MR segmentations</title>
<style>body{{font:15px system-ui,sans-serif;margin:2em;max-width:72em}}img{{max-width:100%}}
.error{{color:#a00}}.warning{{color:#850}}h2{{margin-top:2em}}</style>
<h1>MR segmentations</h1>
<p>{count} by the network {network}. Not for diagnosis: look at each picture before its numbers are used.</p>
{knees}
"""


def write_overlay(
    path: Path,
    voxels: Float32[np.ndarray, "i j k"],
    labels: UInt8[np.ndarray, "i j k"],
    affine: Float[np.ndarray, "4 4"],
    title: str,
) -> None:
    """Draw a scan in four planes, above without and below with its tissues.

    The planes are sagittal through the medial and the lateral plate, coronal and axial through the joint.

    Raises:
        OutputError: The file cannot be written.
    """
    turn = Turn(affine, voxels.shape)
    picture, tissues, spacing = turn.there(voxels), turn.there(labels), turn.spacing
    low, high = np.percentile(picture[::2, ::2, ::2], (1.0, 99.5))
    figure = Figure(figsize=(13.0, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(drawable(title), fontsize=10)
    axes = figure.subplots(2, 4)
    for column, (name, axis, at) in enumerate(_planes(tissues)):
        aside, up = [one for one in range(3) if one != axis]
        aspect = spacing[up] / spacing[aside]
        gray, color = picture.take(at, axis), _COLORS[np.minimum(tissues.take(at, axis), len(_COLORS) - 1)]
        for row in (0, 1):
            shown = axes[row][column]
            shown.imshow(gray.T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", aspect=aspect)
            if row:
                shown.imshow(color.transpose(1, 0, 2), origin="lower", aspect=aspect, interpolation="nearest")
            shown.set_axis_off()
        axes[0][column].set_title(name, fontsize=9)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


def _planes(tissues: UInt8[np.ndarray, "i j k"]) -> list[tuple[str, int, int]]:
    """Name, axis and slice of the planes that are drawn; through the middle where a plate is missing."""
    middles = {number: _middle(tissues == number) for number in (3, 4, 7)}
    medial, lateral = middles[3], middles[4]
    return [
        ("sagittal, medial", 0, medial[0]),
        ("sagittal, lateral", 0, lateral[0]),
        ("coronal", 1, medial[1]),
        ("axial", 2, (medial[2] + middles[7][2]) // 2),
    ]


def _middle(mask: np.ndarray) -> tuple[int, int, int]:
    if not mask.any():
        i, j, k = (n // 2 for n in mask.shape)
        return i, j, k
    profiles = [mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    i, j, k = (int(np.average(np.arange(len(one)), weights=one)) for one in profiles)
    return i, j, k


def write_page(path: Path, network: str, knees: Sequence[tuple[str, str, tuple[Finding, ...]]]) -> None:
    """Write one page of all knees, those with findings first; it needs no network.

    Args:
        path: The page.
        network: What segmented them.
        knees: Name, picture relative to the page, findings.

    Raises:
        OutputError: The file cannot be written.
    """
    rows = []
    for name, picture, findings in sorted(knees, key=lambda knee: -len(knee[2])):
        told = "".join(f'<li class="{one.severity}">{one.severity}: {escape(str(one))}</li>' for one in findings)
        rows.append(
            f"<h2>{escape(name)}</h2><ul>{told or '<li>nothing stands out</li>'}</ul>"
            f'<img src="{quote(picture)}" alt="{escape(name)} in four planes">'
        )
    text = _PAGE.format(count=counted(len(knees), "knee"), network=escape(network), knees="\n".join(rows))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
