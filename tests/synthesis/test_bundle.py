"""Bundles: made, opened, checked, changed, and mixing members."""

import json
import os
import re
import shutil
import stat
import threading
import time
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mris.cohort.cohort import Cohort
from mris.database.build import commit_first
from mris.database.database import EmbeddingDatabase
from mris.database.header import DatabaseHeader
from mris.errors import (
    BundleError,
    CohortError,
    DatabaseError,
    EncoderMismatchError,
    ImageError,
    OutputError,
    SettingsError,
)
from mris.images.image import Image
from mris.images.lock import writer_lock
from mris.images.transforms import prepare_source
from mris.images.write import write_npz
from mris.synthesis.build_bundle import build_bundle
from mris.synthesis.bundle import Bundle, OnnxEncoder
from mris.synthesis.bundle_checks import check_database_fits
from mris.synthesis.synthesizer import Synthesizer

SUBJECTS = [f"PERSON{row // 2:02d}" for row in range(16)]
SPLITS = ["train"] * 12 + ["test"] * 4


@pytest.fixture
def cohort(make_cohort, rng):
    return make_cohort(SUBJECTS, rng=rng, split=SPLITS)


@pytest.fixture
def combined(tmp_path, cohort, export_linear):
    return build_bundle([export_linear(cohort)], cohort, tmp_path / "combined.bundle", progress=False)


@pytest.fixture
def separate(tmp_path, cohort, export_linear):
    folders = [export_linear(cohort, regions=[name], seed=seed, name=name) for seed, name in enumerate(cohort.regions)]
    return build_bundle(folders, cohort, tmp_path / "separate.bundle", progress=False)


def test_the_encoder_computes_what_its_graph_says(cohort, export_linear):
    folder = export_linear(cohort)
    encoder = OnnxEncoder(folder)
    graph = onnx.load(folder / "target.onnx").graph
    matrix = numpy_helper.to_array(graph.initializer[0])
    targets = cohort.read_targets()
    vectors = np.nan_to_num(targets / 3).reshape(len(targets), -1) @ matrix
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode_targets(targets), expected, atol=1e-5)
    assert np.isnan(targets).any()  # the caller's NaN stays


def test_encoding_in_batches_is_encoding_one_by_one(cohort, export_linear, monkeypatch):
    monkeypatch.setattr("mris.training.onnx_network._LARGEST_BATCH", 5)
    encoder, sources = OnnxEncoder(export_linear(cohort)), cohort.read_sources()
    whole = encoder.encode_sources(sources)
    alone = np.concatenate([encoder.encode_sources(source[None]) for source in sources])
    np.testing.assert_allclose(whole, alone, atol=1e-6)


def test_a_wrong_shape_is_told_with_the_right_one(cohort, export_linear):
    with pytest.raises(ImageError, match=r"\(1, 1, 9, 8\).*\(n, 1, 8, 8\)"):
        OnnxEncoder(export_linear(cohort)).encode_sources(np.zeros((1, 1, 9, 8), np.float32))


def test_a_bundle_holds_the_chosen_splits_only(combined, cohort):
    assert combined.keys.tolist() == cohort.split("train").keys.tolist()
    assert set(combined.members[0].database.splits) == {"train"}


def test_opened_again_it_synthesizes_the_same(combined, cohort):
    sources = cohort.split("test").read_sources()
    again = Bundle.open(combined.path)
    assert again.id == combined.id and len(again.id) == 32
    np.testing.assert_array_equal(
        again.synthesizer(n_neighbors=4).predict(sources), combined.synthesizer(n_neighbors=4).predict(sources)
    )


def test_the_most_neighbors_are_those_that_an_endless_k_finds(combined, separate, cohort):
    source = cohort.read_sources([13])[0]
    for bundle in (combined, separate):
        for one_per_subject, excluded, most in ((False, None, 12), (True, None, 6), (False, "PERSON02", 10)):
            synthesis = bundle.synthesizer(99, one_per_subject=one_per_subject)(source, exclude_subject=excluded)
            assert [part.n_neighbors for part in synthesis.contributions] == [most] * len(bundle.members)
            assert bundle.most_neighbors(one_per_subject=one_per_subject, exclude_subject=excluded) == most


def test_a_synthesis_of_one_member_has_its_neighbors_and_the_bundles_name(combined, cohort):
    synthesis = combined.synthesizer(n_neighbors=4)(cohort.read_sources([13])[0])
    assert synthesis.bundle_id == combined.id
    assert synthesis.neighbors.keys.shape == (1, 4) and synthesis.weights.shape == (4,)


