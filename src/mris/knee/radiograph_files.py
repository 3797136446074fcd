"""From plates to files: a 16-bit PNG and a row of a table for each knee."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt16

from mris.cohort.names import subject_findings
from mris.errors import ImageError, ManifestError, OutputError, SettingsError
from mris.finding import Finding
from mris.images.header import Side
from mris.images.image import Image, Spacing
from mris.images.read import file_of
from mris.images.result_names import result_stems
from mris.images.transforms import resize_source, resized_spacing, share_outside
from mris.images.write import write_png
from mris.images.written import require_text_name
from mris.knee.center_sheet import CenterSheet
from mris.knee.crop import REGION_MM
from mris.knee.knee_location import SIDES, Detector, locate_knees, notes_on_plate
from mris.knee.oai_sheets import PlateKeypoints, month_number
from mris.knee.plate_picture import draw_locations
from mris.knee.radiograph import Center, KneeLocation, knee_region, read_plate
from mris.knee.region_table import TABLE_FILE, KneeRow, read_table
from mris.reading import file_sha256

_LARGEST = (1 << 16) - 1
_SUFFIX = re.compile(r"(?i)\.(dcm|dicom|png|tiff?|nii|nii\.gz|npy|npz)(?=::|$)")


@dataclass(frozen=True)
class PlateOptions:
    """How plates are read and what is written for each.

    Attributes:
        centers: Center of each knee of a single plate, by hand.
        sheet: Centers of many plates; see `CenterSheet.row_of`.
        visit: Patient and month of the sheet's row, for a single plate.
        side: Side of plates that show one knee, where headers do not say.
        spacing: Row and column spacing in mm of files that state none.
        size_mm: Edge of a region in mm.
        size: Rows and columns of the written region; those of the plate if None.
        subject: Whose plate this is, for a single plate.
        use_patient_id: Take the subject from PatientID.
        timepoint: When the plates were taken; the sheet's month, else "0", if None.
        overlay: Also draw each plate with its regions.
        on_error: "stop" at a plate that cannot be used, or "skip" it.
        overwrite: Replace the regions of another plate of the same name.
        dry_run: Do everything but write.
        detector: See `locate_knees`.
    """

    centers: Mapping[Side, Center] | None = None
    sheet: CenterSheet | None = None
    visit: tuple[str, str] | None = None
    side: Side | None = None
    spacing: Spacing | None = None
    size_mm: float = REGION_MM
    size: int | None = None
    subject: str | None = None
    use_patient_id: bool = False
    timepoint: str | None = None
    overlay: bool = False
    on_error: Literal["stop", "skip"] = "stop"
    overwrite: bool = False
    dry_run: bool = False
    detector: Detector | None = None


@dataclass(frozen=True)
class PlateOutcome:
    """What became of one plate: a row for each knee and what deserves a look, or why there is none."""

    path: Path
    knees: tuple[KneeRow, ...] = ()
    notes: tuple[str, ...] = ()
    finding: Finding | None = None


def import_plates(files: Sequence[Path], out: str | Path, options: PlateOptions) -> Iterator[PlateOutcome]:
    """Write the region of each knee of each plate, one plate at a time; `write_table` then lists them.

    Args:
        files: Plates.
        out: Folder for STEM_left.png and STEM_right.png.
        options: See `PlateOptions`.

    Yields:
        One outcome a plate, in order, once its files are complete.

    Raises:
        SettingsError: Options contradict each other, or results would replace each other or a plate.
        ImageError: A plate cannot be used, and `options.on_error` is "stop".
        ManifestError: The sheet lacks its row, and `options.on_error` is "stop".
        OutputError: A file cannot be written, or is of another plate.
    """
    _check_options(files, options)
    named = list(zip(files, plate_stems(files), strict=True))
    out = Path(out)
    _check_results(named, out)
    earlier = read_table(out / TABLE_FILE)
    owners = {row.source: row.plate_sha256 for row in earlier}
    written = {f"{stem}_{side}.png" for _, stem in named for side in SIDES}
    people = [row.subject for row in earlier if row.source not in written]
    keys: dict[tuple[str, str, str], Path] = {}
    for path, stem in named:
        try:
            outcome = _import_plate(path, stem, out, options, owners, keys, people)
            people += [row.subject for row in outcome.knees]
            yield outcome
        except (ImageError, ManifestError) as error:
            if options.on_error == "stop":
                raise
            yield PlateOutcome(path, finding=Finding(str(error)))


def _import_plate(
    path: Path,
    stem: str,
    out: Path,
    options: PlateOptions,
    owners: Mapping[str, str],
    keys: dict[tuple[str, str, str], Path],
    people: Sequence[str],
) -> PlateOutcome:
    require_text_name(path)
    plate = read_plate(path, spacing=options.spacing)
    keypoints = _keypoints(path, plate, options)
    if plate.spacing is None:
        raise ImageError(f"image {path}: regions are cut in mm, but the file states no pixel spacing; give --spacing")
    knees = locate_knees(
        plate, centers=options.centers, side=options.side, keypoints=keypoints, detector=options.detector
    )
    subject, timepoint = _subject(path, stem, plate, keypoints, options), _timepoint(keypoints, options)
    misspelled = subject_findings([subject, *people]).get(subject)
    if misspelled:
        raise ImageError(f"image {path}: subject {misspelled}")
    for knee in knees:
        other = keys.setdefault((subject, timepoint, knee.side), path)
        if other != path:
            raise ImageError(
                f"image {path}: the {knee.side} knee of subject {subject!r} at timepoint {timepoint!r} is taken "
                f"already from {other}; give another timepoint, or leave one of them out"
            )
    digest = file_sha256(file_of(path))
    rows = []
    for knee in knees:
        name = f"{stem}_{knee.side}.png"
        if owners.get(name, digest) != digest and not options.overwrite:
            raise OutputError(
                f"cannot write {out / name}: it holds the region of another plate of that name; choose another folder, "
                "or ask to --overwrite it"
            )
        region = _resized(_filled(knee_region(plate, knee, options.size_mm)), options.size)
        stored, slope, intercept = png_values(region.pixels[0])
        if not options.dry_run:
            write_png(out / name, stored)
        rows.append(
            _row(
                plate,
                knee,
                region,
                options.size_mm,
                subject=subject,
                timepoint=timepoint,
                source=name,
                plate=str(path),
                plate_sha256=digest,
                value_slope=f"{slope:.9g}",
                value_intercept=f"{intercept:.9g}",
            )
        )
    if options.overlay and not options.dry_run:
        write_png(out / f"{stem}_overlay.png", draw_locations(plate, knees, options.size_mm))
    return PlateOutcome(path, tuple(rows), notes_on_plate(plate, knees, options.size_mm))


def _row(image: Image, knee: KneeLocation, region: Image, size_mm: float, **told: str) -> KneeRow:
    """Write down where a region comes from, beside what is told of it."""
    header, spacing = image.header, region.spacing or (0.0, 0.0)
    return KneeRow(
        **told,
        side=knee.side,
        spacing=f"{spacing[0]:.9g} x {spacing[1]:.9g}",
        plate_row=f"{knee.center[0]:.9g}",
        plate_col=f"{knee.center[1]:.9g}",
        center_source=knee.center_source,
        confidence="" if knee.confidence is None else f"{knee.confidence:.4f}",
        side_source=knee.side_source,
        view=header.view,
        mirrored_back=str(int(header.mirrored)),
        spacing_source=header.spacing_source,
        calibration=header.calibration,
        photometric=header.photometric,
        bits_stored=str(header.bits_stored or ""),
        modality=header.modality,
        display=header.display,
        region_mm=f"{size_mm:g}",
        outside=f"{share_outside(image, size_mm, knee.center):.4f}",
    )


def plate_stems(files: Sequence[Path]) -> list[str]:
    """Name the regions of each plate as `result_stems` does, except that dots in a name are no suffix.

    Archives name folders and files by numbers with dots, and files without a suffix.

    Raises:
        SettingsError: Two plates would write the same files.

    Example:
        >>> plate_stems([Path("0.C.2/9/001"), Path("0.C.2/17/001")]), plate_stems([Path("1.2.840.7"), Path("a.nii.gz")])
        (['9_001', '17_001'], ['1-2-840-7', 'a'])
    """
    bare = [path.with_name(_SUFFIX.sub("", path.name).replace("::", "_")).absolute() for path in files]
    return result_stems([Path(path.anchor, *(part.replace(".", "-") for part in path.parts[1:])) for path in bare])


def png_values(pixels: Float32[np.ndarray, "h w"]) -> tuple[UInt16[np.ndarray, "h w"], float, float]:
    """Put pixels into 16 bit: as they are if they are whole numbers of that range, else spread over all of it.

        pixels = slope * stored + intercept, up to half a slope

    Args:
        pixels: Finite.

    Returns:
        Stored values, slope and intercept.

    Example:
        >>> stored, slope, intercept = png_values(np.array([[-1.0, 0.0, 1.0]], np.float32))
        >>> stored.tolist(), round(slope * 65535, 6), intercept
        ([[0, 32768, 65535]], 2.0, -1.0)
    """
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and high <= _LARGEST and bool((pixels == np.rint(pixels)).all()):
        return pixels.astype(np.uint16), 1.0, 0.0
    slope = (high - low) / _LARGEST or 1.0
    return np.rint((pixels.astype(np.float64) - low) / slope).astype(np.uint16), slope, low


def _filled(region: Image) -> Image:
    """Give pixels without a value the region's minimum, "no signal", as `prepare_source` does."""
    missing = np.isnan(region.pixels)
    if missing.all():
        raise ImageError(f"image {region.origin}: the region of the {region.laterality} knee holds padding alone")
    return replace(region, pixels=np.where(missing, np.nanmin(region.pixels), region.pixels))


