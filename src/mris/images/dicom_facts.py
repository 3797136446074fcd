"""What the header of a DICOM image says beside its pixels: spacing, side, view, and the transforms it asks for."""

import math
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForProcessing,
)

from mris.images.header import Header, Side
from mris.images.image import Spacing, side_name, usable_spacing

_BOTH = ("b", "both", "bilateral")
_LATERALITY_CODES: dict[str, tuple[Side, ...]] = {
    "24028007": ("right",),
    "7771000": ("left",),
    "51440002": ("right", "left"),
    "G-A100": ("right",),
    "G-A101": ("left",),
    "G-A102": ("right", "left"),
}
"""Right, left, right and left: SNOMED CT, and the older SNOMED RT codes of the same (PS3.16, CID 244)."""

_VIEW_CODES = {"399348003": "AP", "272479007": "PA", "R-10206": "AP", "R-10214": "PA", "R-40888": "PA"}
"""The two frontal views of projection radiography, SNOMED CT and RT (PS3.16, CID 4010)."""

_FOR_PROCESSING = {
    DigitalXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalIntraOralXRayImageStorageForProcessing,
}


def facts_of(dataset: Dataset) -> Header:
    """Collect the facts of a data set; what is missing or has no meaning stays empty.

    Args:
        dataset: With or without its pixels.
    """
    spacing, spacing_source = spacing_and_source(dataset)
    sides_source, sides = next(iter(named_sides(dataset)), ("", ()))
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    return Header(
        size=_size(dataset),
        spacing=spacing,
        spacing_source=spacing_source,
        unusable_spacings=_unusable_spacings(dataset),
        calibration=_text(dataset, "PixelSpacingCalibrationType"),
        photometric=_text(dataset, "PhotometricInterpretation"),
        lut_shape=_text(dataset, "PresentationLUTShape").upper(),
        for_processing=_text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING"
        or dataset.get("SOPClassUID") in _FOR_PROCESSING,
        bits_stored=int(number(dataset.get("BitsStored")) or 0),
        signed=bool(dataset.get("PixelRepresentation")),
        transfer_syntax=syntax.name if isinstance(syntax, UID) else "",
        modality=_modality(dataset),
        display=_display(dataset),
        sides=sides,
        sides_source=sides_source,
        view=_view(dataset),
        row_towards=_row_towards(dataset),
        body_part=_text(dataset, "BodyPartExamined").upper(),
        synthetic=_text(dataset, "SyntheticData").upper() == "YES",
        patient_id=_text(dataset, "PatientID"),
    )


def spacing_and_source(dataset: Dataset) -> tuple[Spacing | None, str]:
    """Return the spacing at the patient in mm, as far as the file says, and which element it comes from.

    PixelSpacing first. A PixelSpacing without a PixelSpacingCalibrationType that repeats ImagerPixelSpacing or
    NominalScannedPixelSpacing is at the detector (PS3.3, 10.7.1.1); as ImagerPixelSpacing always is. There, the patient
    is smaller by EstimatedRadiographicMagnificationFactor where that is given. Without these three elements "it cannot
    be determined whether or not correction or calibration have been performed": PixelSpacing, by its definition a
    distance in the patient, is then taken as it is, and a factor that is not used is told.
    """
    pixel = usable_spacing(find(dataset, "PixelSpacing"))
    imager = usable_spacing(dataset.get("ImagerPixelSpacing"))
    scanned = usable_spacing(dataset.get("NominalScannedPixelSpacing"))
    magnification = number(dataset.get("EstimatedRadiographicMagnificationFactor"))
    if magnification is None or magnification <= 0 or magnification == 1:
        magnification = None
    calibrated = bool(_text(dataset, "PixelSpacingCalibrationType"))
    if pixel is not None and (calibrated or pixel not in (imager, scanned)):
        undecided = not calibrated and imager is None and scanned is None and magnification is not None
        return pixel, "PixelSpacing" + (" (magnification not used)" if undecided else "")
    spacing, source = (pixel, "PixelSpacing") if pixel is not None else (imager, "ImagerPixelSpacing")
    if spacing is None:
        return scanned, "none" if scanned is None else "NominalScannedPixelSpacing"
    if magnification is None:
        return spacing, source
    return usable_spacing([value / magnification for value in spacing]), f"{source} / magnification"


def _size(dataset: Dataset) -> tuple[int, int] | None:
    rows, columns = number(dataset.get("Rows")), number(dataset.get("Columns"))
    return (int(rows), int(columns)) if rows and columns else None


