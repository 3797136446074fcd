"""From files to queries to results: a file is one query, or one for each knee of a plate."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pydicom
import pytest
from tests.dicom_sources import write_radiograph

from mris.database.database import EmbeddingDatabase
from mris.errors import ImageError, ManifestError, SettingsError
from mris.images.image import Image
from mris.images.read import read_image
from mris.images.transforms import SourcePreparation, prepare_source
from mris.knee.anatomy import KNEE
from mris.knee.center_sheet import read_center_sheet
from mris.knee.knee_finder import KneeFinder
from mris.knee.radiograph import read_plate
from mris.serving import files as serving_files
from mris.serving import outputs
from mris.serving.file_options import result_names
from mris.serving.files import FileOptions, synthesize_files
from mris.serving.queries import queries_of
from mris.synthesis.synthesizer import Synthesizer

RIGHT, LEFT = (150.0, 95.0), (160.0, 290.0)


@dataclass(frozen=True)
class Found:
    """As the detector's answer."""

    center: tuple[float, float]
    confidence: float


def read_queries(path, stem, spacing=None, **said):
    return queries_of(read_image(path, spacing=spacing), path, stem, **said)


def both(image: Image) -> tuple[Found, ...]:
    return Found(RIGHT, 0.9), Found(LEFT, 0.8)


@pytest.fixture
def plate(tmp_path, rng):
    pixels = np.add.outer(np.arange(300), 3 * np.arange(390)) + rng.integers(0, 50, (300, 390))
    return write_radiograph(tmp_path / "plate.dcm", pixels)


@pytest.fixture
def make_synthesizer(make_cohort, projection_encoder, tmp_path, rng):
    def make(**fields):
        subjects = [f"S{i:02d}" for i in range(12)]
        cohort = make_cohort(subjects, rng=rng)
        encoder = projection_encoder.of(cohort)
        database = EmbeddingDatabase.build(tmp_path / "db.lance", cohort, encoder, progress=False)
        preparation = SourcePreparation(size=(8, 8), **{"mirror_sides": ("right",), **fields})
        return Synthesizer(encoder, database, 4, preparation=preparation, anatomy=replace(KNEE, sight=None))

    return make


MIRRORING = SourcePreparation(size=(8, 8), mirror_sides=("right",))
REGION = SourcePreparation(size=(8, 8), region_mm=140.0)
FINDER = KneeFinder(detector=both, least_confidence=0.5)
QUIET = FileOptions(formats=("npz",), pictures=False)


def test_each_knee_of_a_plate_is_a_query_of_its_region(plate):
    right, left = read_queries(plate, "plate", finder=FINDER, preparation=REGION)
    assert (right.stem, left.stem) == ("plate_right", "plate_left")
    whole = read_plate(plate)
    settings = SourcePreparation(size=(16, 16), mirror_sides=("right",), region_mm=140.0)
    for query, center in ((right, RIGHT), (left, LEFT)):
        expected = prepare_source(whole, settings, side=query.facts.side, center=center)
        np.testing.assert_array_equal(prepare_source(query.image, settings), expected)


def test_the_query_tells_side_center_confidence_and_where_they_come_from(plate):
    right, left = read_queries(plate, "p", finder=FINDER)
    assert (right.facts.side, right.facts.side_source, right.facts.center) == ("right", "position", RIGHT)
    assert (left.facts.center_source, left.facts.confidence) == ("detector", 0.8)
    assert right.facts.spacing_source == "PixelSpacing"
    (given,) = read_queries(plate, "p", finder=KneeFinder({"left": LEFT}))
    assert (given.facts.side_source, given.facts.center_source, given.facts.confidence) == ("given", "given", None)


