import csv
import dataclasses
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.plates import pixels_of, write_plate

from mris.cohort.manifest import read_manifest
from mris.errors import ImageError, ManifestError, OutputError, SettingsError
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation, prepare_source, share_outside
from mris.images.write import write_png
from mris.knee.center_sheet import read_center_sheet
from mris.knee.joint_detector import JointDetection
from mris.knee.plate_picture import draw_locations
from mris.knee.radiograph import KneeLocation, read_plate
from mris.knee.radiograph_files import PlateOptions, import_plates, png_values
from mris.knee.region_table import COLUMNS, TABLE_FILE, read_table, write_table

TWO = {"right": (200.0, 140.0), "left": (210.0, 460.0)}


def both(image):
    return JointDetection(TWO["right"], 0.9), JointDetection(TWO["left"], 0.8)


DETECTED = PlateOptions(detector=both)


@pytest.fixture
def plate_file(tmp_path):
    return write_plate(tmp_path / "plate.dcm", pixels_of())


def sheet(folder, *rows, columns="patient_id,month,keypoint_right,keypoint_left"):
    path = folder / "centers.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    return read_center_sheet(path)


def test_each_knee_becomes_a_picture_and_a_row(plate_file, tmp_path):
    out = tmp_path / "out"
    (outcome,) = import_plates([plate_file], out, PlateOptions(centers=TWO))
    assert [(row.subject, row.timepoint, row.side, row.source) for row in outcome.knees] == [
        ("plate", "0", "right", "plate_right.png"),
        ("plate", "0", "left", "plate_left.png"),
    ]
    assert write_table(out, outcome.knees) == 0
    assert read_table(out / TABLE_FILE) == outcome.knees
    for row in outcome.knees:
        region = read_image(out / row.source, spacing=(0.5, 0.5))
        whole = read_image(plate_file)
        settings = SourcePreparation((96, 96), mirror_sides=("right",))
        expected = prepare_source(
            whole, dataclasses.replace(settings, region_mm=140.0), side=row.side, center=TWO[row.side]
        )
        np.testing.assert_array_equal(prepare_source(region, settings, side=row.side), expected)


def test_the_table_is_a_manifest_once_it_has_targets(plate_file, tmp_path):
    out = tmp_path / "out"
    rows = [row for outcome in import_plates([plate_file], out, DETECTED) for row in outcome.knees]
    write_table(out, rows)
    with (out / TABLE_FILE).open(newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:
        np.save(out / f"{row['side']}.npy", np.ones((4, 4)))
        row["target"] = f"{row['side']}.npy"
    with (out / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "target"])
        writer.writeheader()
        writer.writerows(table)
    manifest = read_manifest(out / "pairs.csv")
    manifest.require_sound()
    assert [(row.key, row.spacing, row.center) for row in manifest.rows] == [
        ("plate/0/right", (0.5, 0.5), None),
        ("plate/0/left", (0.5, 0.5), None),
    ]


def test_a_row_tells_where_everything_comes_from(tmp_path):
    path = write_plate(
        tmp_path / "a.dcm",
        65535 - pixels_of(),
        PhotometricInterpretation="MONOCHROME1",
        EstimatedRadiographicMagnificationFactor=1.25,
        WindowCenter=100,
        WindowWidth=50,
    )
    (outcome,) = import_plates([path], tmp_path / "out", DETECTED)
    row = outcome.knees[0]
    assert row.spacing == "0.4 x 0.4"
    assert row.spacing_source == "ImagerPixelSpacing / magnification"
    assert (row.photometric, row.bits_stored, row.modality, row.display) == ("MONOCHROME1", "16", "none", "window")
    assert (row.center_source, row.confidence, row.side_source, row.view) == ("detector", "0.9000", "position", "PA")
    assert (float(row.plate_row), float(row.plate_col)) == TWO["right"]
    # Half of 350 pixels is more than the 140.5 columns to the left of the center.
    assert float(row.outside) == pytest.approx(1 - (175 + 140.5) / 350, abs=1e-4)
    assert not {"Doe^Jane", "P-17"} & set(dataclasses.astuple(row))