def _resized(region: Image, size: int | None) -> Image:
    if size is None or region.spacing is None:
        return region
    pixels = resize_source(region.pixels, (size, size))
    return replace(region, pixels=pixels, spacing=resized_spacing(region.spacing, region.shape, pixels.shape))


def _keypoints(path: Path, plate: Image, options: PlateOptions) -> PlateKeypoints | None:
    if options.sheet is None:
        return None
    if options.visit is not None:
        return options.sheet.row_of_visit(*options.visit)
    return options.sheet.row_of(path, plate.header.patient_id)


def _subject(path: Path, stem: str, plate: Image, keypoints: PlateKeypoints | None, options: PlateOptions) -> str:
    if options.use_patient_id:
        subject = plate.header.patient_id
        if not subject:
            raise ImageError(f"image {path}: its subject is to be its PatientID, but it states none; give --subject")
    else:
        subject = options.subject or (stem if keypoints is None else keypoints.patient)
    if "/" in subject:
        raise ImageError(f"image {path}: its subject holds '/', which parts a key; give another --subject")
    return subject


def _timepoint(keypoints: PlateKeypoints | None, options: PlateOptions) -> str:
    return options.timepoint or ("0" if keypoints is None else str(month_number(keypoints.month)))


def _check_options(files: Sequence[Path], options: PlateOptions) -> None:
    """Refuse options that contradict each other or the number of plates."""
    sheet = options.sheet
    if options.centers and sheet:
        raise SettingsError("centers are given both by hand and by a sheet; give one of them")
    if options.visit and not sheet:
        raise SettingsError("--patient and --month choose a row of a sheet, but there is none; give --centers")
    if options.subject and options.use_patient_id:
        raise SettingsError("the subject is given and is to be the PatientID; give one of them")
    alone = {"--right or --left": options.centers, "--patient": options.visit, "--subject": options.subject}
    named = [name for name, value in alone.items() if value]
    if named and len(files) != 1:
        raise SettingsError(f"{named[0]} is about one plate, but there are {len(files)}; run one plate at a time")
    if options.size is not None and not 1 <= options.size <= 8192:
        raise SettingsError(f"the size of regions is {options.size} pixels, but must be from 1 to 8192")
    if not 0 < options.size_mm < math.inf:
        raise SettingsError(f"the size of regions is {options.size_mm} mm, but must be positive")


def _check_results(named: Sequence[tuple[Path, str]], out: Path) -> None:
    """Refuse results that would replace a plate."""
    plates = {path.resolve() for path, _ in named}
    for _, stem in named:
        for ending in ("left", "right", "overlay"):
            if (out / f"{stem}_{ending}.png").resolve() in plates:
                raise SettingsError(
                    f"the result {out / f'{stem}_{ending}.png'} would replace a plate; choose another folder"
                )