def test_a_file_of_one_knee_is_a_query_as_before(tmp_path, rng):
    pixels = rng.integers(0, 4000, (40, 30))
    for header, said, side, source in (
        ("L", None, "left", "header"),
        (None, "right", "right", "given"),
        (None, None, None, None),
    ):
        path = write_radiograph(tmp_path / "knee.dcm", pixels, ImageLaterality=header)
        (query,) = read_queries(path, "knee", side=said, center=(3.0, 4.0))
        assert (query.stem, query.facts.side, query.facts.side_source) == ("knee", side, source)
        assert query.center == query.facts.center == (3.0, 4.0)
        np.testing.assert_array_equal(query.image.pixels[0], pixels)


@pytest.mark.parametrize("preparation", [REGION, MIRRORING], ids=["region", "whole"])
@pytest.mark.parametrize(
    ("header", "said", "match"),
    [
        ({"ImageLaterality": "B"}, "left", r"\(ImageLaterality\) says that it shows both sides, and.*--knees detect"),
        ({"ImageLaterality": "B"}, None, r"\(ImageLaterality\) says that it shows both sides, and.*--knees detect"),
        ({"ViewPosition": "LL", "ImageLaterality": "B"}, "left", r"names the view 'LL'.*--right|shows both sides"),
        ({"Laterality": "R"}, "left", r"\(Laterality\) says right, but --side says left"),
        ({"PatientOrientation": ["L", "H"]}, "left", r"\(PatientOrientation\) says that the picture is upside down"),
        ({"PatientOrientation": ["R", "F"]}, "left", r"\(PatientOrientation\) says that the picture is mirrored"),
    ],
)
def test_a_file_whose_header_says_that_it_is_another_picture_is_no_query(
    tmp_path, rng, header, said, match, preparation
):
    # also where whole images of one side are seen: a plate would be one knee on the wrong scale
    path = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (40, 30)), **header)
    with pytest.raises(ImageError, match=match):
        read_queries(path, "knee", side=said, preparation=preparation, anatomy=replace(KNEE, sight=None))


@pytest.mark.parametrize(
    ("header", "said", "fields"),
    [
        ({"ImageLaterality": "B"}, "left", {}),
        ({"ImageLaterality": "B"}, None, {}),
        ({"ViewPosition": "LL"}, "left", {"region_mm": 14.0}),
        ({"Laterality": "R"}, "left", {}),
        ({"PatientOrientation": ["R", "F"]}, "left", {}),
        ({"Laterality": "L", "PixelSpacing": [12.0, 12.0]}, None, {}),
        ({"Laterality": "L"}, None, {"extent_mm": (140.0, 140.0)}),
    ],
)
def test_command_and_library_refuse_a_picture_alike(make_synthesizer, tmp_path, rng, header, said, fields):
    path = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (40, 30)), **header)
    synthesizer, reasons = make_synthesizer(**fields), []
    with pytest.raises(ImageError) as refused:
        list(synthesize_files(synthesizer, [path], tmp_path / "out", replace(QUIET, side=said)))
    reasons.append(str(refused.value))
    with pytest.raises(ImageError) as refused:
        synthesizer(read_image(path), side=said)
    reasons.append(str(refused.value))
    assert len(set(reasons)) == 1


def test_command_and_library_take_the_same_side_and_give_the_same_map(make_synthesizer, tmp_path, rng):
    synthesizer = make_synthesizer()
    path = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (40, 30)), Laterality="R")
    list(synthesize_files(synthesizer, [path], tmp_path / "out", QUIET))
    with np.load(tmp_path / "out" / "knee.npz") as written:
        np.testing.assert_array_equal(written["image"], synthesizer(read_image(path)).image)
        np.testing.assert_array_equal(written["image"], synthesizer(read_image(path), side="R").image)


@pytest.mark.parametrize("header", [{"ImageLaterality": "B"}, {"ViewPosition": "LL"}])
def test_a_plate_of_both_sides_or_of_another_view_is_a_query_where_its_center_is_given(tmp_path, rng, header):
    path = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (40, 30)), **header)
    (query,) = read_queries(path, "knee", side="left", center=(3.0, 4.0), preparation=REGION)
    assert query.facts.side == "left"