def test_members_of_one_region_each_are_mixed_region_by_region(separate, cohort):
    source = cohort.read_sources([13])[0]
    synthesis = separate.synthesizer(n_neighbors=4)(source)
    assert synthesis.regions == ("femoral", "tibial") == separate.regions
    for channel, member in enumerate(separate.members):
        alone = Synthesizer(member.encoder, member.database, n_neighbors=4)(source)
        np.testing.assert_array_equal(synthesis.image[channel], alone.image[0])
        np.testing.assert_array_equal(synthesis.spread[channel], alone.spread[0])
        assert synthesis.contributions[channel].neighbors.keys.tolist() == alone.neighbors.keys.tolist()
    with pytest.raises(SettingsError, match="mixes 2 databases"):
        _ = synthesis.neighbors


@pytest.mark.parametrize(
    ("wanted", "raw_weights"),
    [
        ([12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1], [12, 11, 10, 9, 8]),
        ([7, -3, 5, -1, -2, -6, -0.5, -4, -5, 2, -8, -7], [7, 5, 2, 0, 0]),
        ([-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12], [1, 1, 1, 1, 1]),
    ],
    ids=["all similarities positive", "mixed", "none positive"],
)
def test_a_source_of_known_similarities_gives_equation_4_of_the_whole_chain_in_plain_numpy(
    tmp_path, make_cohort, export_linear, rng, wanted, raw_weights
):
    targets = rng.uniform(0.5, 3.0, (12, 2, 8, 8)).astype(np.float32)
    targets[rng.uniform(size=targets.shape) < 0.4] = np.nan  # each target lacks pixels of its own
    cohort = make_cohort([f"S{row:02d}" for row in range(12)], rng=rng, targets=targets)
    folder = export_linear(cohort)
    bundle = build_bundle([folder], cohort, tmp_path / "known.bundle", progress=False)
    of_source, of_target = (
        numpy_helper.to_array(onnx.load(folder / f"{kind}.onnx").graph.initializer[0]).astype(np.float64)
        for kind in ("source", "target")
    )
    stored = cohort.read_targets()
    gallery = np.nan_to_num(stored / 3).reshape(12, -1) @ of_target
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    # 12 embeddings of 16 dimensions: some direction has any 12 products with them that are wanted.
    direction = np.linalg.pinv(gallery) @ np.array(wanted, dtype=np.float64)
    source = (direction @ np.linalg.pinv(of_source)).reshape(1, 8, 8).astype(np.float32)

    synthesis = bundle.synthesizer(n_neighbors=5)(source)

    nearest = np.argsort(-np.array(wanted))[:5]
    assert synthesis.neighbors.keys[0].tolist() == cohort.keys[nearest].tolist()
    cosines = np.array(wanted)[nearest] / np.linalg.norm(direction)
    np.testing.assert_allclose(synthesis.neighbors.similarities[0], cosines, atol=1e-5)
    weights = np.array(raw_weights) / sum(raw_weights)
    np.testing.assert_allclose(synthesis.weights, weights, atol=1e-4)
    for place in np.ndindex(2, 8, 8):
        total = value = 0.0
        for weight, row in zip(weights, nearest, strict=True):
            if not np.isnan(stored[(row, *place)]):
                total, value = total + weight, value + weight * float(stored[(row, *place)])
        expected = value / total if total else np.nan
        np.testing.assert_allclose(synthesis.image[place], expected, rtol=1e-3)


def test_a_mixed_stream_is_one_by_one(separate, cohort):
    synthesizer = separate.synthesizer(n_neighbors=3, one_per_subject=True)
    sources = cohort.read_sources()
    for source, subject, streamed in zip(
        sources, SUBJECTS, synthesizer.stream(sources, exclude_subjects=SUBJECTS, batch_size=5), strict=True
    ):
        np.testing.assert_allclose(streamed.image, synthesizer(source, exclude_subject=subject).image, rtol=1e-5)
        assert all(subject not in part.neighbors.subjects for part in streamed.contributions)


