"""`Header`: what the file of a picture says beside its pixels; it rides with the picture."""

from dataclasses import dataclass, field
from typing import Literal

Side = Literal["left", "right"]
"""A side of the patient's body."""

_LUT_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
"""The PresentationLUTShape that goes with each photometric interpretation (PS3.3, C.8.11.1)."""


@dataclass(frozen=True)
class Header:
    """What the file of a picture says beside its pixels; the defaults are those of a file that says nothing.

    Attributes:
        size: Rows and columns, as far as the file says; None if it does not.
        spacing: Row and column spacing in mm at the patient, as far as the file says; None if it does not.
        spacing_source: Where the picture's spacing comes from: "PixelSpacing", "ImagerPixelSpacing",
            "NominalScannedPixelSpacing", "file" (another format), "given" by the caller, or "none"; with
            " / magnification" where it was divided by EstimatedRadiographicMagnificationFactor, and with
            " (magnification not used)" where it may or may not have been corrected for that.
        unusable_spacings: Elements that should hold a spacing, and hold something that is none.
        calibration: PixelSpacingCalibrationType ("GEOMETRY", "FIDUCIAL"), "" where absent.
        photometric: PhotometricInterpretation; MONOCHROME1 is inverted on reading.
        lut_shape: PresentationLUTShape ("IDENTITY", "INVERSE"), "" where absent; it is not applied.
        for_processing: Whether the pixels are meant for a computer, before the processing that people look at
            (PresentationIntentType, or the kind of file).
        bits_stored: BitsStored, 0 where absent.
        signed: Whether PixelRepresentation says that stored values have a sign.
        transfer_syntax: Its name, "" where the file does not say.
        modality: The modality transform, which is applied: "none", "rescale" or "lookup table"; "" where the format has
            none.
        display: The display transform that the file suggests, which is not applied: "none", "window" or
            "lookup table" (VOI); "" likewise.
        sides: Sides the header names; empty if none, both for a picture of both.
        sides_source: The element that names them, "" if none does.
        view: ViewPosition or the view's code in capitals ("PA", "AP", "LL", "OBLIQUE"); without both, "LATERAL" or
            "AXIAL" where rows or columns run between front and back by PatientOrientation; else "".
        row_towards: Side of the patient that lies towards the end of a row (the picture's right edge) by
            PatientOrientation; None where absent or neither left nor right.
        body_part: BodyPartExamined in capitals, "" where absent.
        synthetic: Whether it says that no patient is shown (SyntheticData).
        patient_id: PatientID; for those who ask for it, never for messages.
    """

    size: tuple[int, int] | None = None
    spacing: tuple[float, float] | None = None
    spacing_source: str = "none"
    unusable_spacings: tuple[str, ...] = ()
    calibration: str = ""
    photometric: str = ""
    lut_shape: str = ""
    for_processing: bool = False
    bits_stored: int = 0
    signed: bool = False
    transfer_syntax: str = ""
    modality: Literal["", "none", "rescale", "lookup table"] = ""
    display: Literal["", "none", "window", "lookup table"] = ""
    sides: tuple[Side, ...] = ()
    sides_source: str = ""
    view: str = ""
    row_towards: Side | None = None
    body_part: str = ""
    synthetic: bool = False
    patient_id: str = field(default="", repr=False)

    @property
    def mirrored(self) -> bool:
        """Whether the picture's right edge is the patient's right; it is the left in a picture of a facing patient."""
        return self.row_towards == "right"

    @property
    def notes(self) -> tuple[str, ...]:
        """What deserves a look, since pixels or spacing may not be what they are taken for."""
        notes = [
            f"its {keyword} is no pair of positive numbers and is not used; the spacing is "
            + ("unknown" if self.spacing is None else f"that of {self.spacing_source}")
            for keyword in self.unusable_spacings
        ]
        if self.lut_shape in _LUT_SHAPES.values() and _LUT_SHAPES.get(self.photometric) != self.lut_shape:
            notes.append(
                f"its header is {self.photometric} with PresentationLUTShape {self.lut_shape}, which contradict each "
                "other; the first is believed: check that more signal is brighter"
            )
        if self.for_processing:
            notes.append("its pixels are FOR PROCESSING, before the processing of the pictures that people look at")
        return tuple(notes)
