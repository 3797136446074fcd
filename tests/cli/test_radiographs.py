"""``mris radiograph``: plates in, one picture a knee and a table out."""

import csv
from pathlib import Path

import numpy as np
import pytest
from tests.plates import pixels_of, write_plate

from mris.images.write import write_png
from mris.knee.joint_detector import JointDetection
from mris.knee.phantom.plate import PhantomPlate, compose_plate
from mris.knee.phantom.simulate import simulate_subject

HAND = ["--right", "200,140", "--left", "210,460", "--quiet"]


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return write_plate(tmp_path / "plate.dcm", pixels_of())


@pytest.fixture
def detections(monkeypatch: pytest.MonkeyPatch) -> list[JointDetection]:
    """What the detector finds in this test."""
    found = [JointDetection((200.0, 140.0), 0.9), JointDetection((210.0, 460.0), 0.8)]
    monkeypatch.setattr("mris.knee.joint_detector.detect_joints", lambda plate: tuple(found))
    return found


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "radiographs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_centers_by_hand_give_two_regions_a_table_and_a_picture(run_cli, plate: Path, tmp_path: Path) -> None:
    outcome = run_cli("radiograph", plate, "--out", tmp_path / "out", *HAND, "--overlay", "--subject", "S1")
    assert outcome.code == 0, outcome
    assert "2 knees of 1 plate, 0 of 1 skipped" in outcome.out
    assert [(row["subject"], row["side"], row["source"]) for row in table(tmp_path / "out")] == [
        ("S1", "right", "plate_right.png"),
        ("S1", "left", "plate_left.png"),
    ]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["plate_left.png", "plate_overlay.png", "plate_right.png", "radiographs.csv"]


def test_the_detector_is_asked_by_default_and_what_is_assumed_is_said(
    run_cli, detections, plate: Path, tmp_path: Path
) -> None:
    viewless = write_plate(tmp_path / "viewless.dcm", pixels_of(seed=1), ViewPosition=None)
    outcome = run_cli("radiograph", plate, viewless, "--out", tmp_path / "out", "--quiet")
    assert (outcome.code, len(table(tmp_path / "out"))) == (0, 4)
    first, second = outcome.out.splitlines()[:2]
    assert "right at 200,140 (detector, confidence 0.90)" in first
    assert "not stated" not in first
    assert "the view is not stated and taken for frontal" in second


def test_what_deserves_a_look_is_said_of_each_plate(run_cli, plate: Path, tmp_path: Path) -> None:
    off = run_cli("radiograph", plate, "--out", tmp_path / "out", "--right", "100,40", "--quiet").out.splitlines()[0]
    assert "of the region of the right knee lies outside the plate; check its center" in off
    side = write_plate(tmp_path / "side.dcm", pixels_of(), ViewPosition="LL")
    line = run_cli("radiograph", side, "--out", tmp_path / "out", "--left", "200,300", "--quiet").out.splitlines()[0]
    assert "its header names the view 'LL', but knees are seen on PA and AP views" in line


def test_a_doubted_knee_is_refused_or_skipped_and_counted(
    run_cli, refused, detections, plate: Path, tmp_path: Path
) -> None:
    detections[1] = JointDetection((210.0, 460.0), 0.3)
    assert "confidence of 0.30" in refused("radiograph", plate, "--out", tmp_path / "out", "--quiet")
    assert "no plate could be used" in refused(
        "radiograph", plate, "--out", tmp_path / "out", "--quiet", "--on-error", "skip"
    )
    single = write_plate(tmp_path / "single.dcm", pixels_of(seed=1), Laterality="R")
    outcome = run_cli("radiograph", plate, single, "--out", tmp_path / "out", "--quiet", "--on-error", "skip")
    assert outcome.code == 0
    assert "1 knee of 1 plate, 1 of 2 skipped" in outcome.out
    assert "skipped: image" in outcome.err
    assert [row["side"] for row in table(tmp_path / "out")] == ["right"]