def test_neighbor_maps_are_the_neighbors_targets(separate, cohort):
    synthesizer = separate.synthesizer(n_neighbors=4)
    synthesis = synthesizer(cohort.read_sources([13])[0])
    maps = synthesizer.neighbor_maps(synthesis, 2)
    for channel, (part, found) in enumerate(zip(synthesis.contributions, maps, strict=True)):
        assert found.shape == (2, 1, 8, 8)
        positions = [cohort.keys.tolist().index(key) for key in part.neighbors.keys[0, :2]]
        np.testing.assert_array_equal(found[:, 0], cohort.read_targets(positions)[:, channel])


def test_an_image_goes_through_the_bundles_own_preparation(combined, rng):
    image = Image.from_array(rng.uniform(0, 4000, (40, 30)))
    synthesizer = combined.synthesizer(n_neighbors=4)
    prepared = prepare_source(image, combined.members[0].encoder.preparation)
    np.testing.assert_array_equal(synthesizer(image).image, synthesizer(prepared).image)


def test_pairs_are_added_to_and_removed_from_all_members(separate, cohort):
    assert separate.add(cohort.split("test"), progress=False) == 4
    again = Bundle.open(separate.path)
    assert sorted(again.keys.tolist()) == sorted(cohort.keys.tolist())
    assert again.remove(["PERSON00", "PERSON07"]).n_entries == 4
    assert again.purge() == ("PERSON00", "PERSON07")
    again = Bundle.open(separate.path)
    assert {len(member.database) for member in again.members} == {12}
    assert again.verify().ok
    left = [p for p in (separate.path).rglob("*") if p.is_file() and b"PERSON07" in p.read_bytes()]
    assert left == []
    with pytest.raises(DatabaseError, match="'PERSON99'"):
        again.remove(["PERSON99"])
    with pytest.raises(DatabaseError, match="already has 2 of these keys"):
        again.add(cohort.select([1, 2, 3]), progress=False)
    assert again.add(cohort.select([2, 3]), progress=False) == 0


def test_a_member_s_database_is_changed_through_its_bundle_only(separate, cohort):
    member = separate.members[0]
    for change in (
        lambda: member.database.add(cohort.split("test"), member.encoder, progress=False),
        lambda: member.database.remove(["PERSON00"]),
        lambda: member.database.purge(),
    ):
        with pytest.raises(DatabaseError, match="is part of bundle"):
            change()
    with pytest.raises(DatabaseError, match="open the bundle"):
        EmbeddingDatabase.open(member.database.path)


def test_the_model_card_says_what_it_is_and_is_not(combined):
    card = (combined.path / "model_card.md").read_text()
    for words in (
        "not a medical",
        "Personal data",
        combined.id,
        "| subjects | 6 |",
        combined.members[0].encoder.fingerprint,
    ):
        assert words in card


def test_what_is_known_of_a_bundle_stands_in_its_card_and_stays_there(tmp_path, cohort, export_linear):
    told = "Judged on {71} knees: wrong by 0.6 mm."
    made = build_bundle([export_linear(cohort)], cohort, tmp_path / "b", evaluation=told, progress=False)
    made.remove([str(made.subjects[0])])
    assert told in (made.path / "model_card.md").read_text()
    assert not made.verify().findings


@pytest.mark.parametrize("name", ["combined", "separate"])
def test_the_model_card_tells_what_the_database_holds_now(request, cohort, name):
    bundle = request.getfixturevalue(name)

    def said():
        return re.findall(r"^\| (?:entries|subjects|splits).*", (bundle.path / "model_card.md").read_text(), flags=re.M)

    def told(entries, subjects, splits):
        return [f"| entries | {entries} |", f"| subjects | {subjects} |", f"| splits of the cohorts | {splits} |"]

    few = "others: fewer than 10 subjects"
    assert said() == told(12, 6, few)
    bundle.add(cohort.split("test"), progress=False)
    assert said() == told(16, 8, few)
    bundle.remove(["PERSON00", "PERSON07"])
    assert said() == told(12, 6, few)
    bundle.remove(sorted(set(bundle.subjects)))
    assert said() == told(0, 0, "none")
    assert "train" not in (bundle.path / "bundle.json").read_text()
    Bundle.open(bundle.path).add(cohort, progress=False)
    assert said() == told(16, 8, few)


def test_an_edited_card_is_found_and_written_anew_by_the_next_change(combined):
    card = combined.path / "model_card.md"
    right = card.read_text()
    card.write_text(right.replace("| subjects | 6 |", "| subjects | 60 |"))
    assert "model_card.md does not tell what the bundle holds" in combined.verify().summary()
    Bundle.open(combined.path).purge()
    assert card.read_text() == right and combined.verify().ok