def test_a_region_within_its_plate_has_no_share_outside():
    # Sums of pixels are rounded: the share of some of these was -2e-16, and written as -0.0000.
    plate = Image(np.ones((1, 1500, 3000), np.float32), spacing=(0.1, 0.1))
    for column in np.random.default_rng(0).uniform(710, 2280, 1000):
        share = share_outside(plate, 140.0, (750.0, column))
        assert f"{share:.4f}" == "0.0000"


def test_a_region_of_chosen_size_keeps_its_extent(plate_file, tmp_path):
    (outcome,) = import_plates([plate_file], tmp_path / "out", dataclasses.replace(DETECTED, size=64))
    row = outcome.knees[0]
    assert read_image(tmp_path / "out" / row.source).size == (64, 64)
    assert [float(mm) * 64 for mm in row.spacing.split(" x ")] == pytest.approx([140.0, 140.0])


@hypothesis.settings(deadline=None)
@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_values_come_back_from_sixteen_bits_to_half_a_step(pixels):
    stored, slope, intercept = png_values(pixels)
    assert stored.dtype == np.uint16
    np.testing.assert_allclose(slope * stored.astype(np.float64) + intercept, pixels, atol=0.51 * slope)


@hypothesis.settings(deadline=None)
@given(hnp.arrays(np.uint16, (3, 4)))
def test_whole_numbers_of_sixteen_bits_stay_as_they_are(pixels):
    stored, slope, intercept = png_values(pixels.astype(np.float32))
    assert (slope, intercept) == (1.0, 0.0)
    np.testing.assert_array_equal(stored, pixels)


def test_padding_of_a_plate_becomes_no_signal(tmp_path):
    pixels = pixels_of()
    pixels[:, :40] = 7
    path = write_plate(tmp_path / "a.dcm", pixels, PixelPaddingValue=7)
    (outcome,) = import_plates([path], tmp_path / "out", DETECTED)
    region = read_image(tmp_path / "out" / outcome.knees[0].source)
    assert region.pixels[0, 0, 0] == region.pixels.min() >= 100


def test_a_sheet_with_files_names_subject_month_and_centers(tmp_path):
    paths = [write_plate(tmp_path / f"{name}.dcm", pixels_of(seed=seed)) for seed, name in enumerate("ab")]
    centers = sheet(
        tmp_path,
        '17,12_MONTH,"[140, 200]","[460, 210]",b.dcm',
        '9,00_MONTH,"[140, 200]",,a.dcm',
        columns="patient_id,month,keypoint_right,keypoint_left,file",
    )
    first, second = import_plates(paths, tmp_path / "out", PlateOptions(sheet=centers))
    assert [(row.subject, row.timepoint, row.side) for row in first.knees] == [("9", "0", "right")]
    assert [(row.subject, row.timepoint, row.side) for row in second.knees] == [
        ("17", "12", "right"),
        ("17", "12", "left"),
    ]
    assert {row.center_source for row in second.knees} == {"sheet"}


def test_a_plate_that_the_sheet_lacks_is_refused_or_skipped(tmp_path, plate_file):
    columns = "patient_id,month,keypoint_right,keypoint_left,file"
    centers = sheet(tmp_path, '9,00_MONTH,"[140, 200]",,other.dcm', columns=columns)
    with pytest.raises(ManifestError, match=r"no rows whose 'file' is plate.dcm among its 1"):
        list(import_plates([plate_file], tmp_path / "out", PlateOptions(sheet=centers)))
    (outcome,) = import_plates([plate_file], tmp_path / "out", PlateOptions(sheet=centers, on_error="skip"))
    assert "plate.dcm" in str(outcome.finding)


