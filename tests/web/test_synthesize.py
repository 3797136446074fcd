"""What the interface answers is what the command line writes."""

import io
import json
import os
import re
import shlex
import tempfile
import time
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from tests.command import call
from tests.web.browser_world import write_half_plate
from tests.web.conftest import API, client_of

from mris.errors import ImageError
from mris.knee.anatomy import KNEE
from mris.knee.knee_finder import KneeFinder
from mris.serving.files import FileOptions, synthesize_files
from mris.synthesis.bundle import Bundle


def arrays_of(client, result):
    content = client.get(result["arrays"]["url"]).content
    floats = np.frombuffer(content, "<f4")
    assert len(floats) == result["arrays"]["n_floats"]
    items = result["arrays"]["items"]
    sizes = {item["name"]: int(np.prod(item["shape"])) for item in items}
    return {
        item["name"]: floats[item["offset"] : item["offset"] + sizes[item["name"]]].reshape(item["shape"])
        for item in items
    }


def written(bundle, path, out, **options):
    synthesizer = Bundle.open(bundle).synthesizer(anatomy=KNEE)
    list(synthesize_files(synthesizer, [path], out, FileOptions(formats=("npz",), pictures=False, **options)))


def test_a_result_is_that_of_the_command_line_to_the_last_bit(client, knees, synthesize, tmp_path):
    (result,) = synthesize(knees.knee, side="left")
    written(knees.bundle, knees.knee, tmp_path, side="left")
    found = arrays_of(client, result)
    with np.load(tmp_path / "00_left.npz") as expected:
        for name in ("image", "spread", "lower", "upper"):
            np.testing.assert_array_equal(found[name], expected[name])
        assert result["level"] == expected["level"]


def test_each_person_s_own_map_comes_with_the_result(client, knees, synthesize):
    (result,) = synthesize(knees.knee, side="left")
    (part,) = result["contributions"]
    maps = arrays_of(client, result)["people/0"]
    assert len(maps) == len(part["people"]) > 5
    database = Bundle.open(knees.bundle).members[0].database
    keys = [person["key"] for person in part["people"]]
    np.testing.assert_array_equal(maps, database.read_targets(database.rows_of(keys)))
    assert [person["subject"] for person in part["people"]] == [key.split("/")[0] for key in keys]


def test_a_thumbnail_is_clear_where_a_map_has_no_value(client, knees):
    key = "P00003/0/left"
    with Picture.open(io.BytesIO(client.get(f"{API}/entries/thumbnail.png", params={"key": key}).content)) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    database = Bundle.open(knees.bundle).members[0].database
    maps = database.read_targets(database.rows_of([key]))[0]
    np.testing.assert_array_equal(alpha > 0, np.isfinite(np.concatenate(list(maps), axis=1)))


def test_a_plate_gives_a_result_a_knee_and_a_dragged_center_another(client, knees, synthesize, tmp_path):
    found = synthesize(knees.plate)
    assert [result["query"]["side"] for result in found] == ["right", "left"]
    row, column = found[0]["query"]["center"]
    dragged = (row + 6, column - 4)
    (moved,) = synthesize(knees.plate, right=f"{dragged[0]},{dragged[1]}")
    written(knees.bundle, knees.plate, tmp_path, finder=KneeFinder({"right": dragged}))
    with np.load(tmp_path / "plate_right.npz") as expected:
        np.testing.assert_array_equal(arrays_of(client, moved)["image"], expected["image"])
    assert not np.array_equal(arrays_of(client, moved)["source"], arrays_of(client, found[0])["source"])


@pytest.mark.parametrize("fields", [{}, {"left": "230.5,450.25"}, {"exclude_subject": "P00003"}])
def test_the_command_that_is_shown_gives_the_same_map(client, knees, synthesize, tmp_path, monkeypatch, fields):
    result = synthesize(knees.plate, **fields)[-1]
    program, *words = shlex.split(result["command"])
    assert program == "mris"
    monkeypatch.chdir(knees.plate.parent)
    assert call(*words, "--out", tmp_path, "--formats", "npz", "--no-pictures", "--quiet") == 0
    with np.load(tmp_path / f"{result['stem']}.npz") as expected:
        np.testing.assert_array_equal(arrays_of(client, result)["image"], expected["image"])


def test_without_a_person_nobody_of_that_name_counts(knees, synthesize):
    (result,) = synthesize(knees.knee, side="left")
    first = result["contributions"][0]["people"][0]["subject"]
    (without,) = synthesize(knees.knee, side="left", exclude_subject=first)
    assert without["excluded_subject"] == first
    assert first not in {person["subject"] for person in without["contributions"][0]["people"]}