@pytest.mark.parametrize("knees", [None, FINDER])
def test_what_is_doubtful_in_a_header_is_noted_of_the_query(plate, knees):
    dataset = pydicom.dcmread(plate)
    dataset.PresentationIntentType = "FOR PROCESSING"
    dataset.save_as(plate)
    for query in read_queries(plate, "plate", finder=knees, preparation=REGION):
        assert any("FOR PROCESSING" in note for note in query.facts.notes)


def test_an_array_without_spacing_takes_the_given_one_and_says_so(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(4))
    (query,) = read_queries(tmp_path / "a.npy", "a", spacing=(0.2, 0.2))
    assert query.image.spacing == (0.2, 0.2) and query.facts.spacing_source == "given"
    (query,) = read_queries(tmp_path / "a.npy", "a")
    assert query.image.spacing is None and query.facts.spacing_source is None


@pytest.mark.parametrize("side", [None, "left"])
def test_a_file_of_unknown_spacing_is_noted_where_the_encoders_know_what_they_saw(tmp_path, side):
    np.save(tmp_path / "crop.npy", np.eye(92))
    for known, spacing, noted in (((140.0, 140.0), None, True), ((92.0, 92.0), (1.0, 1.0), False), (None, None, False)):
        preparation = SourcePreparation(size=(8, 8), extent_mm=known)
        (query,) = read_queries(tmp_path / "crop.npy", "crop", side=side, spacing=spacing, preparation=preparation)
        assert any("whether it shows 140 x 140 mm" in note for note in query.facts.notes) == noted


@pytest.mark.slow
def test_all_pictures_of_a_run_share_one_scale_of_colors(make_synthesizer, tmp_path, rng, monkeypatch):
    synthesizer, looks = make_synthesizer(), []

    def noting(draw):
        def noted(*args, look):
            looks.append(look)
            draw(*args, look=look)

        return noted

    for module, name in ((outputs, "write_maps_picture"), (serving_files, "write_neighbors_picture")):
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    files = [tmp_path / f"{n}.npy" for n in range(3)]
    for file in files:
        np.save(file, rng.random((8, 8)))
    outcomes = list(synthesize_files(synthesizer, files, tmp_path / "out", FileOptions(side="left", formats=("png",))))
    assert [outcome.finding for outcome in outcomes] == [None] * 3
    assert len(looks) == 6 and len({(look.values, look.spread) for look in looks}) == 1
    assert looks[0].values[0] < looks[0].values[1] and looks[0].spread > 0


def test_a_plate_gives_a_result_a_knee_with_its_facts(plate, make_synthesizer, tmp_path):
    synthesizer = make_synthesizer(region_mm=140.0)
    (outcome,) = synthesize_files(synthesizer, [plate], tmp_path / "out", replace(QUIET, finder=FINDER))
    assert outcome.n_queries == 2 and outcome.finding is None
    names = {path.name for path in outcome.written}
    assert names == {f"plate_{side}{end}" for side in ("left", "right") for end in (".npz", "_provenance.json")}
    whole = read_plate(plate)
    for side, center in (("right", RIGHT), ("left", LEFT)):
        record = json.loads((tmp_path / "out" / f"plate_{side}_provenance.json").read_text())
        assert record["query"]["side"] == side and record["query"]["center"] == list(center)
        assert record["query"]["name"] == "plate.dcm" and len(record["query"]["sha256"]) == 64
        source = prepare_source(whole, synthesizer.preparation, side=side, center=center)
        (expected,) = synthesizer.synthesize(source[None], [None])
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"plate_{side}.npz")["image"], expected.image, rtol=1e-5)


def test_encoders_that_see_whole_images_get_the_knee_s_region(plate, make_synthesizer, tmp_path):
    synthesizer = make_synthesizer()
    (outcome,) = synthesize_files(synthesizer, [plate], tmp_path / "out", replace(QUIET, finder=FINDER))
    region = replace(synthesizer.preparation, region_mm=140.0)
    source = prepare_source(read_plate(plate), region, side="left", center=LEFT)
    (expected,) = synthesizer.synthesize(source[None], [None])
    np.testing.assert_allclose(np.load(tmp_path / "out" / "plate_left.npz")["image"], expected.image, rtol=1e-5)
    assert outcome.n_queries == 2