def test_the_plates_of_the_oai_layout_find_their_rows_by_folder(tmp_path):
    folders = ["0.C.2/9/20040802/00162704", "1.C.2/9/20051118/01230207"]
    paths = [tmp_path / "radiographs" / folder / "001" for folder in folders]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        write_plate(path, pixels_of(seed=seed))
    (tmp_path / "mri_xray.csv").write_text(
        f"patient_id,month,mri_left,mri_right,xray\n9,12_MONTH,a,b,{folders[1]}\n9,00_MONTH,a,b,{folders[0]}\n"
    )
    centers = sheet(tmp_path, '9,00_MONTH,"[140, 200]",', '9,12_MONTH,,"[460, 210]"')
    first, second = import_plates(paths, tmp_path / "out", PlateOptions(sheet=centers))
    assert [(row.timepoint, row.side) for row in (*first.knees, *second.knees)] == [("0", "right"), ("12", "left")]
    assert first.knees[0].source == "0-C-2_9_20040802_00162704_001_right.png"


def test_an_array_of_an_archive_is_a_plate_too(tmp_path):
    np.savez(tmp_path / "many.npz", one=pixels_of(), two=pixels_of(seed=1))
    options = dataclasses.replace(DETECTED, spacing=(0.5, 0.5))
    outcomes = list(import_plates([Path(f"{tmp_path}/many.npz::{key}") for key in ("one", "two")], tmp_path, options))
    assert [row.source for outcome in outcomes for row in outcome.knees] == [
        f"many_{key}_{side}.png" for key in ("one", "two") for side in ("right", "left")
    ]


def test_without_files_and_folders_a_row_is_found_by_the_patient_if_it_is_the_only_one(tmp_path, plate_file):
    one = sheet(tmp_path, 'P-17,00_MONTH,"[140, 200]",', '9,00_MONTH,,"[460, 210]"')
    (outcome,) = import_plates([plate_file], tmp_path / "out", PlateOptions(sheet=one))
    assert [row.subject for row in outcome.knees] == ["P-17"]
    two = sheet(tmp_path, 'P-17,00_MONTH,"[140, 200]",', 'P-17,12_MONTH,,"[460, 210]"')
    with pytest.raises(ManifestError, match="2 rows of plate"):
        list(import_plates([plate_file], tmp_path / "other", PlateOptions(sheet=two)))


def test_a_row_of_a_sheet_is_chosen_by_patient_and_month(tmp_path, plate_file):
    centers = sheet(tmp_path, '9,00_MONTH,"[140, 200]",', '9,12_MONTH,,"[460, 210]"')
    options = PlateOptions(sheet=centers, visit=("9", "12_MONTH"))
    (outcome,) = import_plates([plate_file], tmp_path / "out", options)
    assert [(row.subject, row.timepoint, row.side) for row in outcome.knees] == [("9", "12", "left")]
    with pytest.raises(ManifestError, match="no rows of patient 9, month 24_MONTH"):
        list(import_plates([plate_file], tmp_path / "out", PlateOptions(sheet=centers, visit=("9", "24_MONTH"))))


@pytest.mark.parametrize(
    ("rows", "match"),
    [(['9,00_MONTH,"[-3, 200]",'], "negative"), (["9,00_MONTH"], "2 cells under 4 columns"), ([], "no rows")],
)
def test_a_sheet_with_a_negative_or_missing_center_is_refused(tmp_path, rows, match):
    with pytest.raises(ManifestError, match=match):
        sheet(tmp_path, *rows)


def test_a_damaged_plate_is_skipped_and_the_others_are_not(tmp_path, plate_file):
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(plate_file.read_bytes()[:-50])
    with pytest.raises(ImageError, match=r"cut.dcm: 400 x 600 pixels"):
        list(import_plates([cut, plate_file], tmp_path / "out", DETECTED))
    bad, good = import_plates([cut, plate_file], tmp_path / "out", dataclasses.replace(DETECTED, on_error="skip"))
    assert "truncated" in str(bad.finding)
    assert len(good.knees) == 2


def test_a_picture_without_a_spacing_asks_for_one(tmp_path):
    write_png(tmp_path / "a.png", pixels_of())
    with pytest.raises(ImageError, match="no pixel spacing; give --spacing"):
        list(import_plates([tmp_path / "a.png"], tmp_path / "out", DETECTED))
    options = dataclasses.replace(DETECTED, spacing=(0.5, 0.5))
    (outcome,) = import_plates([tmp_path / "a.png"], tmp_path / "out", options)
    assert {row.spacing_source for row in outcome.knees} == {"given"}
    assert {row.photometric for row in outcome.knees} == {""}


