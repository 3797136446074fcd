"""Parts that need no server: what is held, who waits, what is usual, and what a command line says."""

import shlex
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.tiny_synthesis import tiny_synthesis

from mris.database.database import EmbeddingDatabase
from mris.digital.packaged import FOLDER
from mris.errors import ImageError
from mris.images.image import Image
from mris.images.read import read_image
from mris.knee import joint_detector
from mris.serving.usual_means import usual_means
from mris.synthesis.readouts import Readout
from mris.web.command import command_line
from mris.web.decoding import Decoded
from mris.web.errors import BusyError, GoneError, RequestError
from mris.web.held import Held
from mris.web.images import ReadFile, Wish
from mris.web.people import find_people, remove_person
from mris.web.pictures import picture_of
from mris.web.results import _contribution
from mris.web.served import Entry, ServedBundle, bundle_of
from mris.web.uploads import plain_name
from mris.web.work import MOST_TOGETHER, Places, SynthesisThread


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_a_label_is_found_however_table_and_keyboard_write_its_accents(form, typed):
    label, word = unicodedata.normalize(form, "Zürich"), unicodedata.normalize(typed, "zürich")
    entry = Entry("P1/0", "P1", "0", "", "train", {"site": label})
    served = SimpleNamespace(name="a", use=lambda: SimpleNamespace(entries={entry.key: entry}))
    assert find_people(served, search=word).n_found == 1


def test_nobody_is_removed_from_the_bundle_of_the_package():
    with pytest.raises(RequestError, match="the bundle of the package stays as it is; copy its folder"):
        remove_person(ServedBundle("digital", FOLDER), "P00001", "P00001")


@given(st.lists(st.integers(1, 40), max_size=30))
def test_what_is_held_never_exceeds_its_bound_but_for_one_thing(sizes):
    held = Held[int]("result", 50)
    for number, size in enumerate(sizes):
        name = held.put(number, size)
        assert held.get(name) == number
        assert held.n_bytes <= 50 or len(held) == 1
    held.drop_where(lambda _: True)
    assert (held.n_bytes, len(held)) == (0, 0)


def test_what_was_asked_for_last_is_kept_longest():
    held = Held[str]("result", 2)
    first, second = held.put("a", 1), held.put("b", 1)
    held.get(first)
    held.put("c", 1)
    assert held.get(first) == "a"
    with pytest.raises(GoneError, match="send the file again"):
        held.get(second)


def test_a_place_is_given_back_whatever_happens():
    places = Places(1)
    with pytest.raises(ImageError), places.one():
        with pytest.raises(BusyError), places.one():
            pass
        raise ImageError("bad")
    assert places.taken == 0


@given(st.text(max_size=300))
def test_a_plain_name_is_a_name_and_no_path(name):
    plain = plain_name(name)
    assert plain == Path(plain).name
    assert 0 < len(plain) <= 120 and plain.isprintable() and "\\" not in plain


@example("--exclude-subject", "left")
@given(st.text(st.characters(blacklist_characters="\0"), min_size=1), st.sampled_from(["left", "right", None]))
def test_a_command_line_is_read_back_as_it_was_meant(name, side):
    text = command_line(Path("b.bundle"), name, Wish(side=side, exclude_subject=name, spacing=0.1), finds=True)
    words = shlex.split(text)
    assert words[:3] == ["mris", "synthesize", "b.bundle"]
    assert words[3] == name or (name.startswith("-") and words[3] == f"./{name}")
    assert words[words.index("--exclude-subject") + 1] == name
    assert ("--side" in words) == (side is not None)


def test_a_picture_is_small_keeps_its_ends_and_takes_missing_values_for_the_least(rng):
    pixels = rng.normal(50, 9, (2600, 1300)).astype(np.float32)
    pixels[5, 5] = np.nan
    picture = picture_of(Image.from_array(pixels))
    assert picture.step == 3 and picture.pixels.shape == (867, 434)
    values = picture.least + picture.pixels.astype(float) / 65535 * (picture.largest - picture.least)
    block = pixels[300:303, 600:603].mean()
    assert values[100, 200] == pytest.approx(block, abs=0.01)
    flat = picture_of(Image.from_array(np.full((4, 4), 7.0)))
    assert flat.window[0] < flat.window[1]