def test_an_addition_that_fails_leaves_the_card_of_what_is_there(combined, cohort, monkeypatch):
    def files():
        return {path: path.read_bytes() for path in combined.path.iterdir() if path.name != ".lock" and path.is_file()}

    before = files()

    def full(self):
        raise OutputError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("mris.database.table.EntryWriter.commit", full)
        with pytest.raises(OutputError, match="disk full; what was there before is unchanged"):
            combined.add(cohort.split("test"), progress=False)
    assert files() == before
    assert Bundle.open(combined.path).verify().ok and len(Bundle.open(combined.path).keys) == 12


def test_a_further_visit_of_a_person_is_added_and_left_out_with_the_others(combined, make_cohort, cohort, rng):
    visit = make_cohort(["PERSON00"], rng=rng, name="visit", timepoints=["48"])
    assert combined.add(visit, progress=False) == 1
    assert combined.subjects.tolist().count("PERSON00") == 3
    synthesis = combined.synthesizer(n_neighbors=99)(cohort.read_sources([0])[0], exclude_subject="PERSON00")
    assert synthesis.neighbors.counts.tolist() == [10]
    assert combined.remove(["PERSON00"]).n_entries == 3


def test_an_addition_of_nothing_is_refused(combined, cohort):
    with pytest.raises(DatabaseError, match="no pair in this selection"):
        combined.add(cohort.select([]), progress=False)


def test_a_replaced_network_is_refused_before_it_computes_anything(combined, cohort):
    path = combined.path / "members" / "femoral_tibial" / "source.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    bundle = Bundle.open(combined.path)
    with pytest.raises(BundleError, match=r"source\.onnx.*SHA-256"):
        bundle.synthesizer()(cohort.read_sources([0])[0])
    report = bundle.verify()
    assert not report.ok and "damaged" in report.summary()


@pytest.mark.parametrize("name", ["source.onnx", "target.onnx", "encoder.json", "database/database.json"])
def test_a_missing_part_costs_one_clear_line(combined, name):
    (combined.path / "members" / "femoral_tibial" / name).unlink()
    with pytest.raises((BundleError, DatabaseError), match=r"no |missing") as caught:
        Bundle.open(combined.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["truncate", "empty", "list", "version", "no members", "path"])
def test_a_damaged_header_costs_one_clear_line(combined, damage):
    path = combined.path / "bundle.json"
    values = json.loads(path.read_text())
    outside = [values["members"][0] | {"name": "../../elsewhere"}]
    text = {
        "truncate": path.read_text()[:50],
        "empty": "",
        "list": "[]",
        "version": json.dumps(values | {"format_version": 7}),
        "no members": json.dumps(values | {"members": []}),
        "path": json.dumps(values | {"members": outside}),
    }[damage]
    path.write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json") as caught:
        Bundle.open(combined.path)
    assert "\n" not in str(caught.value)


def test_a_changed_encoder_card_is_refused(combined):
    path = combined.path / "members" / "femoral_tibial" / "encoder.json"
    path.write_text(path.read_text().replace("3.0", "4.0"))
    with pytest.raises(BundleError, match=r"encoder\.json"):
        Bundle.open(combined.path)


def test_an_index_of_each_member_grows_with_additions_and_survives_a_purge(separate, cohort):
    pytest.importorskip("faiss", reason="the extra 'index' is not installed")
    separate.create_index()
    separate.add(cohort.split("test"), progress=False)
    separate.remove(["PERSON00"], purge=True)
    assert [member.database.state.index.n_entries for member in separate.members] == [14, 14]
    report = separate.verify()
    assert report.ok and report.summary().count("its index finds 1.0000 of what the exact search finds") == 2
    for member in separate.members:
        found = member.database.search(member.database.embeddings, 1, exact=False)
        assert found.rows[:, 0].tolist() == list(range(14))
    separate.drop_index()
    assert not any(member.database.has_index for member in separate.members) and separate.verify().ok