def test_the_subject_is_the_patient_id_only_where_that_is_asked_for(tmp_path, plate_file):
    (outcome,) = import_plates([plate_file], tmp_path / "out", dataclasses.replace(DETECTED, use_patient_id=True))
    assert {row.subject for row in outcome.knees} == {"P-17"}
    nameless = write_plate(tmp_path / "b.dcm", pixels_of(), PatientID=None)
    with pytest.raises(ImageError, match="it states none; give --subject"):
        list(import_plates([nameless], tmp_path / "out", dataclasses.replace(DETECTED, use_patient_id=True)))


def test_a_knee_of_one_subject_and_time_stands_once(tmp_path):
    paths = [write_plate(tmp_path / f"{name}.dcm", pixels_of(seed=seed)) for seed, name in enumerate("ab")]
    with pytest.raises(ImageError, match=r"b.dcm: the right knee of subject 'P-17' at timepoint '0' is taken already"):
        list(import_plates(paths, tmp_path / "out", dataclasses.replace(DETECTED, use_patient_id=True)))


def test_a_second_run_replaces_its_rows_and_keeps_those_of_others(tmp_path):
    paths = [write_plate(tmp_path / f"{name}.dcm", pixels_of(seed=seed)) for seed, name in enumerate("ab")]
    out = tmp_path / "out"

    def run(path, options=DETECTED):
        rows = [row for outcome in import_plates([path], out, options) for row in outcome.knees]
        return write_table(out, rows)

    assert [run(paths[0]), run(paths[1])] == [0, 2]
    content = (out / TABLE_FILE).read_bytes()
    assert run(paths[1]) == 2
    assert (out / TABLE_FILE).read_bytes() == content
    assert [Path(row.plate).name for row in read_table(out / TABLE_FILE)] == ["a.dcm", "a.dcm", "b.dcm", "b.dcm"]


def test_one_knee_is_done_again_by_hand_and_the_other_stays(tmp_path, plate_file):
    out = tmp_path / "out"
    for options, n_kept in ((DETECTED, 0), (PlateOptions(centers={"left": (215.0, 450.0)}), 1)):
        rows = [row for outcome in import_plates([plate_file], out, options) for row in outcome.knees]
        assert write_table(out, rows) == n_kept
    found = [(row.side, row.center_source, row.plate_col) for row in read_table(out / TABLE_FILE)]
    assert found == [("right", "detector", "140"), ("left", "given", "450")]


def test_a_plate_that_has_become_another_file_keeps_no_knee_of_the_old_one(tmp_path, plate_file):
    out = tmp_path / "out"
    write_table(out, [row for outcome in import_plates([plate_file], out, DETECTED) for row in outcome.knees])
    write_plate(plate_file, pixels_of(seed=9))
    options = PlateOptions(centers={"left": TWO["left"]}, overwrite=True)
    rows = [row for outcome in import_plates([plate_file], out, options) for row in outcome.knees]
    assert write_table(out, rows) == 0
    assert [row.side for row in read_table(out / TABLE_FILE)] == ["left"]


def test_a_region_of_another_plate_of_that_name_is_not_replaced_unasked(tmp_path, plate_file):
    out = tmp_path / "out"
    rows = [row for outcome in import_plates([plate_file], out, DETECTED) for row in outcome.knees]
    write_table(out, rows)
    before = (out / "plate_left.png").read_bytes()
    write_plate(plate_file, pixels_of(seed=9))
    with pytest.raises(OutputError, match="holds the region of another plate of that name"):
        list(import_plates([plate_file], out, DETECTED))
    assert (out / "plate_left.png").read_bytes() == before
    list(import_plates([plate_file], out, dataclasses.replace(DETECTED, overwrite=True)))
    assert (out / "plate_left.png").read_bytes() != before


def test_another_table_in_the_folder_is_not_replaced(tmp_path, plate_file):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / TABLE_FILE).write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="is another table"):
        list(import_plates([plate_file], tmp_path / "out", DETECTED))
    assert (tmp_path / "out" / TABLE_FILE).read_text() == "a,b\n1,2\n"