def test_queries_that_wait_are_synthesized_together_and_a_bad_one_fails_alone(knees):
    served = ServedBundle("knees", knees.bundle)
    state, together = served.use(), []
    synthesize = state.synthesizer.synthesize_without_doubts
    begun = threading.Event()

    def counted(sources, excluded=None):
        together.append(len(sources))
        begun.wait(20)
        return synthesize(sources, excluded)

    state.synthesizer.synthesize_without_doubts = counted  # type: ignore[method-assign]
    thread = SynthesisThread(served)
    shape = state.bundle.members[0].encoder.card.source_shape
    sources = np.random.default_rng(0).random((5, *shape)).astype(np.float32)
    asked = [thread.submit(source) for source in sources[:4]]
    asked.append(thread.submit(sources[4], "P00003"))
    nobody = thread.submit(np.zeros((3, 9, 9), np.float32))
    begun.set()
    wait([*asked, nobody], 30)
    thread.close()
    assert max(together) > 1
    with pytest.raises(ImageError):
        nobody.result()
    assert asked[4].result().synthesis.excluded_subject == "P00003"
    alone = [synthesize(source[None], None)[0].image for source in sources[:4]]
    for future, expected in zip(asked, alone, strict=False):
        np.testing.assert_allclose(future.result().synthesis.image, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def slow(knees):
    """A thread whose batches take a third of a second, and their sources: ``thread, batches, source_of(number)``."""
    served = ServedBundle("knees", knees.bundle)
    state, batches = served.use(), []
    shape = state.bundle.members[0].encoder.card.source_shape
    (one,) = state.synthesizer.synthesize(np.random.default_rng(0).random((1, *shape)).astype(np.float32))

    def synthesize(sources, excluded=None):
        time.sleep(0.3)  # of which a tenth is waited for who asks again
        batches.append(sources[:, 0, 0, 0].astype(int).tolist())
        return [one] * len(sources)

    state.synthesizer.synthesize_without_doubts = synthesize  # type: ignore[method-assign]
    thread = SynthesisThread(served)
    yield thread, batches, lambda number: np.full(shape, number, np.float32)
    thread.close()


def test_queries_are_answered_in_the_order_of_their_arrival(slow):
    thread, batches, source_of = slow
    numbers = list(range(1, 2 * MOST_TOGETHER))  # 0 is what warms it up
    wait([thread.submit(source_of(number)) for number in numbers], 20)
    assert [number for batch in batches for number in batch if number] == numbers


def test_who_asks_again_at_once_is_answered_together_with_who_waited(slow):
    """Else one batch of the one and one of the others would follow each other, and all wait for both."""
    thread, batches, source_of = slow

    def ask(number):
        for _ in range(6):
            thread.submit(source_of(number)).result(20)
            time.sleep(0.005)

    with ThreadPoolExecutor(3) as clients:
        wait([clients.submit(ask, number) for number in range(3)], 20)
    assert [len(batch) for batch in batches[2:6]] == [3] * 4


def test_a_thread_that_cannot_warm_up_answers_nevertheless(knees, monkeypatch):
    monkeypatch.setattr("mris.web.work.warm", lambda served: 1 / 0)
    served = ServedBundle("knees", knees.bundle)
    thread = SynthesisThread(served)
    shape = served.use().bundle.members[0].encoder.card.source_shape
    answer = thread.submit(np.random.default_rng(0).random(shape).astype(np.float32)).result(20)
    thread.close()
    assert len(answer.synthesis.regions) == 2


def test_what_is_usual_is_told_of_enough_people_alone(make_cohort, projection_encoder, tmp_path, rng):
    subjects = [f"S{row:02d}" for row in range(24)]
    grades = [0] * 12 + [1] * 9 + [None] * 3
    targets = rng.uniform(1, 3, (24, 2, 8, 8)).astype(np.float32)
    targets[:, :, :2] = np.nan
    cohort = make_cohort(subjects, rng=rng, grades=grades, targets=targets)
    database = EmbeddingDatabase.build(tmp_path / "db", cohort, projection_encoder.of(cohort), progress=False)
    part = np.zeros((8, 8), bool)
    part[1:4] = True
    usual = usual_means(database, {"femoral": {"front": part}})
    assert set(usual) == {("femoral", ""), ("femoral", "front"), ("tibial", "")}
    (one,) = usual["femoral", "front"]  # 9 people are too few to be told of
    stored = database.read_targets(np.arange(12))
    expected = np.percentile([np.nanmean(target[0][part]) for target in stored], [5, 50, 95])
    np.testing.assert_allclose((one.low, one.median, one.high), expected, rtol=1e-5)
    assert (one.label, one.value, one.n_people) == ("klg", "0", 12)


@pytest.mark.parametrize(("name", "told"), [("few", "2 entries, by"), ("neighbors", "2 neighbors, similarity")])
def test_a_result_counts_the_people_who_were_averaged_not_those_asked_for(name, told):
    synthesis = tiny_synthesis()
    part = replace(synthesis.contributions[0], readout=Readout(name=name, n_neighbors=20, n_few=20))
    assert _contribution(part, 2, SimpleNamespace(entries={}), synthesis).readout.startswith(told)


def test_a_bundle_is_found_by_its_name(knees):
    bundles = [ServedBundle("a", knees.bundle), ServedBundle("b", knees.other)]
    assert bundle_of(bundles, None) is bundles[0]
    assert bundle_of(bundles, "b") is bundles[1]


def test_a_plate_that_was_looked_at_is_not_searched_again(knees, monkeypatch):
    searched = []
    detect = joint_detector.detect_joints
    monkeypatch.setattr(joint_detector, "detect_joints", lambda plate: searched.append(1) or detect(plate))
    image = read_image(knees.plate)
    file = ReadFile("plate.dcm", Decoded(image, None, "", ""))
    first = file.queries(Wish(), None)
    assert file.queries(Wish(exclude_subject="P00001"), None) is first
    assert len(searched) == 1
    (dragged,) = file.queries(Wish(centers=(("left", (200.0, 400.0)),)), None)
    assert dragged.facts.center_source == "given"
    file.queries(Wish(), None)
    assert len(searched) == 2  # the last wish alone is kept