@pytest.mark.parametrize("row_towards", ["L", "R"])
def test_a_plate_that_says_it_is_upside_down_is_cut_by_no_command(
    refused, tiny_bundle: Path, tmp_path: Path, row_towards: str
) -> None:
    path = write_plate(tmp_path / "turned.dcm", pixels_of(), PatientOrientation=[row_towards, "H"])
    centers = ("--right", "200,140", "--left", "210,460", "--quiet")
    (tmp_path / "manifest.csv").write_text(f"subject,timepoint,source,target\nA,0,{path},{path}\n")
    for command in (
        ("radiograph", path, "--out", tmp_path / "out", *centers),
        ("synthesize", tiny_bundle, path, "--out", tmp_path / "out", *centers),
        ("prepare", tmp_path / "manifest.csv", tmp_path / "cohort", "--fractions", "train=1", "--quiet"),
    ):
        message = refused(*command)
        assert "turned.dcm: its header (PatientOrientation) says that the picture is upside down" in message


def test_a_sheet_of_centers_that_is_refused_is_called_a_sheet(refused, plate: Path, tmp_path: Path) -> None:
    for content, reason in (
        (b"", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a,a\n1,2\n", "the column 'a' twice"),
    ):
        (tmp_path / "centers.csv").write_bytes(content)
        message = refused("radiograph", plate, "--centers", tmp_path / "centers.csv", "--out", tmp_path / "out")
        assert message.startswith("mris: sheet ") and reason in message and "manifest" not in message


def test_a_sheet_is_read_by_patient_and_month(run_cli, plate: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "xray_keypoints.csv"
    sheet.write_text('patient_id,month,keypoint_right,keypoint_left\n9000798,12_MONTH,"[140, 200]","[460, 210]"\n')
    chosen = ["--centers", sheet, "--patient", "9000798", "--month", "12", "--quiet"]
    assert run_cli("radiograph", plate, "--out", tmp_path / "out", *chosen).code == 0
    rows = table(tmp_path / "out")
    assert [(row["subject"], row["timepoint"], row["plate_row"], row["plate_col"]) for row in rows] == [
        ("9000798", "12", "200", "140"),
        ("9000798", "12", "210", "460"),
    ]


def test_a_dry_run_says_what_would_be_done(run_cli, detections, plate: Path, tmp_path: Path) -> None:
    outcome = run_cli("radiograph", plate, "--out", tmp_path / "out", "--dry-run", "--quiet")
    assert outcome.code == 0
    assert "nothing is written" in outcome.out
    assert not (tmp_path / "out").exists()


def test_prepared_regions_are_what_prepare_makes_of_the_plate(run_cli, plate: Path, tmp_path: Path) -> None:
    """The table, with targets, prepares the same cohort as the plates with centers do."""
    import lance

    out = tmp_path / "out"
    assert run_cli("radiograph", plate, "--out", out, *HAND).code == 0
    np.save(tmp_path / "target.npy", np.arange(64.0).reshape(8, 8))
    cut, whole = [["subject,timepoint,side,source,spacing,target,split"] for _ in range(2)]
    whole[0] += ",center_row,center_col"
    for n in range(2):
        for row in table(out):
            key = f"S{n},0,{row['side']}"
            split = ("train", "test")[n]
            cut.append(f"{key},{out / row['source']},{row['spacing']},{tmp_path / 'target.npy'},{split}")
            where = f"{row['plate_row']},{row['plate_col']}"
            whole.append(f"{key},{plate},,{tmp_path / 'target.npy'},{split},{where}")
    tables = []
    for name, lines, further in (("cut", cut, []), ("whole", whole, ["--region-mm", 140])):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        options = ["--size", 32, "--target-size", 8, "--mirror", "right", "--workers", 1, "--quiet", *further]
        outcome = run_cli("prepare", tmp_path / f"{name}.csv", tmp_path / name, *options)
        assert outcome.code == 0, outcome
        dataset = lance.dataset(str(tmp_path / name / "pairs.lance"))
        tables.append(dataset.to_table(["key", "side", "source"]))
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--right", "abc"], "give ROW,COLUMN"),
        (["--right", "1,2,3"], "give ROW,COLUMN"),
        (["--patient", "9"], "give both"),
        (["--patient", "9", "--month", "12"], "choose a row of a sheet"),
        (["--right", "200,460", "--left", "210,140"], "are the centers swapped?"),
        (["--right", "900,140"], "outside its 400 x 600 pixels"),
        (["--right", "200,140", "--side", "left"], "--side says"),
        (["--centers", "absent.csv"], "no such file"),
        (["--right", "200,140", "--size-mm", "-3"], "must be positive"),
    ],
)
def test_what_cannot_be_costs_one_line_and_leaves_nothing(
    refused, plate: Path, tmp_path: Path, arguments, match
) -> None:
    assert match in refused("radiograph", plate, "--out", tmp_path / "out", *arguments, "--quiet")
    assert not (tmp_path / "out").exists()


