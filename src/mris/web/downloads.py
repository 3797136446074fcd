"""A result as files: what ``mris synthesize`` writes, in a zip, by way of a folder that is gone at once."""

import tempfile
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from mris.errors import ImageError, SettingsError
from mris.knee.anatomy import KNEE
from mris.serving.deidentify import random_salt
from mris.serving.dicom_source import DerivedFrom
from mris.serving.means import mean_rows, write_means
from mris.serving.outputs import FORMATS, Format, write_synthesis
from mris.serving.pictures import N_PICTURED, Look, common_look, write_maps_picture, write_neighbors_picture
from mris.web.results import HeldResult
from mris.web.settings import ServeSettings

DICOM = "dicom"


def zipped(result: HeldResult, formats: Sequence[str], settings: ServeSettings, *, deidentify: bool = False) -> bytes:
    """Write a result in some formats and put the files into a zip, with provenance and table of means.

    Args:
        result: The result.
        formats: Of "nifti", "npz", "png" and "dicom".
        settings: How the server was started.
        deidentify: Take out of the DICOM objects what identifies the person.

    Raises:
        SettingsError: A format is unknown.
        ImageError: DICOM is asked for, and the file was none.
        OutputError: The disk refuses.
    """
    unknown = sorted({*formats} - {*FORMATS, DICOM})
    if unknown or not formats:
        raise SettingsError(
            f"formats has {', '.join(unknown) or 'nothing'}; give some of {', '.join(FORMATS)}, {DICOM}"
        )
    with tempfile.TemporaryDirectory(prefix="mris-") as made:
        folder, stem = Path(made), result.asked.stem
        objects = dicom_objects(result, settings, deidentify=deidentify) if DICOM in formats else {}
        for name, content in objects.items():
            (folder / name).write_bytes(content)
        look = look_of(result, settings)
        plain: list[Format] = [kind for kind in FORMATS if kind in formats]
        write_synthesis(result.synthesis, folder, stem, plain, query=result.facts, look=look, beside=list(objects))
        if "png" in formats:
            write_neighbors(result, folder / f"{stem}_neighbors.png", look)
        write_means(folder, list(mean_rows(stem, result.synthesis, {})))
        with BytesIO() as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for path in sorted(folder.iterdir()):
                    archive.write(path, path.name)
            return file.getvalue()


def makes_dicom() -> bool:
    """Whether the library that makes DICOM results is installed."""
    return find_spec("highdicom") is not None


def dicom_objects(result: HeldResult, settings: ServeSettings, *, deidentify: bool = False) -> dict[str, bytes]:
    """Make the Secondary Capture and the Parametric Map of a result.

    Raises:
        SettingsError: highdicom is not installed.
        ImageError: The file was no DICOM, or does not say what it is of.
    """
    if not makes_dicom():
        raise SettingsError("DICOM results need highdicom; pip install 'mris[dicom]' where the server runs")
    from mris.serving.dicom_files import encoded_dicom_objects

    asked = result.asked
    if asked.header is None:
        raise ImageError(asked.header_problem)
    mirrored = asked.mirrored
    return encoded_dicom_objects(
        asked.stem,
        result.synthesis,
        DerivedFrom(asked.header, asked.facts.side, mirrored, KNEE),
        [maps[:N_PICTURED] for maps in result.neighbor_maps],
        asked.source,
        salt=random_salt() if deidentify else None,
        look=look_of(result, settings),
    )


def picture(result: HeldResult, settings: ServeSettings) -> bytes:
    """The picture of maps, spread and widths that ``mris synthesize`` draws."""
    with tempfile.TemporaryDirectory(prefix="mris-") as folder:
        path = Path(folder) / "maps.png"
        write_maps_picture(path, result.synthesis, look=look_of(result, settings))
        return path.read_bytes()


def neighbors_picture(result: HeldResult, settings: ServeSettings) -> bytes:
    """The picture of the people who count that ``mris synthesize`` draws."""
    with tempfile.TemporaryDirectory(prefix="mris-") as folder:
        path = Path(folder) / "neighbors.png"
        write_neighbors(result, path, look_of(result, settings))
        return path.read_bytes()


def write_neighbors(result: HeldResult, path: Path, look: Look) -> None:
    """Draw the people who count."""
    maps = [maps[:N_PICTURED] for maps in result.neighbor_maps]
    write_neighbors_picture(path, result.synthesis, result.asked.source, maps, look=look)


def look_of(result: HeldResult, settings: ServeSettings) -> Look:
    """Colors and edges of the pictures of a result."""
    maps = [maps[:N_PICTURED] for maps in result.neighbor_maps]
    return common_look([result.synthesis], maps, Look(edges=settings.edges))