def test_encoders_of_whole_images_get_a_region_of_the_size_that_these_showed(plate, make_synthesizer, tmp_path):
    synthesizer = make_synthesizer(extent_mm=(100.0, 100.0))
    (outcome,) = synthesize_files(synthesizer, [plate], tmp_path / "out", replace(QUIET, finder=FINDER))
    region = SourcePreparation(size=(8, 8), mirror_sides=("right",), region_mm=100.0)
    source = prepare_source(read_plate(plate), region, side="left", center=LEFT)
    (expected,) = synthesizer.synthesize(source[None], [None])
    np.testing.assert_allclose(np.load(tmp_path / "out" / "plate_left.npz")["image"], expected.image, rtol=1e-5)
    record = json.loads((tmp_path / "out" / "plate_left_provenance.json").read_text())
    assert record["query"]["region_mm"] == 100.0 and outcome.n_queries == 2


@pytest.mark.parametrize("extent", [(100.0, 100.0), None])
def test_a_plate_is_not_one_knee_of_encoders_that_see_whole_images(make_synthesizer, tmp_path, rng, extent):
    # both knees under a header that says left: only its width tells
    path = write_radiograph(tmp_path / "p.dcm", rng.integers(0, 4000, (300, 390)), ImageLaterality="L")
    synthesizer = make_synthesizer(extent_mm=extent)
    with pytest.raises(ImageError, match=r"shows 300 x 390 mm, but .*--knees detect"):
        list(synthesize_files(synthesizer, [path], tmp_path / "out", QUIET))


def test_a_picture_much_larger_than_a_knee_is_noted_where_nothing_tells_the_scale(tmp_path, rng):
    knee = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (140, 140)), ImageLaterality="L")
    plate = write_radiograph(tmp_path / "plate.dcm", rng.integers(0, 4000, (300, 210)), ImageLaterality="L")
    whole = SourcePreparation(size=(8, 8))
    (query,) = read_queries(plate, "plate", preparation=whole, anatomy=KNEE)
    (note,) = query.facts.notes
    assert note.startswith("shows 300 x 210 mm, and the bundle does not tell how many mm its sources show")
    for path, told in ((knee, whole), (plate, REGION), (plate, replace(whole, extent_mm=(300.0, 210.0)))):
        (query,) = read_queries(path, "q", preparation=told, anatomy=KNEE)
        assert query.facts.notes == ()


def test_what_deserves_a_look_is_noted_and_in_the_provenance(make_synthesizer, tmp_path, rng):
    pixels = rng.integers(0, 4000, (300, 390))
    stated = write_radiograph(tmp_path / "stated.dcm", pixels, ViewPosition="PA")
    silent = write_radiograph(tmp_path / "silent.dcm", pixels)
    side = write_radiograph(tmp_path / "side.dcm", pixels, ViewPosition="LL")
    synthesizer = make_synthesizer(region_mm=140.0)

    def notes_and_query(path, knees):
        (outcome,) = synthesize_files(synthesizer, [path], tmp_path / "out", replace(QUIET, finder=knees))
        return outcome.notes, json.loads((tmp_path / "out" / f"{path.stem}_left_provenance.json").read_text())["query"]

    notes, query = notes_and_query(stated, FINDER)
    assert (notes, query["notes"], query["view"], query["region_mm"]) == ((), [], "PA", 140.0)
    notes, query = notes_and_query(silent, FINDER)
    assert notes == ("silent.dcm: the view is not stated and taken for frontal",)
    assert (query["notes"], query["view"]) == (["the view is not stated and taken for frontal"], None)
    notes, query = notes_and_query(side, KneeFinder({"left": LEFT}))
    assert notes == ("side.dcm: its header names the view 'LL', but knees are seen on PA and AP views",)
    assert query["view"] == "LL"