def test_an_edited_header_is_refused_at_open_and_named_by_verify(combined):
    member = combined.path / "members" / "femoral_tibial"
    edits = {
        member / "database" / "database.json": ('"mm"', '"cm"'),
        combined.path / "bundle.json": ('"mm"', '"cm"'),
        combined.path / "commit.json": ('"n_entries": 12', '"n_entries": 11'),
        member / "encoder.json": ('"mm"', '"cm"'),
    }
    for path, (old, new) in edits.items():
        right = path.read_text()
        assert old in right
        path.write_text(right.replace(old, new, 1))
        with pytest.raises((BundleError, DatabaseError), match=path.name):
            Bundle.open(combined.path)
        path.write_text(right)
    mask = member / "database" / "atlas_mask.1.npz"
    right = mask.read_bytes()
    write_npz(mask, mask=np.ones((2, 8, 8), dtype=bool))
    with pytest.raises(DatabaseError, match=r"atlas_mask\.1\.npz is damaged or edited"):
        Bundle.open(combined.path)
    assert "atlas_mask.1.npz is damaged or edited" in combined.verify().summary()
    mask.write_bytes(right)
    assert Bundle.open(combined.path).verify().ok


def test_a_database_whose_header_contradicts_its_encoder_is_refused(tmp_path, combined, cohort, projection_encoder):
    """Even if somebody has put a commit of their own beside it: fingerprint, regions, shape, unit are compared."""
    folder = combined.path / "members" / "femoral_tibial" / "database"
    folder.rename(tmp_path / "aside")
    other = EmbeddingDatabase.build(folder, cohort, projection_encoder.of(cohort), progress=False)
    state = other.commit.tables["."]
    commit_first(combined.path, {"members/femoral_tibial/database": state}, ["bundle.json"])
    with pytest.raises(EncoderMismatchError, match="cannot be compared"):
        Bundle.open(combined.path)


def test_a_removed_person_is_not_served_by_a_bundle_that_was_open_before(separate, cohort):
    synthesizer, source = separate.synthesizer(n_neighbors=99), cohort.read_sources([0])[0]
    before = synthesizer(source)
    assert all("PERSON00" in part.neighbors.subjects for part in before.contributions)
    Bundle.open(separate.path).remove(["PERSON00"], purge=True)
    after = synthesizer(source)
    for part in after.contributions:
        assert "PERSON00" not in part.neighbors.subjects and part.n_neighbors == 10
    with pytest.raises(DatabaseError, match=r"'PERSON00/0'.*may have been removed"):
        synthesizer.neighbor_maps(before, 99)


def test_two_open_bundles_lose_no_addition_and_double_none(separate, cohort, make_cohort, rng):
    first, second = Bundle.open(separate.path), Bundle.open(separate.path)
    targets = rng.uniform(0.5, 3.0, (2, 2, 8, 8)).astype(np.float32)
    targets[0, :, 4:], targets[1, :, :4] = np.nan, np.nan  # each has values outside the mask, elsewhere
    one, two = (make_cohort([f"NEW{i}"], rng=rng, name=f"new{i}", targets=targets[[i]]) for i in (0, 1))
    assert first.add(one, progress=False) == second.add(two, progress=False) == 1
    assert second.add(one, progress=False) == first.add(two, progress=False) == 0
    opened = Bundle.open(separate.path)
    assert opened.verify().ok and len(opened.keys) == 14 and len(set(opened.keys)) == 14
    for member in opened.members:
        assert member.database.atlas_mask.all()


def test_a_batch_is_of_one_state_even_if_a_person_is_purged_in_its_middle(separate, cohort, monkeypatch):
    """The first member has answered when the purge happens: the whole batch is answered anew."""
    synthesizer, source = separate.synthesizer(n_neighbors=99, memory_limit=0), cohort.read_sources([0])[0]
    search, purged = EmbeddingDatabase.search, []

    def purging(database, *args, **kwargs):
        found = search(database, *args, **kwargs)
        if database.regions == ("tibial",) and not purged:
            purged.append(Bundle.open(separate.path).remove(["PERSON01"], purge=True))
        return found

    monkeypatch.setattr(EmbeddingDatabase, "search", purging)
    synthesis = synthesizer(source)
    assert purged and [part.n_neighbors for part in synthesis.contributions] == [10, 10]


def test_a_bundle_that_is_a_link_to_another_s_table_is_not_changed_through_it(tmp_path, combined, cohort):
    copied = tmp_path / "copied.bundle"
    shutil.copytree(combined.path, copied)
    table = copied / "members" / "femoral_tibial" / "database" / "entries.lance"
    shutil.rmtree(table)
    table.symlink_to(combined.path / "members" / "femoral_tibial" / "database" / "entries.lance")
    for change in (lambda b: b.remove(["PERSON00"], purge=True), lambda b: b.add(cohort.split("test"), progress=False)):
        with pytest.raises(DatabaseError, match=r"lies outside .*copied"):
            change(Bundle.open(copied))
    assert combined.verify().ok and len(Bundle.open(combined.path).keys) == 12