def _unusable_spacings(dataset: Dataset) -> tuple[str, ...]:
    found = {
        "PixelSpacing": find(dataset, "PixelSpacing"),
        "ImagerPixelSpacing": dataset.get("ImagerPixelSpacing"),
        "NominalScannedPixelSpacing": dataset.get("NominalScannedPixelSpacing"),
    }
    return tuple(
        keyword for keyword, value in found.items() if str(value or "").strip() and usable_spacing(value) is None
    )


def named_sides(dataset: Dataset) -> list[tuple[str, tuple[Side, ...]]]:
    """Return every element that names sides, with these; the element nearest to the picture first."""
    found: list[tuple[str, tuple[Side, ...]]] = [
        (keyword, _sides_of_text(_plain(find(dataset, keyword))))
        for keyword in ("ImageLaterality", "FrameLaterality", "Laterality")
    ]
    for region in _items(dataset, "AnatomicRegionSequence"):
        modifiers = _items(region, "AnatomicRegionModifierSequence")
        named = {side for one in modifiers for side in _LATERALITY_CODES.get(_text(one, "CodeValue"), ())}
        found.append(("AnatomicRegionModifierSequence", tuple(sorted(named, reverse=True))))
    return [(keyword, sides) for keyword, sides in found if sides]


def is_upside_down(dataset: Dataset) -> bool:
    """Whether columns run towards the head by PatientOrientation, which they do in no picture that stands upright."""
    return _directions(dataset)[1:] == ["H"]


def rescale(dataset: Dataset) -> tuple[float, float]:
    """Return slope and intercept of the modality transform, 1 and 0 where there is none."""
    slope, intercept = number(find(dataset, "RescaleSlope")), number(find(dataset, "RescaleIntercept"))
    # A slope of 0 would erase the image; it is a known fault of exporters and means "none".
    return slope or 1.0, intercept or 0.0


def find(dataset: Dataset, keyword: str) -> Any:
    """Look an element up in the data set, then in the functional groups of an enhanced image's only frame."""
    if keyword in dataset:
        return dataset[keyword].value
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in _items(dataset, groups):
            for element in item:
                if element.VR == "SQ" and element.value and keyword in element.value[0]:
                    return element.value[0][keyword].value
    return None


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else."""
    try:
        converted = float(value)
    except (TypeError, ValueError):
        return None
    return converted if math.isfinite(converted) else None


def _modality(dataset: Dataset) -> Literal["none", "rescale", "lookup table"]:
    if dataset.get("ModalityLUTSequence"):
        return "lookup table"
    return "none" if rescale(dataset) == (1.0, 0.0) else "rescale"


def _display(dataset: Dataset) -> Literal["none", "window", "lookup table"]:
    if dataset.get("VOILUTSequence"):
        return "lookup table"
    return "none" if find(dataset, "WindowCenter") in (None, "") else "window"


def _sides_of_text(text: str) -> tuple[Side, ...]:
    if text.casefold() in _BOTH:
        return "right", "left"
    match side_name(text):
        case "left":
            return ("left",)
        case "right":
            return ("right",)
    return ()


def _view(dataset: Dataset) -> str:
    view = _text(dataset, "ViewPosition").upper()
    if view:
        return view
    for item in _items(dataset, "ViewCodeSequence"):
        coded = _VIEW_CODES.get(_text(item, "CodeValue")) or _text(item, "CodeMeaning").upper()
        if coded:
            return coded
    named = zip(("LATERAL", "AXIAL"), _directions(dataset), strict=False)
    return next((view for view, direction in named if direction in ("A", "P")), "")


def _row_towards(dataset: Dataset) -> Side | None:
    first = next(iter(_directions(dataset)), "")
    return {"L": "left", "R": "right"}.get(first)  # type: ignore[return-value]


def _directions(dataset: Dataset) -> list[str]:
    """Main direction of rows and of columns by PatientOrientation, a capital each."""
    value = dataset.get("PatientOrientation")
    directions = [value] if isinstance(value, str) else list(value or ())
    return [str(direction).strip().upper()[:1] for direction in directions]


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    value = dataset.get(keyword)
    return list(value) if isinstance(value, Sequence) else []


def _text(dataset: Dataset, keyword: str) -> str:
    return _plain(dataset.get(keyword))


def _plain(value: Any) -> str:
    """Return an element's text without control characters, "" for what is absent or has several values."""
    text = str(value) if isinstance(value, str | int | float) else ""
    return "".join(sign for sign in text if sign.isprintable()).strip()
