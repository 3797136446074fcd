"""Which knee is where: every source of a center and of a side, and every contradiction between them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plates import pixels_of, write_plate

from mris.errors import ImageError
from mris.images.image import Image
from mris.knee.joint_detector import MIN_CONFIDENCE, JointDetection
from mris.knee.knee_location import LEAST_DISTANCE_MM, locate_knees, notes_on_plate
from mris.knee.oai_sheets import PlateKeypoints
from mris.knee.radiograph import read_plate

BLANK = Image(np.ones((1, 400, 600), np.float32), spacing=(0.5, 0.5), origin="plate")
TWO = (JointDetection((200.0, 130.0), 0.9), JointDetection((210.0, 470.0), 0.8))


def finding(*detections):
    return lambda image: detections


def plate_with(tmp_path, **elements):
    return read_plate(write_plate(tmp_path / "plate.dcm", pixels_of(), **elements))


def sides_and_columns(knees):
    return [(knee.side, knee.center[1]) for knee in knees]


def test_centers_by_hand_keep_their_sides_right_first():
    knees = locate_knees(BLANK, centers={"left": (210, 470), "right": (200, 130)})
    assert sides_and_columns(knees) == [("right", 130), ("left", 470)]
    assert {(knee.center_source, knee.side_source, knee.confidence) for knee in knees} == {("given", "given", None)}


def test_centers_of_a_sheet_keep_their_sides():
    knees = locate_knees(BLANK, keypoints=PlateKeypoints("17", "00_MONTH", right=(200.0, 130.0), left=(210.0, 470.0)))
    assert sides_and_columns(knees) == [("right", 130), ("left", 470)]
    assert {(knee.center_source, knee.side_source) for knee in knees} == {("sheet", "sheet")}


def test_a_sheet_may_have_one_knee_of_two():
    (knee,) = locate_knees(BLANK, keypoints=PlateKeypoints("17", "00_MONTH", right=None, left=(210.0, 470.0)))
    assert knee.side == "left"


def test_two_detected_knees_of_a_frontal_plate_are_told_apart_by_position(tmp_path):
    for plate in (BLANK, plate_with(tmp_path), plate_with(tmp_path, ImageLaterality="B")):
        knees = locate_knees(plate, detector=finding(*TWO[::-1]))
        assert sides_and_columns(knees) == [("right", 130), ("left", 470)]
        assert [knee.confidence for knee in knees] == [0.9, 0.8]
        assert {(knee.center_source, knee.side_source) for knee in knees} == {("detector", "position")}


def test_on_a_mirrored_plate_the_right_knee_stands_at_the_right(tmp_path):
    plate = plate_with(tmp_path, PatientOrientation=["R", "F"])
    assert sides_and_columns(locate_knees(plate, detector=finding(*TWO))) == [("right", 470), ("left", 130)]
    assert len(locate_knees(plate, centers={"right": (210, 470), "left": (200, 130)})) == 2
    with pytest.raises(ImageError, match="PatientOrientation says that this plate is mirrored"):
        locate_knees(plate, centers={"right": (200, 130), "left": (210, 470)})


@pytest.mark.parametrize(("letter", "side"), [("L", "left"), ("R", "right")])
def test_a_single_knee_takes_its_side_from_the_header(tmp_path, letter, side):
    plate = plate_with(tmp_path, ImageLaterality=letter)
    (knee,) = locate_knees(plate, detector=finding(TWO[0]))
    assert (knee.side, knee.side_source) == (side, "header")


def test_a_single_knee_without_a_side_asks_for_it():
    with pytest.raises(ImageError, match="one knee, at row 200, column 130, and its header does not say which; give"):
        locate_knees(BLANK, detector=finding(TWO[0]))
    (knee,) = locate_knees(BLANK, detector=finding(TWO[0]), side="right")
    assert (knee.side, knee.side_source) == ("right", "given")


@pytest.mark.parametrize("side", [None, "left"])
def test_one_knee_found_of_both_that_the_header_names_is_not_given_a_side(tmp_path, side):
    # the other may hold an implant: a side by hand would name a knee that nobody has looked at
    plate = plate_with(tmp_path, ImageLaterality="B")
    with pytest.raises(ImageError, match="shows both knees, but only the one at row 210, column 470 is found"):
        locate_knees(plate, detector=finding(TWO[1]), side=side)
    with pytest.raises(ImageError, match=r"row 200, column 130 is found with a confidence of 0\.20.*or a sheet\)$"):
        locate_knees(plate, detector=finding(dataclasses.replace(TWO[0], confidence=0.2), TWO[1]), side=side)
    (knee,) = locate_knees(plate, centers={"left": (210, 470)})
    assert knee.side == "left"


def test_a_plate_without_a_knee_says_so_and_where_the_likeliest_is():
    nothing = [
        dataclasses.replace(found, confidence=confidence) for found, confidence in zip(TWO, (0.1, 0.2), strict=True)
    ]
    with pytest.raises(ImageError, match="no knee is found for sure: the likeliest, at row 210, column 470, has a"):
        locate_knees(BLANK, detector=finding(*nothing))


def test_a_doubtful_detection_asks_for_a_center_and_names_its_confidence():
    doubtful = JointDetection((200.0, 130.0), MIN_CONFIDENCE - 0.07)
    with pytest.raises(ImageError, match=rf"confidence of {MIN_CONFIDENCE - 0.07:.2f}, below {MIN_CONFIDENCE:.2f}"):
        locate_knees(BLANK, detector=finding(doubtful), side="left")
    with pytest.raises(ImageError, match="--right ROW,COLUMN"):
        locate_knees(BLANK, detector=finding(doubtful, TWO[1]))
    assert locate_knees(BLANK, detector=finding(doubtful), side="left", least_confidence=0.2)


def test_a_weak_second_peak_is_let_go_only_where_one_knee_is_known_to_be_shown(tmp_path):
    weak = JointDetection((210.0, 470.0), 0.2)
    with pytest.raises(ImageError, match="or --side if the plate shows one knee"):
        locate_knees(BLANK, detector=finding(TWO[0], weak))
    for plate, side in ((BLANK, "right"), (plate_with(tmp_path, Laterality="R"), None)):
        (knee,) = locate_knees(plate, detector=finding(TWO[0], weak), side=side)
        assert knee.center == TWO[0].center


def test_a_confidence_that_is_no_number_is_not_believed():
    with pytest.raises(ImageError, match="confidence of nan"):
        locate_knees(BLANK, detector=finding(dataclasses.replace(TWO[0], confidence=float("nan"))), side="left")


@pytest.mark.parametrize("n", [0, 3])
def test_no_knee_and_three_knees_are_refused(n):
    found = [JointDetection((200.0, 100.0 + 190 * i), 0.9) for i in range(n)]
    with pytest.raises(ImageError, match="no knee is located" if n == 0 else "3 knees are found"):
        locate_knees(BLANK, detector=finding(*found))


def test_no_center_at_all_is_no_knee():
    with pytest.raises(ImageError, match="no knee is located"):
        locate_knees(BLANK, keypoints=PlateKeypoints("17", "00_MONTH", None, None))


def test_the_detector_is_not_asked_on_a_side_view_or_without_a_spacing(tmp_path):
    def never(image):
        raise AssertionError("asked")

    with pytest.raises(ImageError, match="the view 'LL', but knees are found on PA and AP views"):
        locate_knees(plate_with(tmp_path, ViewPosition="LL"), detector=never)
    with pytest.raises(ImageError, match="the view 'LATERAL', but"):
        locate_knees(plate_with(tmp_path, ViewPosition=None, PatientOrientation=["P", "F"]), detector=never)
    with pytest.raises(ImageError, match="pixel spacing is unknown"):
        locate_knees(dataclasses.replace(BLANK, spacing=None), detector=never)
    with pytest.raises(AssertionError, match="asked"):
        locate_knees(plate_with(tmp_path, ViewPosition="STANDING"), detector=never)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"centers": {"left": (200, 300)}}, r"header \(ImageLaterality\) says that it shows the right knee alone"),
        ({"detector": finding(*TWO)}, "right and left are located by detector; .*give both centers by hand"),
        (
            {"detector": finding(TWO[0]), "side": "left"},
            r"--side says left, but its header \(ImageLaterality\) says right",
        ),
        (
            {"centers": {"left": (200, 470), "right": (200, 130)}, "side": "left"},
            "--side says that it shows the left knee",
        ),
        ({"centers": {"right": (200, 300)}, "side": "left"}, "--side says that it shows the left knee alone"),
        ({"keypoints": PlateKeypoints("17", "00_MONTH", None, (200.0, 470.0))}, "left is located by sheet"),
    ],
)
def test_what_header_position_and_caller_say_must_agree(tmp_path, arguments, match):
    with pytest.raises(ImageError, match=match):
        locate_knees(plate_with(tmp_path, ImageLaterality="R"), **arguments)


def test_both_centers_by_hand_are_believed_against_a_header_of_one_side_with_a_note(tmp_path):
    # the header often names the side that was examined, and two knees are not one by mistake
    plate = plate_with(tmp_path, ImageLaterality="R")
    knees = locate_knees(plate, centers={"left": (200, 430), "right": (200, 170)})
    assert sides_and_columns(knees) == [("right", 170), ("left", 430)]
    (note,) = notes_on_plate(plate, knees, 140.0)
    assert note == "its header (ImageLaterality) says right alone; both are taken as given"
    with pytest.raises(ImageError, match="swapped"):
        locate_knees(plate, centers={"right": (200, 430), "left": (200, 170)})


@pytest.mark.parametrize(
    "view",
    "OBL OBLIQUE LAO RAO MERCHANT PATELLA SKY SKYLINE TUNNEL LAT AP_LAT PA_OBLIQUE AXIAL LL".split(),  # noqa: SIM905
)
def test_no_side_is_read_from_the_position_of_knees_that_are_not_seen_from_the_front(tmp_path, view):
    with pytest.raises(ImageError, match=f"the view '{view}', but knees are found on PA and AP views"):
        locate_knees(plate_with(tmp_path, ViewPosition=view), detector=finding(*TWO))


@pytest.mark.parametrize(
    ("view", "notes"),
    [
        ("PA", ()),
        ("AP_STANDING", ()),
        (None, ("the view is not stated and taken for frontal",)),
        ("YY", ("the view 'YY' is not known and taken for frontal",)),
    ],
)
def test_a_view_that_is_taken_for_frontal_is_noted(tmp_path, view, notes):
    plate = plate_with(tmp_path, ViewPosition=view)
    inside = [dataclasses.replace(found, center=(200.0, column)) for found, column in zip(TWO, (170, 430), strict=True)]
    assert notes_on_plate(plate, locate_knees(plate, detector=finding(*inside)), 140.0) == notes
    by_hand = locate_knees(plate, centers={"right": (200, 170), "left": (200, 430)})
    assert notes_on_plate(plate, by_hand, 140.0) == ()


def test_centers_by_hand_on_a_view_from_the_side_are_noted(tmp_path):
    plate = plate_with(tmp_path, ViewPosition="LL")
    (note,) = notes_on_plate(plate, locate_knees(plate, centers={"left": (200, 300)}), 140.0)
    assert note == "its header names the view 'LL', but knees are seen on PA and AP views"


def test_a_region_mostly_off_the_plate_is_noted_and_one_a_little_off_is_not(tmp_path):
    plate = plate_with(tmp_path)
    off, on = locate_knees(plate, centers={"right": (50, 50), "left": (200, 430)})
    (note,) = notes_on_plate(plate, (off, on), 140.0)
    assert note.endswith("% of the region of the right knee lies outside the plate; check its center")


def test_one_side_for_a_plate_of_two_knees_is_a_contradiction():
    with pytest.raises(ImageError, match="--side says that it shows the left knee alone, but right and left are"):
        locate_knees(BLANK, detector=finding(*TWO), side="left")


def test_swapped_centers_are_refused_on_a_frontal_plate_and_taken_on_another(tmp_path):
    swapped = {"right": (210.0, 470.0), "left": (200.0, 130.0)}
    with pytest.raises(ImageError, match=r"right knee \(column 470\) stands at the right of the left one"):
        locate_knees(BLANK, centers=swapped)
    assert len(locate_knees(plate_with(tmp_path, ViewPosition="LL"), centers=swapped)) == 2


@pytest.mark.parametrize("center", [(-1.0, 100.0), (400.0, 100.0), (100.0, 600.0), (float("nan"), 100.0)])
def test_a_center_outside_the_plate_is_refused(center):
    with pytest.raises(ImageError, match="is outside its 400 x 600 pixels"):
        locate_knees(BLANK, centers={"left": center})


@settings(deadline=None)
@given(row=st.floats(100, 300), apart=st.floats(0, 150), across=st.floats(1, 300))
def test_two_centers_nearer_than_a_knee_is_wide_are_refused(row, apart, across):
    centers = {"right": (row, 100.0), "left": (row + min(apart, 399 - row), 100.0 + across)}
    distance = np.linalg.norm((np.array(centers["left"]) - centers["right"]) * 0.5)
    if distance < LEAST_DISTANCE_MM:
        with pytest.raises(ImageError, match="mm apart, but two knees are at least"):
            locate_knees(BLANK, centers=centers)
    else:
        assert len(locate_knees(BLANK, centers=centers)) == 2


def test_centers_by_hand_and_by_a_sheet_are_one_too_many():
    with pytest.raises(ImageError, match="both by hand and by a sheet"):
        locate_knees(BLANK, centers={"left": (1, 1)}, keypoints=PlateKeypoints("1", "00_MONTH", None, (1.0, 1.0)))


def test_messages_name_the_file_and_no_patient(tmp_path):
    with pytest.raises(ImageError) as caught:
        locate_knees(plate_with(tmp_path, ImageLaterality="R"), detector=finding(*TWO))
    assert "plate.dcm" in str(caught.value)
    assert not {"Doe", "Jane", "P-17"} & set(str(caught.value).replace("^", " ").split())