def test_a_second_writer_waits_for_the_first_and_says_for_whom_or_stops_at_once(combined, cohort, caplog):
    done = []
    with writer_lock(combined.path / ".lock", "mris bundle purge") as lock:
        with pytest.raises(OutputError, match=rf"mris bundle purge \(process {os.getpid()} on .*, since 2"):
            combined.add(cohort.split("test"), progress=False, wait=False)
        waiter = threading.Thread(
            target=lambda: done.append(Bundle.open(combined.path).add(cohort.split("test"), progress=False))
        )
        waiter.start()
        deadline = time.monotonic() + 30
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "waiting for mris bundle purge (process" in caplog.text and not done
        lock.finish()
    waiter.join(30)
    assert done == [4] and Bundle.open(combined.path).verify().ok


def test_a_bundle_is_its_owners_alone_until_it_is_shared_and_stays_shared(combined, cohort):
    def rights():
        paths = [combined.path, *combined.path.rglob("*")]
        return {stat.S_IMODE(path.stat().st_mode) for path in paths}

    assert rights() == {0o700, 0o600}
    combined.path.chmod(0o750)
    combined.add(cohort.split("test"), progress=False)
    assert rights() == {0o750, 0o640}


def test_a_removal_without_a_purge_is_told_until_it_is_purged(combined):
    assert combined.remove(["PERSON00"]).subjects == ("PERSON00",)
    again = combined.remove(["PERSON00"])
    assert (again.n_entries, again.subjects, again.earlier) == (0, (), ("PERSON00",))
    assert "1 removed subject still on the disk" in combined.verify().summary()
    assert combined.remove(["PERSON00"], purge=True).earlier == ("PERSON00",)
    assert "still on the disk" not in combined.verify().summary()
    assert not [p for p in combined.path.rglob("*") if p.is_file() and b"PERSON00" in p.read_bytes()]
    with pytest.raises(DatabaseError, match="'PERSON00', neither in a database nor removed and still on the disk"):
        combined.remove(["PERSON00"], purge=True)


def test_a_purge_takes_pixels_off_the_mask_that_only_the_removed_had(combined, make_cohort, rng):
    before = combined.members[0].database.atlas_mask
    everywhere = rng.uniform(0.5, 3.0, (1, 2, 8, 8)).astype(np.float32)
    combined.add(make_cohort(["NEW"], rng=rng, name="new", targets=everywhere), progress=False)
    assert combined.members[0].database.atlas_mask.all() and not before.all()
    combined.remove(["NEW"], purge=True)
    np.testing.assert_array_equal(combined.members[0].database.atlas_mask, before)
    assert [path.name for path in combined.path.rglob("atlas_mask*")] == [combined.members[0].database.state.mask]


