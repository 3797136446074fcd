"""Objects for the archive: a Secondary Capture to look at and a Parametric Map that holds the values.

Both stand in the source's study, refer to the source, and say that they are synthesized, not measured.

A flattened map has no place in the patient. The Parametric Map must state a position and an orientation all the same,
so it states them in a frame of reference of its own, shared by the maps of one bundle and by nothing else.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID

import mris
from mris.serving.capture_picture import WARNING, capture_pixels
from mris.serving.dicom_source import PATIENT_AND_STUDY, DerivedFrom, SourceHeader
from mris.serving.pictures import Look, note_on, value_limits
from mris.synthesis.synthesis import Synthesis

CAPTURE_SERIES, MAP_SERIES = 9101, 9102
"""Series numbers of the Secondary Capture and the Parametric Map."""

_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"
_UNITS = {"mm": Code("mm", "UCUM", "millimeter")}
_MANUFACTURER = "mris"
_CAVEAT = (
    "Synthesized, not measured: a weighted mean of maps of a database, chosen by the likeness of their embeddings to "
    "the source's. For research, not for diagnosis. The map is flattened and has no patient geometry: position, "
    "orientation and frame of reference are those of the atlas, and lengths and areas are not those of the body."
)


def content_uid(*parts: object) -> UID:
    """A UID that depends on the parts alone: equal parts, equal UID (2.25 and a UUID, as PS3.5 B.2 allows).

    Example:
        >>> content_uid("a", 1) == content_uid("a", 1) != content_uid("a", 2)
        True
    """
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")


def parametric_map(synthesis: Synthesis, derived: DerivedFrom) -> Dataset:
    """Make the Parametric Map: one float32 frame a region, in the unit, stored value = real value.

    Where the synthesis has intervals, a frame a region with their lower ends follows, and one with their upper ends.

    Where the map has no value the frame holds NaN, and FloatPixelPaddingValue says so: a reader that does not know
    padding then computes NaN, not a wrong mean.

    Args:
        synthesis: What to store.
        derived: Its source.

    Returns:
        The object, ready to be saved.
    """
    import highdicom

    spacing = synthesis.spacing or (1.0, 1.0)
    series = _series_uid("map", synthesis, derived)
    least, largest = value_limits(synthesis.image)
    frames = _frames(synthesis)
    pixels = np.stack([frame.values for frame in frames])
    names = [frame.name for frame in frames]
    made: Any = highdicom.pm.ParametricMap(
        [_template(synthesis, derived)],
        np.moveaxis(pixels, 0, -1)[np.newaxis],
        series_instance_uid=series,
        series_number=MAP_SERIES,
        sop_instance_uid=content_uid(series, _sha256(pixels)),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name="mris",
        software_versions=mris.__version__,
        device_serial_number=(synthesis.bundle_id or "none")[:64],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            [_mapping(label, frame, synthesis.unit)] for label, frame in zip(_labels(names), frames, strict=True)
        ],
        pixel_measures=highdicom.PixelMeasuresSequence(spacing, 1.0),
        plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
        plane_positions=[highdicom.PlanePositionSequence("PATIENT", (0.0, 0.0, 0.0))],
        voi_lut_transformations=[
            highdicom.VOILUTTransformation(
                window_center=(least + largest) / 2, window_width=largest - least, voi_lut_function="LINEAR_EXACT"
            )
        ],
        content_label="SYNTHESIZED_MAP",
        content_description="Synthesized, not measured; no patient geometry",
        content_qualification="RESEARCH",
    )
    made.FloatPixelPaddingValue = float("nan")
    made.FloatPixelPaddingRangeLimit = float("nan")
    _index_frames_by_name(made, names)
    _finish(made, synthesis, derived, "Synthesized map (not measured)")
    _add_anatomy(made, derived)
    return cast(Dataset, made)


def secondary_capture(
    synthesis: Synthesis,
    derived: DerivedFrom,
    neighbor_maps: Sequence[Float32[np.ndarray, "m r h w"]],
    *,
    picture_source: Float32[np.ndarray, "c h w"] | None = None,
    look: Look | None = None,
) -> Dataset:
    """Make the Secondary Capture: maps, color bars, spread and a strip of neighbors as a color picture.

    Args:
        synthesis: What to draw.
        derived: Its source.
        neighbor_maps: For each contribution its neighbors' targets, as `BatchSynthesizer.neighbor_maps` gives them.
        picture_source: The prepared source, drawn beside the maps; left out if None.
        look: Colors and edges; this picture's own if None.

    Returns:
        The object, ready to be saved.
    """
    import highdicom

    pixels = capture_pixels(
        synthesis,
        neighbor_maps,
        caption=_caption(synthesis, derived),
        source=picture_source,
        source_title="source, mirrored" if derived.mirrored else "source",
        look=look,
    )
    series = _series_uid("capture", synthesis, derived)
    made: Any = highdicom.sc.SCImage.from_ref_dataset(
        _template(synthesis, derived),
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series,
        series_number=CAPTURE_SERIES,
        sop_instance_uid=content_uid(series, _sha256(pixels), _sha256(synthesis.image)),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        manufacturer_model_name="mris",
        software_versions=mris.__version__,
    )
    made.ConversionType = "SYN"
    made.PatientOrientation = None  # a picture of flattened maps has none; the element itself is required
    for keyword in PATIENT_AND_STUDY:
        if keyword in derived.source.patient_and_study:
            made[keyword] = derived.source.patient_and_study[keyword]
    made.DateOfSecondaryCapture = derived.created.strftime("%Y%m%d")
    made.TimeOfSecondaryCapture = derived.created.strftime("%H%M%S")
    burned_in = "NO" if picture_source is None else derived.source.burned_in
    if burned_in:  # a source that does not say leaves it unsaid: letters may be burnt into a radiograph
        made.BurnedInAnnotation = burned_in
    made.LossyImageCompression = "00"
    made.SourceImageSequence = [_reference(derived.source)]
    made.ReferencedSeriesSequence = [_series_reference(derived.source)]
    _finish(made, synthesis, derived, "Synthesized map, picture (not measured)")
    return cast(Dataset, made)


def _template(synthesis: Synthesis, derived: DerivedFrom) -> Dataset:
    """Patient and study with the geometry of the atlas: what highdicom takes for the source of the pixels."""
    template = Dataset()
    template.update(derived.source.patient_and_study)
    template.SOPClassUID = _X_RAY  # any class highdicom knows; `_finish` puts in that of the source
    template.SOPInstanceUID = derived.source.sop_instance_uid
    template.SeriesInstanceUID = derived.source.series_instance_uid
    template.Rows, template.Columns = synthesis.image.shape[1:]
    template.FrameOfReferenceUID = content_uid("atlas", synthesis.bundle_id, synthesis.regions, synthesis.image.shape)
    template.PositionReferenceIndicator = ""
    template.ImageOrientationPatient, template.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    template.PixelSpacing, template.SliceThickness = list(synthesis.spacing or (1.0, 1.0)), 1.0
    return template


def _finish(made: Any, synthesis: Synthesis, derived: DerivedFrom, description: str) -> None:
    """Say what the object is and of what, and make it depend on its content and `created` alone."""
    day, time = derived.created.strftime("%Y%m%d"), derived.created.strftime("%H%M%S")
    made.SpecificCharacterSet = "ISO_IR 192"
    made.InstanceCreationDate = made.ContentDate = day
    made.InstanceCreationTime = made.ContentTime = time
    made.SeriesDescription = description
    if synthesis.origin == "simulated":
        made.SyntheticData = "YES"
    made.Laterality = {"left": "L", "right": "R"}.get(derived.side or "", "")
    if derived.source.body_part:
        made.BodyPartExamined = derived.source.body_part
    made.DerivationDescription = f"{WARNING.capitalize()}: {_caption(synthesis, derived)}"[:1024]
    made.ImageComments = f"{_CAVEAT}{_spacing_note(synthesis)} {_caption(synthesis, derived)}"[:10240]
    made.ContributingEquipmentSequence = [_equipment(derived)]
    for item in _items(made):
        if item.get("ReferencedSOPInstanceUID") == derived.source.sop_instance_uid:
            item.ReferencedSOPClassUID = derived.source.sop_class_uid
            if "SpatialLocationsPreserved" in item:
                item.SpatialLocationsPreserved = "NO"


def _caption(synthesis: Synthesis, derived: DerivedFrom) -> str:
    parts = [f"{', '.join(synthesis.regions)} in {synthesis.unit}", *filter(None, (note_on(synthesis),))]
    if derived.side:
        parts.append(f"{derived.side} side" + (", map mirrored" if synthesis.mirrored else ""))
    if synthesis.level is not None:
        parts.append(
            f"frames of lower and upper ends hold {100 * synthesis.level:g} % of a new person's pixels on average"
        )
    parts += dict.fromkeys(part.readout.describe(part.n_neighbors) for part in synthesis.contributions)
    parts.append(f"mris {mris.__version__}, bundle {(synthesis.bundle_id or 'none')[:16]}")
    return "; ".join(parts)


def _spacing_note(synthesis: Synthesis) -> str:
    if synthesis.spacing is not None:
        return ""
    return " The size of the map's pixels is not known: Pixel Spacing counts pixels, not mm."


class _Frame(NamedTuple):
    """A frame of the Parametric Map: its name, what it holds, in words, and its values."""

    name: str
    told: str
    values: Float32[np.ndarray, "h w"]


def _frames(synthesis: Synthesis) -> list[_Frame]:
    unit, level = synthesis.unit, synthesis.level
    frames = [
        _Frame(region, f"{region} ({unit}), synthesized", values)
        for region, values in zip(synthesis.regions, synthesis.image, strict=True)
    ]
    if synthesis.lower is None or synthesis.upper is None or level is None:
        return frames
    for end, maps in (("lower", synthesis.lower), ("upper", synthesis.upper)):
        told = f"({unit}), {end} end of {100 * level:g} % interval"
        frames += [
            _Frame(f"{region} {end}", f"{region[: 63 - len(told)]} {told}", values)
            for region, values in zip(synthesis.regions, maps, strict=True)
        ]
    return frames


def _mapping(label: str, frame: _Frame, unit: str) -> Any:
    import highdicom

    least, largest = value_limits(frame.values)
    code = _UNITS.get(unit) or Code("{" + unit[:14] + "}", "UCUM", unit[:64])
    return highdicom.pm.RealWorldValueMapping(
        lut_label=label,
        lut_explanation=frame.told[:64],
        unit=code,
        value_range=(least, largest),
        slope=1.0,
        intercept=0.0,
    )


def _labels(names: Sequence[str]) -> list[str]:
    """A name of at most 16 characters a frame, all different."""
    short = [name[:16] for name in names]
    return short if len(set(short)) == len(short) else [f"{name[:12]} {i}" for i, name in enumerate(short, 1)]


def _index_frames_by_name(made: Any, names: Sequence[str]) -> None:
    # All frames lie in the same plane, so their position does not tell them apart; the mapping's label does.
    organization = content_uid("dimensions", made.SOPInstanceUID)
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    index = Dataset()
    index.DimensionOrganizationUID = organization
    index.DimensionIndexPointer = Tag("LUTLabel")
    index.FunctionalGroupPointer = Tag("RealWorldValueMappingSequence")
    index.DimensionDescriptionLabel = "Region"
    made.DimensionIndexSequence = [index]
    groups = made.PerFrameFunctionalGroupsSequence
    for number, (group, name) in enumerate(zip(groups, names, strict=True), 1):
        group.FrameContentSequence[0].DimensionIndexValues = [number]
        group.FrameContentSequence[0].FrameLabel = name[:64]


def _add_anatomy(made: Any, derived: DerivedFrom) -> None:
    anatomy = derived.anatomy
    if not anatomy.body_part or derived.source.body_part.upper() != anatomy.body_part:
        return  # the macro needs a code, and none is guessed
    frame = Dataset()
    frame.FrameLaterality = {"left": "L", "right": "R"}.get(derived.side or "", "U")
    frame.AnatomicRegionSequence = [_code_item(Code(*anatomy.code))]
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [frame]
    del made.Laterality  # the series may not name a side where its frames do


def _reference(source: SourceHeader) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    item.SpatialLocationsPreserved = "NO"
    item.PurposeOfReferenceCodeSequence = [_code_item(codes.DCM.SourceImageForImageProcessingOperation)]
    return item


def _series_reference(source: SourceHeader) -> Dataset:
    instance, series = Dataset(), Dataset()
    instance.ReferencedSOPClassUID = source.sop_class_uid
    instance.ReferencedSOPInstanceUID = source.sop_instance_uid
    series.SeriesInstanceUID = source.series_instance_uid
    series.ReferencedInstanceSequence = [instance]
    return series


def _equipment(derived: DerivedFrom) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code_item(codes.DCM.ProcessingEquipment)]
    item.Manufacturer = _MANUFACTURER
    item.ManufacturerModelName = "mris"
    item.SoftwareVersions = mris.__version__
    item.ContributionDateTime = derived.created.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = "Synthesized the map from neighbors; it was not measured"
    return item


def _code_item(code: Any) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _series_uid(kind: str, synthesis: Synthesis, derived: DerivedFrom) -> UID:
    """One series an object: source, side, bundle, settings and the state of the databases decide which."""
    states = [(part.fingerprint, part.database_version) for part in synthesis.contributions]
    return content_uid(
        kind,
        derived.source.study_instance_uid,
        derived.source.sop_instance_uid,
        derived.side,
        synthesis.bundle_id,
        [part.readout for part in synthesis.contributions],
        synthesis.excluded_subject,
        states,
    )


def _items(dataset: Dataset) -> Iterable[Dataset]:
    """All items of all sequences."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