@pytest.mark.parametrize(
    ("weights", "sign", "noted"), [("similarity", 1, 0), ("similarity", -1, 1), ("softmax", -1, 0)]
)
def test_weights_that_are_alike_for_want_of_similarity_are_noted(
    make_cohort, projection_encoder, tmp_path, rng, weights, sign, noted
):
    cohort = make_cohort([f"S{i:02d}" for i in range(12)], rng=rng)
    matrices = (np.abs(matrix) for matrix in (rng.standard_normal((64, 16)), rng.standard_normal((128, 16))))
    source_matrix, target_matrix = (matrix.astype(np.float32) for matrix in matrices)
    encoder = projection_encoder(sign * source_matrix, target_matrix)
    database = EmbeddingDatabase.build(tmp_path / "db.lance", cohort, encoder, progress=False)
    synthesizer = Synthesizer(encoder, database, 4, weights, preparation=SourcePreparation(size=(8, 8)))
    file = write_radiograph(tmp_path / "knee.dcm", rng.integers(0, 4000, (20, 20)))
    (outcome,) = synthesize_files(synthesizer, [file], tmp_path / "out", QUIET)
    record = json.loads((tmp_path / "out" / "knee_provenance.json").read_text())
    assert len(outcome.notes) == len(record["query"]["notes"]) == noted
    if noted:
        assert "knee: no neighbor for femoral, tibial has a similarity above 0 (nearest: -0." in outcome.notes[0]
        assert {one["weight"] for one in record["contributions"][0]["neighbors"]} == {0.25}


def test_a_knee_that_is_not_believed_costs_the_plate_and_leaves_the_others(plate, make_synthesizer, tmp_path, rng):
    other = write_radiograph(tmp_path / "other.dcm", rng.integers(0, 4000, (300, 390)))
    doubted = KneeFinder(detector=lambda image: (Found(RIGHT, 0.9), Found(LEFT, 0.2)), least_confidence=0.5)
    synthesizer = make_synthesizer(region_mm=140.0)
    with pytest.raises(ImageError, match=r"plate\.dcm.*confidence of 0\.20"):
        list(synthesize_files(synthesizer, [plate], tmp_path / "out", replace(QUIET, finder=doubted)))
    assert not (tmp_path / "out").exists()

    def one_in_doubt(image: Image) -> tuple[Found, ...]:
        return both(image) if image.origin.endswith("other.dcm") else doubted.detector(image)  # type: ignore[misc]

    options = replace(QUIET, finder=replace(doubted, detector=one_in_doubt), on_error="skip")
    first, second = synthesize_files(synthesizer, [plate, other], tmp_path / "out", options)
    assert "confidence" in str(first.finding) and first.written == () and first.n_queries == 0
    assert second.n_queries == 2


def test_a_center_for_one_knee_and_knees_to_be_found_contradict_each_other(plate, make_synthesizer, tmp_path):
    options = replace(QUIET, finder=FINDER, center=(3.0, 3.0))
    with pytest.raises(SettingsError, match="--center is for files of one knee"):
        list(synthesize_files(make_synthesizer(region_mm=140.0), [plate], tmp_path, options))


def test_results_of_a_plate_and_of_another_file_may_not_have_one_name(make_synthesizer, tmp_path, rng, plate):
    other = write_radiograph(tmp_path / "plate_left_left.dcm", rng.integers(0, 9, (20, 20)))
    clash = write_radiograph(tmp_path / "plate_left.dcm", rng.integers(0, 9, (20, 20)))
    options = replace(QUIET, finder=FINDER, dicom=True)
    assert set(result_names("plate_left", options)) >= {"plate_left_map.dcm", "plate_left_capture.dcm"}
    inside = write_radiograph(tmp_path / "plate_left_map.dcm", rng.integers(0, 9, (20, 20)))
    with pytest.raises(SettingsError, match=r"plate_left_map\.dcm would replace a query"):
        list(synthesize_files(make_synthesizer(), [plate, inside], tmp_path, options))
    assert other.exists() and clash.exists()