def test_every_flipped_bit_of_every_file_is_found_by_verify(combined, cohort, rng):
    combined.remove(["PERSON00"])  # so that there is a file of deletions, too
    files = [path for path in combined.path.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert {".lance", ".manifest", ".txn", ".arrow", ".npz", ".json", ".onnx", ".md"} <= kinds
    for path in files:
        pristine = path.read_bytes()
        if path.name in (".lock", "latest_version_hint.json"):  # what answers nothing
            continue
        for _ in range(3):
            damaged = bytearray(pristine)
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            try:
                report = Bundle.open(combined.path).verify()
            except (BundleError, DatabaseError):
                continue
            assert not report.ok, path
        path.write_bytes(pristine)
    assert combined.verify().ok


def test_a_flipped_bit_of_the_table_is_found_or_changes_no_answer(combined, cohort, rng):
    sources = cohort.split("test").read_sources()
    right = combined.synthesizer(n_neighbors=5, memory_limit=0).predict(sources)
    table = combined.path / "members" / "femoral_tibial" / "database" / "entries.lance"
    files = [path for path in table.rglob("*") if path.is_file()]
    found = 0
    for _ in range(60):
        path = files[rng.integers(len(files))]
        pristine = path.read_bytes()
        damaged = bytearray(pristine)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            answers = Bundle.open(combined.path).synthesizer(n_neighbors=5, memory_limit=0).predict(sources)
        except DatabaseError:
            found += 1
        else:
            np.testing.assert_array_equal(answers, right)
        path.write_bytes(pristine)
    assert found >= 5


def test_a_folder_that_is_no_bundle_says_what_makes_one(tmp_path):
    with pytest.raises(BundleError, match="mris index"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="mris index"):
        Bundle.open(tmp_path / "absent")


def test_what_contradicts_is_refused_and_leaves_nothing(tmp_path, cohort, make_cohort, export_linear, rng):
    whole, femoral = export_linear(cohort), export_linear(cohort, regions=["femoral"], name="femoral")
    out = tmp_path / "new.bundle"
    with pytest.raises(BundleError, match="region 'femoral' is given by two"):
        build_bundle([whole, femoral], cohort, out, progress=False)
    larger = make_cohort(["A", "B"], rng=rng, name="larger", size=(8, 10))
    with pytest.raises(BundleError, match="differ in source shape"):
        build_bundle([whole], larger, out, progress=False)
    with pytest.raises(CohortError, match="no split 'tain'"):
        build_bundle([whole], cohort, out, splits=["tain"], progress=False)
    scaled = export_linear(cohort, regions=["tibial"], name="other", unit="voxel")
    with pytest.raises(BundleError, match="differ in unit"):
        build_bundle([femoral, scaled], cohort, out, progress=False)
    with pytest.raises(BundleError, match="no encoder"):
        build_bundle([], cohort, out, progress=False)
    assert not out.exists() and not list(tmp_path.glob(".new*"))


def test_a_cohort_whose_sources_show_another_extent_than_the_encoder_s_is_refused(tmp_path, cohort, export_linear):
    header = json.loads((cohort.path / "cohort.json").read_text())
    encoder = export_linear(cohort, preparation=header["source"] | {"extent_mm": [100.0, 100.0]})
    build_bundle([encoder], cohort, tmp_path / "of_unknown.bundle", progress=False)  # as earlier cohorts

    def bundle_of(edge):
        header["source"]["extent_mm"] = [edge, edge]
        (cohort.path / "cohort.json").write_text(json.dumps(header))
        build_bundle([encoder], Cohort.open(cohort.path), tmp_path / f"{edge}.bundle", progress=False)

    bundle_of(101.0)
    with pytest.raises(BundleError, match=r"differ in what sources show \(mm\): \(100\.0, 100\.0\) and \(140\.0, 140"):
        bundle_of(140.0)


def test_an_existing_bundle_is_refused(combined, cohort, tmp_path):
    with pytest.raises(BundleError, match="exists"):
        build_bundle([tmp_path / "encoder"], cohort, combined.path, progress=False)


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_network_costs_one_clear_line(cohort, export_linear, content):
    folder = export_linear(cohort)
    (folder / "source.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"source\.onnx cannot be loaded") as caught:
        OnnxEncoder(folder).encode_sources(cohort.read_sources([0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format_version": 3}, "format_version 3"),
        ({"target_scale": 0.0}, r"target_scale is 0\.0: input should be greater than 0"),
        ({"target_shape": [1, 8, 8]}, "contradict"),
        ({"preparation": {"size": [0, 0]}}, "damaged"),
        ({"source_shape": [1, 2]}, "damaged"),
    ],
)
def test_an_encoder_card_that_cannot_be_is_refused(cohort, export_linear, change, match):
    with pytest.raises(BundleError, match=match):
        OnnxEncoder(export_linear(cohort, **change))


def test_a_database_of_other_features_than_its_encoder_gives_is_refused(make_cohort, rng, export_linear):
    encoder = OnnxEncoder(export_linear(make_cohort(["A", "B"], rng=rng)))  # its embedding is its only feature
    card = encoder.card
    header = DatabaseHeader(
        **{"fingerprint": encoder.fingerprint, "embedding_dim": card.embedding_dim, "regions": card.regions},
        **{"target_shape": card.target_shape, "target_spacing": card.target_spacing, "unit": card.unit},
        **{"n_features": card.embedding_dim, "n_components": 0, "mirror_targets": False, "created": "", "software": ""},
    )

    def check(**features: int) -> None:
        opened = SimpleNamespace(header=header.model_copy(update=features), path="entries")
        check_database_fits(opened, encoder)

    check()
    check(n_features=0)  # from before there were features
    told = "differ in features: 12 learned and 4 components and 16 learned and 0 components; restore a copy"
    with pytest.raises(BundleError, match=told):
        check(n_components=4)
