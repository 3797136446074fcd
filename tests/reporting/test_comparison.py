from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from mris.evaluation.evaluate import Evaluation
from mris.evaluation.pictures import Example, MethodPicture
from mris.reporting.comparison import comparison_error_figure, comparison_figure, one_a_stratum
from mris.reporting.grid import errors_map, values_map
from mris.reporting.panels import Scales

SCALES = Scales((values_map(), 0.5, 3.0), (errors_map(), 0.0, 0.8))


def _example(title: str, values: Sequence[float], *, methods: Sequence[str] = ("MRIS", "U-Net")) -> Example:
    """A truth of constant value in the middle of a 20 x 30 image; method m is wrong by values[m]."""
    truth = np.full((2, 20, 30), np.nan, dtype=np.float32)
    truth[0, 6:14, 5:25] = 2.0
    truth[1, 2:18, 2:28] = 1.0
    pictures = [
        MethodPicture(name, truth + np.float32(off), np.abs(truth * 0 + np.float32(off)), off, (off, off + 1), None)
        for name, off in zip(methods, values, strict=True)
    ]
    return Example(title, "S1/0", np.full((1, 24, 24), 0.5, np.float32), truth, tuple(pictures))


@pytest.fixture
def examples() -> tuple[Example, ...]:
    return _example("klg = 0-1", (0.1, 0.2)), _example("klg = 4", (0.3, 0.4))


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def test_an_example_of_each_stratum_is_taken_in_order_and_none_without_a_label() -> None:
    titles = ["best", "median", "worst", "klg = 0-1", "klg = 2", "klg = missing"]
    examples = [_example(title, (0, 0)) for title in titles]
    assert [example.title for example in one_a_stratum(examples, "klg")] == ["klg = 0-1", "klg = 2"]
    assert [example.title for example in one_a_stratum(examples, None)] == ["best", "median", "worst"]
    assert one_a_stratum(examples[:3], "klg") == ()


def test_rows_are_severities_and_columns_source_truth_and_every_method(examples) -> None:
    figure = comparison_figure(examples, 0, "mm", SCALES)
    assert _texts(figure) == ["source", "truth", "MRIS", "U-Net", "klg = 0-1", "klg = 4"]
    images = figure.axes[0].images
    assert len(images) == 2 * 4
    shown = [float(np.nanmean(image.get_array().filled(np.nan))) for image in images]
    assert shown == pytest.approx([0.5, 2.0, 2.1, 2.2, 0.5, 2.0, 2.3, 2.4])
    scales = {image.get_clim() for place, image in enumerate(images) if place % 4}
    assert scales == {(0.5, 3.0)}, "truth and methods share one scale"
    (bar,) = figure.axes[1:]
    assert bar.get_xlabel() == "mm"
    assert bar.get_xlim() == (0.5, 3.0)


def test_errors_have_one_scale_and_say_their_median_in_the_region(examples) -> None:
    figure = comparison_error_figure(examples, 1, "mm", SCALES)
    assert _texts(figure) == [
        *("MRIS", "U-Net", "klg = 0-1", "1.100 mm", "1.200 mm", "klg = 4", "1.300 mm", "1.400 mm")
    ]
    images = figure.axes[0].images
    shown = [float(np.nanmean(image.get_array().filled(np.nan))) for image in images]
    assert shown == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert {image.get_clim() for image in images} == {(0.0, 0.8)}
    (bar,) = figure.axes[1:]
    assert bar.get_xlabel() == "absolute error (mm)"


def test_panels_of_a_region_are_cut_to_the_pixels_that_count_in_any_example(examples) -> None:
    wider = replace(examples[1], truth=examples[1].truth.copy())
    wider.truth[0, 0] = 1.0
    for shown, shape in ((examples, (12, 24)), ((examples[0], wider), (16, 30))):
        figure = comparison_figure(shown, 0, "mm", SCALES)
        assert {image.get_array().shape for place, image in enumerate(figure.axes[0].images) if place % 4} == {shape}


def test_a_region_without_any_pixel_is_shown_whole_and_empty(examples) -> None:
    empty = replace(examples[0], truth=np.full_like(examples[0].truth, np.nan))
    pictures = tuple(replace(picture, region_errors=(np.nan, np.nan)) for picture in empty.pictures)
    figure = comparison_error_figure([replace(empty, pictures=pictures)], 0, "mm", SCALES)
    assert figure.axes[0].images[0].get_array().shape == (20, 30)
    assert _texts(figure).count("no pixel") == 2


def test_no_two_texts_overlap_and_none_leaves_the_figure() -> None:
    methods = ["MRIS-C", "MRIS-S", "encoder-decoder", "ridge on embeddings", "TransUNet", "PCA k-NN"]
    rows = [_example(f"klg = {name}", [0.1] * 6, methods=methods) for name in ("0-1", "2", "3", "4", "unknown")]
    for figure in (comparison_figure(rows, 0, "mm", SCALES), comparison_error_figure(rows, 0, "mm", SCALES)):
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
        panels = [image.get_window_extent() for image in figure.axes[0].images]
        for place, box in enumerate(boxes):
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[:place])
            assert not any(box.overlaps(panel) for panel in panels)


def test_the_examples_of_an_evaluation_are_those_of_its_first_label(evaluation: Evaluation) -> None:
    shown = one_a_stratum(evaluation.examples, evaluation.results.settings.by[0])
    strata = [row.name for row in evaluation.results.strata if row.label and row.name != "missing"]
    assert [example.title.removeprefix("grade = ") for example in shown] == strata
    for example in shown:
        for picture in example.pictures:
            medians = [np.nanmedian(part) for part in picture.error]
            assert picture.region_errors == pytest.approx(medians)