def sheet_of(folder, rows, visits=None):
    lines = ["patient_id,month,keypoint_right,keypoint_left", *rows]
    (folder / "xray_keypoints.csv").write_text("\n".join(lines) + "\n")
    if visits:
        (folder / "mri_xray.csv").write_text("\n".join(["patient_id,month,mri_left,mri_right,xray", *visits]) + "\n")
    return folder / "xray_keypoints.csv"


def test_a_sheet_gives_the_centers_of_the_header_s_patient(tmp_path, rng):
    path = write_radiograph(tmp_path / "p.dcm", rng.integers(0, 4000, (300, 390)), PatientID="9000798")
    sheet = sheet_of(tmp_path, ['9000798,00_MONTH,"[95, 150]","[290, 160]"', '9000001,00_MONTH,"[1, 2]","[300, 4]"'])
    right, left = read_queries(path, "p", finder=KneeFinder(sheet=read_center_sheet(sheet)))
    assert right.facts.center == RIGHT and left.facts.center == LEFT
    assert right.facts.center_source == left.facts.side_source == "sheet"


def test_the_sheet_of_visits_tells_the_plates_of_a_patient_apart_by_their_folders(tmp_path, rng):
    rows = ['9000798,00_MONTH,"[95, 150]","[290, 160]"', '9000798,12_MONTH,"[100, 140]","[280, 150]"']
    visits = ["9000798,00_MONTH,a/1,a/2,0.C.2/9000798/20040802/001", "9000798,12_MONTH,b/1,b/2,1.C.2/9000798/2005/002"]
    sheet = read_center_sheet(sheet_of(tmp_path, rows, visits))
    folder = tmp_path / "plates" / "1.C.2" / "9000798" / "2005" / "002"
    folder.mkdir(parents=True)
    path = write_radiograph(folder / "001", rng.integers(0, 4000, (300, 390)), PatientID="9000798")
    right, _ = read_queries(path, "p", finder=KneeFinder(sheet=sheet))
    assert right.facts.center == (140.0, 100.0)
    loose = write_radiograph(tmp_path / "loose.dcm", rng.integers(0, 4000, (300, 390)), PatientID="9000798")
    with pytest.raises(ImageError, match=r"loose\.dcm: .*csv: 2 rows of loose\.dcm"):
        read_queries(loose, "p", finder=KneeFinder(sheet=sheet))


def test_a_plate_that_no_row_is_of_is_refused(plate, tmp_path):
    sheet = sheet_of(tmp_path, ['9000001,00_MONTH,"[1, 2]","[300, 4]"'])
    with pytest.raises(ImageError, match=r"csv: no rows of plate\.dcm"):
        read_queries(plate, "p", finder=KneeFinder(sheet=read_center_sheet(sheet)))


def test_a_sheet_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere\.csv: no such file; give a sheet"):
        read_center_sheet(tmp_path / "nowhere.csv")


def test_files_of_one_batch_are_written_as_one_by_one(make_synthesizer, tmp_path, rng):
    files = [write_radiograph(tmp_path / f"{i}.dcm", rng.integers(0, 4000, (20, 20)), Laterality="L") for i in range(3)]
    synthesizer = make_synthesizer()
    together = list(synthesize_files(synthesizer, files, tmp_path / "a", QUIET))
    alone = [next(iter(synthesize_files(synthesizer, [file], tmp_path / "b", QUIET))) for file in files]
    assert [one.n_queries for one in together] == [one.n_queries for one in alone] == [1, 1, 1]
    for file in files:
        a, b = (np.load(tmp_path / name / f"{file.stem}.npz")["image"] for name in "ab")
        np.testing.assert_allclose(a, b, rtol=1e-5)