def test_a_picture_needs_its_spacing(refused, run_cli, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", pixels_of())
    assert "give --spacing" in refused("radiograph", tmp_path / "a.png", "--out", tmp_path / "out", *HAND)
    assert run_cli("radiograph", tmp_path / "a.png", "--out", tmp_path / "out", *HAND, "--spacing", "0.5").code == 0


def test_messages_and_results_name_no_patient(run_cli, detections, plate: Path, tmp_path: Path) -> None:
    outcome = run_cli("radiograph", plate, "--out", tmp_path / "out", "--overlay", "--quiet")
    text = outcome.out + outcome.err + (tmp_path / "out" / "radiographs.csv").read_text()
    assert "Doe" not in text
    assert "P-17" not in text


@pytest.fixture(scope="module")
def phantom_plate() -> PhantomPlate:
    rng = np.random.default_rng(0)
    visits = {visit.state.knee.side: visit.radiograph for visit in simulate_subject(0, 3, size=64, max_visits=1)}
    centers = {"right": (260.0, 160.0), "left": (270.0, 460.0)}
    return compose_plate(visits["right"], visits["left"], spacing_mm=0.7, shape=(520, 620), centers=centers, rng=rng)


def test_the_shipped_detector_finds_the_knees_of_a_digital_plate_in_either_photometric(
    run_cli, phantom_plate: PhantomPlate, tmp_path: Path
) -> None:
    pixels = phantom_plate.pixels
    write_plate(tmp_path / "a.dcm", pixels, ImagerPixelSpacing=[0.7, 0.7])
    write_plate(
        tmp_path / "b.dcm", 65535 - pixels, ImagerPixelSpacing=[0.7, 0.7], PhotometricInterpretation="MONOCHROME1"
    )
    outcome = run_cli("radiograph", tmp_path / "a.dcm", tmp_path / "b.dcm", "--out", tmp_path / "out", "--quiet")
    assert outcome.code == 0, outcome
    rows = table(tmp_path / "out")
    assert [row["side"] for row in rows] == ["right", "left"] * 2
    for row in rows:
        center = np.array([float(row["plate_row"]), float(row["plate_col"])])
        assert np.linalg.norm(center - phantom_plate.centers[row["side"]]) * 0.7 < 15  # mm


def test_a_plate_without_a_knee_is_refused_by_the_shipped_detector(refused, tmp_path: Path) -> None:
    path = write_plate(tmp_path / "noise.dcm", pixels_of((520, 620)), ImagerPixelSpacing=[0.7, 0.7])
    message = refused("radiograph", path, "--out", tmp_path / "out", "--quiet")
    assert "confidence" in message
    assert "--right ROW,COLUMN" in message