def test_a_dry_run_writes_nothing(tmp_path, plate_file):
    options = dataclasses.replace(DETECTED, dry_run=True, overlay=True)
    (outcome,) = import_plates([plate_file], tmp_path / "out", options)
    assert len(outcome.knees) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"centers": TWO}, "--right or --left is about one plate, but there are 2"),
        ({"subject": "S1"}, "--subject is about one plate"),
        ({"subject": "S1", "use_patient_id": True}, "give one of them"),
        ({"visit": ("9", "00_MONTH")}, "choose a row of a sheet, but there is none"),
        ({"size": 0}, "must be from 1 to 8192"),
        ({"size_mm": float("nan")}, "must be positive"),
    ],
)
def test_options_that_contradict_each_other_are_refused_before_anything_is_read(tmp_path, options, match):
    with pytest.raises(SettingsError, match=match):
        list(import_plates([tmp_path / "absent_a", tmp_path / "absent_b"], tmp_path, PlateOptions(**options)))


def test_a_result_does_not_replace_a_plate(tmp_path, plate_file):
    other = tmp_path / "plate_left.png"
    write_png(other, pixels_of())
    with pytest.raises(SettingsError, match="would replace a plate"):
        list(import_plates([plate_file, other], tmp_path, DETECTED))


def test_the_picture_of_a_plate_shows_each_square_where_the_region_is(plate_file):
    plate = read_plate(plate_file)
    knees = [KneeLocation(side, center, "given", "given") for side, center in TWO.items()]
    picture = draw_locations(plate, knees, 100.0)
    assert picture.shape == (400, 600, 3)
    colored = picture[..., 0] != picture[..., 2]
    for row, column in TWO.values():
        for edge in (-100, 100):  # 100 mm are 200 pixels
            assert colored[round(row + 0.5) + edge - 2 : round(row + 0.5) + edge + 3, round(column)].any()
            assert colored[round(row), round(column + 0.5) + edge - 2 : round(column + 0.5) + edge + 3].any()
    assert not colored[:90].any()


def test_a_large_plate_with_oblong_pixels_is_drawn_small_and_in_proportion(tmp_path):
    path = write_plate(tmp_path / "a.dcm", pixels_of((300, 900)), ImagerPixelSpacing=[0.6, 0.2])
    picture = draw_locations(read_plate(path), [], 100.0, longest_edge=90)
    assert picture.shape == (90, 90, 3)


def test_plates_of_one_run_and_of_earlier_ones_spell_a_person_in_one_way(tmp_path):
    paths = [write_plate(tmp_path / name, pixels_of(seed=seed)) for seed, name in enumerate(["7.dcm", "007.dcm"])]
    out = tmp_path / "out"
    with pytest.raises(ImageError, match=r"007\.dcm: subject '007' and '7' are one number, spelled in two ways"):
        list(import_plates(paths, out, DETECTED))
    write_table(out, [row for outcome in import_plates(paths[:1], out, DETECTED) for row in outcome.knees])
    with pytest.raises(ImageError, match="'007' and '7' are one number"):
        list(import_plates(paths[1:], out, DETECTED))
    list(import_plates(paths[:1], out, dataclasses.replace(DETECTED, subject="007")))  # the same plate, called anew


def test_a_table_of_regions_that_excel_saved_tells_what_became_of_subjects(tmp_path, plate_file):
    out = tmp_path / "out"
    options = dataclasses.replace(DETECTED, subject="202411000000017")
    write_table(out, [row for outcome in import_plates([plate_file], out, options) for row in outcome.knees])
    table = out / TABLE_FILE
    saved = table.read_text()
    table.write_text("\ufeff" + saved, encoding="utf-8")
    assert {row.subject for row in read_table(table)} == {"202411000000017"}
    table.write_text(saved.replace("202411000000017", "2.02411E+14"))
    with pytest.raises(OutputError, match=r"subject '2\.02411E\+14' is how Excel shortens a long number"):
        list(import_plates([plate_file], out, DETECTED))