BAD_FILES = {
    "empty.png": b"",
    "text.png": b"no picture",
    "photo.jpg": b"\xff\xd8\xff\xe0" + bytes(400),
    "cut.dcm": bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI",
    "volume.npy": None,
    "colored.npy": None,
    "constant.npy": None,
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_is_refused_with_the_sentence_of_the_command_line(client, knees, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arrays = {
        "volume.npy": np.ones((40, 50, 60)),
        "colored.npy": np.ones((9, 9), complex),
        "constant.npy": np.ones((9, 9)),
    }
    if name in arrays:
        np.save(tmp_path / name, arrays[name])
    else:
        (tmp_path / name).write_bytes(BAD_FILES[name])
    with pytest.raises(ImageError) as told:
        written(knees.bundle, Path(name), tmp_path / "out", side="left")
    answer = client.post(
        f"{API}/synthesize", files={"file": (name, (tmp_path / name).read_bytes())}, data={"side": "left"}
    )
    assert (answer.status_code, answer.json()["error"]) == (422, "ImageError")
    assert answer.json()["detail"] == str(told.value)


def test_several_files_are_told_one_by_one_and_a_bad_one_stops_no_other(client, knees):
    files = [("file", (name, data)) for name, data in (("a.png", knees.knee.read_bytes()), ("b.png", b"no picture"))]
    files.append(("file", ("c.dcm", knees.plate.read_bytes())))
    answer = client.post(
        f"{API}/synthesize", files=files, data={"side": "left", "hold": "true"}, headers={"Accept": "text/event-stream"}
    )
    events = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    told = [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in events]
    assert [kind for kind, _ in told] == ["file", "problem", "problem", "done"]
    assert told[0][1]["results"][0]["stem"] == "a"
    assert told[0][1]["image"]["id"] == told[0][1]["results"][0]["image"]
    assert "b.png" in told[1][1]["detail"]
    assert "--side says" in told[2][1]["detail"]  # a plate of two is no left knee alone
    assert told[3][1] == {"n_files": 3, "n_done": 1}


def test_when_nobody_listens_any_more_the_work_ends_and_its_place_is_free(url, knees):
    client = client_of(url)
    files = [("file", (f"{number}.dcm", knees.plate.read_bytes())) for number in range(60)]
    events = {"Accept": "text/event-stream"}
    with client.stream("POST", f"{API}/synthesize", files=files, headers=events) as answer:
        assert next(answer.iter_lines()) == "event: file"
    client.close()
    with closing(client_of(url)) as other:
        for _ in range(100):
            text = other.get(f"{API}/metrics").text
            if re.search(r"^mris_requests_waiting 0$", text, flags=re.MULTILINE):
                break
            time.sleep(0.05)
        else:
            pytest.fail("the request goes on")


def test_a_held_image_tells_its_knees_and_what_must_be_asked(client, knees):
    def held(path, **fields):
        answer = client.post(f"{API}/images", files={"file": (path.name, path.read_bytes())}, data=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    plate = held(knees.plate)
    assert (plate["suggested"], plate["needs"], plate["problem"]) == ("find", [], None)
    assert [region["side"] for region in plate["regions"]] == ["right", "left"]
    picture = plate["picture"]
    pixels = np.frombuffer(client.get(picture["url"]).content, "<u2")
    assert len(pixels) == picture["rows"] * picture["columns"]
    assert (pixels.min(), pixels.max()) == (0, 65535)
    asked = {"image": plate["id"], "right": plate["regions"][0]["center"], "find": "true"}
    assert client.post(f"{API}/synthesize", json=asked).json()["results"][0]["query"]["center_source"] == "given"

    knee = held(knees.knee)
    assert (knee["suggested"], knee["needs"]) == ("whole", ["side"])
    told = client.post(f"{API}/images/{knee['id']}/settings", json={"side": "left", "spacing": 4.375}).json()
    assert (told["needs"], told["problem"], told["spacing"]) == ([], None, [4.375, 4.375])


def test_a_center_by_hand_stands_for_a_joint_that_is_not_found(client, knees, tmp_path):
    half = ("half.dcm", write_half_plate(knees.plate, tmp_path / "half.dcm").read_bytes())

    def held(**fields):
        return client.post(f"{API}/images", files={"file": half}, data={"find": "true"} | fields).json()

    found = held()
    assert found["regions"] == [] and "only the one at row" in found["problem"]
    right, left = [230.0, 150.0], [230.5, 450.25]
    placed = held(right="230, 150", left="230.5,450.25")
    assert placed["problem"] is None
    assert [(one["side"], one["center"], one["center_source"]) for one in placed["regions"]] == [
        ("right", right, "given"),
        ("left", left, "given"),
    ]
    settings = {"find": "true", "left": left}
    (one,) = client.post(f"{API}/images/{found['id']}/settings", json=settings).json()["regions"]
    assert (one["side"], one["center"]) == ("left", left)
    outside = client.post(f"{API}/images/{found['id']}/settings", json={"find": "true", "left": [9999, 0]}).json()
    assert "is outside its" in outside["problem"]
    asked = {"image": found["id"], "find": "true", "right": right, "left": left}
    results = client.post(f"{API}/synthesize", json=asked).json()["results"]
    assert [one["query"]["center"] for one in results] == [right, left]


def test_a_download_holds_what_the_command_line_writes(client, knees, synthesize):
    result = synthesize(knees.plate)[0]
    answer = client.get(f"{API}/results/{result['id']}/download", params={"formats": "nifti,npz,png,dicom"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = set(archive.namelist())
        record = json.loads(archive.read("plate_right_provenance.json"))
        with np.load(io.BytesIO(archive.read("plate_right.npz"))) as arrays:
            np.testing.assert_array_equal(arrays["image"], arrays_of(client, result)["image"])
    maps = {f"plate_right{ending}.nii.gz" for ending in ("", "_spread", "_lower", "_upper")}
    pictures = {"plate_right.png", "plate_right_neighbors.png", "plate_right_capture.dcm", "plate_right_map.dcm"}
    assert names == maps | pictures | {"plate_right.npz", "plate_right_provenance.json", "means.csv"}
    assert record["query"]["sha256"] == result["query"]["sha256"]
    assert record["query"]["name"] == "plate.dcm"
    assert "plate" not in answer.headers["content-disposition"]


def test_dicom_results_of_a_picture_without_a_patient_are_refused(client, knees, synthesize):
    (result,) = synthesize(knees.knee, side="left")
    answer = client.get(f"{API}/results/{result['id']}/download", params={"formats": "dicom"})
    assert answer.status_code == 422
    assert "is no DICOM file" in answer.json()["detail"]
    wrong = client.get(f"{API}/results/{result['id']}/download", params={"formats": "jpeg"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "SettingsError")


def test_means_have_intervals_and_what_is_usual_for_a_grade(knees, synthesize):
    (result,) = synthesize(knees.knee, side="left")
    by_part = {(mean["region"], mean["part"]): mean for mean in result["means"]}
    assert {part for _, part in by_part} == {"", "anterior", "posterior"}
    mean = by_part["femoral", "anterior"]
    assert mean["lower"] < mean["mean"] < mean["upper"]
    database = Bundle.open(knees.bundle).members[0].database
    half = database.header.target_shape[2] // 2
    for usual in mean["usual"]:
        if usual["label"] == "klg":
            rows = [row for row, labels in enumerate(database.labels) if labels["klg"] == int(usual["value"])]
            means = [np.nanmean(database.read_targets([row])[0, 0, :, half:]) for row in rows]
            expected = np.percentile(means, [5, 50, 95])
            np.testing.assert_allclose([usual["low"], usual["median"], usual["high"]], expected, rtol=1e-4)
            break
    else:
        pytest.fail("no grade is told")
    assert all(usual["n_people"] >= 10 for usual in mean["usual"])
    assert {usual["label"] for usual in mean["usual"]} <= {"klg", "age"}


def test_what_a_bundle_says_is_told_apart_from_what_is_said_of_the_file(synthesize, tmp_path, rng):
    np.save(tmp_path / "noise.npy", rng.random((64, 64)))
    (result,) = synthesize(tmp_path / "noise.npy", side="left")
    assert "its pixel spacing is unknown" in result["query"]["notes"][0]
    assert result["warnings"] and result["notes"][: len(result["query"]["notes"])] == result["query"]["notes"]
    assert not set(result["warnings"]) & set(result["query"]["notes"])


def test_nothing_of_an_upload_stays_on_the_disk(client, knees, synthesize, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    synthesize(knees.plate)
    client.post(f"{API}/synthesize", files={"file": ("bad.png", b"no picture")})
    (result,) = synthesize(knees.knee, side="left")
    client.get(f"{API}/results/{result['id']}/download")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_two_bundles_answer_one_query(client, knees, synthesize):
    names = [one["name"] for one in client.get(f"{API}/bundles").json()["bundles"]]
    assert names == ["knees", "others"]
    results = [synthesize(knees.knee, side="left", bundle=name)[0] for name in names]
    assert results[0]["bundle_id"] != results[1]["bundle_id"]
    assert client.get(f"{API}/card?bundle=nobody").status_code == 404


def test_the_example_of_the_reference_runs_as_written(knees, url, tmp_path, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "http.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "knee.png").write_bytes(knees.knee.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code.replace("http://127.0.0.1:8765", url), "http.md", "exec"), names)
    assert names["thickness"].shape == (2, 32, 32)
    assert len(names["people"]) == len(names["result"]["contributions"][0]["people"])
    (refused,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    assert set(json.loads(refused)) == {"error", "detail", "request_id"}
