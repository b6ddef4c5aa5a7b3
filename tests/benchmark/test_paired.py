# SPDX-License-Identifier: Apache-2.0
"""Differences to the baseline with their intervals: exact where they must be, and as a plain loop would find them."""

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_scdae.benchmark.cells import scores_file
from anomalib_scdae.benchmark.report.bootstrap import RESAMPLES, interval, resampled_auroc, resampled_images
from anomalib_scdae.benchmark.report.charts import Charts
from anomalib_scdae.benchmark.report.headline import AHEAD, LEVEL, judge, summarise
from anomalib_scdae.benchmark.report.markdown import to_markdown
from anomalib_scdae.benchmark.report.page import assemble, to_html
from anomalib_scdae.benchmark.report.paired import Difference, Pairs, paired_differences, read_scores
from anomalib_scdae.benchmark.report.results import Average, Results, parse_results
from anomalib_scdae.benchmark.report.tables import Table
from anomalib_scdae.metrics.anomaly_types import auroc_per_type
from tests.benchmark.report_data import LOGICAL, MEAN, STRUCTURAL, image_names, make_study

SCDAE, BASELINE = "SCDAE", "EfficientAd (mended)"


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Types of some images, and two models' scores of them, with ties."""
    counts = [draw(st.integers(1, 6)) for _ in range(3)]
    types = np.repeat(["good", LOGICAL, STRUCTURAL], counts)
    numbers = st.lists(st.integers(0, 5), min_size=len(types), max_size=len(types))
    return types, np.array(draw(numbers), dtype=float), np.array(draw(numbers), dtype=float)


def plain_auroc(scores: list[float], types: list[str], kind: str) -> float:
    """The share of pairs in the right order, by a loop over all of them."""
    good = [score for score, name in zip(scores, types, strict=True) if name == "good"]
    bad = [score for score, name in zip(scores, types, strict=True) if name == kind]
    return fmean(1.0 if b > g else 0.5 if b == g else 0.0 for b in bad for g in good)


@given(scored_images())
@settings(max_examples=30)
def test_resampled_auroc_is_that_of_the_drawn_images(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    types, scores, _ = case
    counts = resampled_images(image_names(types), types, resamples=5)
    found = resampled_auroc(scores, types, counts)
    for number, count in enumerate(counts):
        drawn = [(score, kind) for score, kind, n in zip(scores, types, count, strict=True) for _ in range(n)]
        for kind in (LOGICAL, STRUCTURAL):
            assert found[kind][number] == pytest.approx(plain_auroc(*map(list, zip(*drawn, strict=True)), kind))


@given(scored_images())
def test_images_that_are_drawn_once_give_the_figure_of_the_cell(case: tuple[np.ndarray, ...]) -> None:
    types, scores, _ = case
    once = resampled_auroc(scores, types, np.ones((1, len(types)), dtype=int))
    assert {kind: value.item() for kind, value in once.items()} == pytest.approx(auroc_per_type(scores, types))


@given(scored_images())
def test_as_many_images_of_each_type_are_drawn_as_there_are_and_always_the_same(
    case: tuple[np.ndarray, ...],
) -> None:
    types, *_ = case
    counts = resampled_images(image_names(types), types, resamples=50)
    for kind in np.unique(types):
        assert (counts[:, types == kind].sum(axis=1) == (types == kind).sum()).all()
    assert (counts == resampled_images(image_names(types), types, resamples=50)).all()
    if len(types) > 6:
        assert (counts != resampled_images([f"other/{name}" for name in image_names(types)], types, 50)).any()


@given(scored_images())
@settings(max_examples=30)
def test_interval_holds_the_difference_of_the_images_that_there_are(case: tuple[np.ndarray, ...]) -> None:
    types, own, other = case
    counts, once = resampled_images(image_names(types), types), np.ones((1, len(types)), dtype=int)
    for kind in (LOGICAL, STRUCTURAL):
        drawn, point = (
            resampled_auroc(own, types, each)[kind] - resampled_auroc(other, types, each)[kind]
            for each in (counts, once)
        )
        low, high = interval([drawn[None]])
        assert low - 1e-12 <= point.item() <= high + 1e-12


def test_interval_is_that_of_a_plain_loop() -> None:
    """Over seeds within categories and over categories; a loop draws other random numbers and finds about the same."""
    rng = np.random.default_rng(1)
    categories = [rng.normal(centre, 1.0, (3, 1)) + rng.normal(0, 0.5, (3, RESAMPLES)) for centre in (-1.0, 0.0, 2.0)]
    means = []
    for number in range(RESAMPLES):
        of_category = [fmean(figures[rng.integers(3), number] for _ in range(2)) for figures in categories]
        means.append(fmean(of_category[rng.integers(3)] for _ in range(2)))
    assert interval(categories) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.2)
    assert interval(categories) == interval(categories)


@pytest.mark.parametrize("count", [6, 12, 40])
def test_spread_over_seeds_is_the_standard_error_of_their_mean(count: int) -> None:
    """Which drawing as many seeds as there are would put too low: for six of them by a tenth."""
    seeds = np.random.default_rng(2).normal(size=count)
    low, high = interval([np.repeat(seeds[:, None], RESAMPLES, axis=1)])
    assert (high - low) / (2 * 1.96) == pytest.approx(seeds.std(ddof=1) / count**0.5, rel=0.06)
    assert low < seeds.mean() < high


def test_two_seeds_may_be_either_of_them() -> None:
    assert interval([np.repeat([[0.25], [0.75]], RESAMPLES, axis=1)]) == (0.25, 0.75)


def results_of(folder: Path, record: dict[str, Any]) -> Results:
    return parse_results(folder, record)


def table_of(results: Results) -> Table:
    (table,) = (item for item in paired_differences(results) if isinstance(item, Table))
    return table


def test_the_baseline_differs_from_itself_by_nothing_at_all(tmp_path: Path) -> None:
    pairs = Pairs(results_of(tmp_path, make_study(tmp_path)))
    for kind in (LOGICAL, STRUCTURAL, MEAN):
        assert pairs.auroc(BASELINE, kind, "SyntheticLOCO") == Difference(0.0, 0.0, 0.0, 4, 2)
    found = pairs.auroc(BASELINE, MEAN, "SyntheticLOCO")
    assert found is not None
    assert found.verdict == "no difference within 0.0 points"


def test_difference_is_that_of_the_averages_and_lies_in_its_interval(tmp_path: Path) -> None:
    results = results_of(tmp_path, make_study(tmp_path))
    pairs = Pairs(results)
    for kind in (LOGICAL, STRUCTURAL, MEAN):
        for category in (None, "category_0", "category_1"):
            found = pairs.auroc(SCDAE, kind, "SyntheticLOCO", category)
            average = results.average(SCDAE, f"accuracy.image_auroc.{kind}", "SyntheticLOCO", category, minus=BASELINE)
            assert found is not None
            assert average is not None
            assert found.low is not None
            assert found.high is not None
            assert found.mean == pytest.approx(average.mean)
            assert found.pairs == average.count
            assert found.low <= found.mean <= found.high
            assert found.high - found.low > 0.01


def test_images_that_all_seeds_share_are_drawn_for_all_of_them_alike(tmp_path: Path) -> None:
    """Else their luck would be averaged away, as if each seed had been tested on images of its own."""
    record = make_study(tmp_path, categories=1, seeds=6)
    first = {cell["row"]: cell["id"] for cell in record["cells"] if cell["seed"] == 0}
    for cell in record["cells"]:  # six trainings that end alike
        scores_file(tmp_path, cell["id"]).write_bytes(scores_file(tmp_path, first[cell["row"]]).read_bytes())
        same = next(other for other in record["cells"] if other["id"] == first[cell["row"]])
        cell["accuracy"] = same["accuracy"]
    one = {**record, "cells": [cell for cell in record["cells"] if cell["seed"] == 0]}
    several, single = (
        Pairs(results_of(tmp_path, each)).auroc(SCDAE, LOGICAL, "SyntheticLOCO") for each in (record, one)
    )
    assert several is not None
    assert single is not None
    assert several[:3] == pytest.approx(single[:3])


def test_table_has_a_block_for_the_average_and_each_category_and_a_sentence_for_each_row(tmp_path: Path) -> None:
    table = table_of(results_of(tmp_path, make_study(tmp_path, images=40)))
    assert list(dict.fromkeys(table.frame.index)) == ["Average over the categories", "category_0", "category_1"]
    assert [value.text for value in table.frame.iloc[:2, 0]] == [SCDAE, "Stfpm"]
    text = table.frame.iloc[0]["image AUROC", "logical"].text
    assert text.startswith("+")
    assert " (+" in text
    assert table.notes[0].startswith(f"{SCDAE} against {BASELINE}: ahead by ")
    assert "on structural anomalies" in table.notes[0]
    assert "no difference within" in table.notes[1]
    assert not any("rest on one seed" in note for note in table.notes)


def test_au_spro_has_an_interval_from_three_cells_on(tmp_path: Path) -> None:
    record = make_study(tmp_path)
    for cell in record["cells"]:
        gain = 0.1 + 0.02 * cell["seed"] if cell["row"] == SCDAE else 0.0
        cell["accuracy"]["au_spro"] = {kind: {"0.05": 0.5 + gain} for kind in (LOGICAL, STRUCTURAL, MEAN)}
    pairs = Pairs(results_of(tmp_path, record))
    found = pairs.spro(SCDAE, LOGICAL, "SyntheticLOCO")
    assert found is not None
    assert found.mean == pytest.approx(0.11)
    assert (found.low, found.high) == pytest.approx((0.10, 0.12))
    record["cells"] = [cell for cell in record["cells"] if (cell["category"], cell["seed"]) != ("category_1", 1)]
    uneven = Pairs(results_of(tmp_path, record)).spro(SCDAE, LOGICAL, "SyntheticLOCO")
    assert uneven is not None
    assert (uneven.low, uneven.pairs) == (None, 2)
    few = pairs.spro(SCDAE, LOGICAL, "SyntheticLOCO", "category_0")
    assert few is not None
    assert few[1:] == (None, None, 2, 2)
    assert few.verdict == ""


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(0.031, 0.008, 0.054, 3, 3), "ahead by 3.1 points (0.8 to 5.4)"),
        (Difference(-0.031, -0.054, -0.008, 3, 3), "behind by 3.1 points (0.8 to 5.4)"),
        (Difference(0.004, -0.006, 0.014, 3, 3), "no difference within 1.4 points"),
        (Difference(-0.004, -0.024, 0.014, 3, 3), "no difference within 2.4 points"),
    ],
)
def test_verdict_is_in_words(difference: Difference, words: str) -> None:
    assert difference.verdict == words


def test_one_seed_is_said_and_one_category_has_no_average(tmp_path: Path) -> None:
    table = table_of(results_of(tmp_path, make_study(tmp_path, categories=1, seeds=1, kinds=1)))
    assert set(table.frame.index) == {"category_0"}
    assert [label for group, label in table.frame.columns if group == "image AUROC"] == ["structural"]
    assert any("rest on one seed" in note for note in table.notes)


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param({(row, "category_1", 1) for row in (SCDAE, BASELINE, "Stfpm")}, id="second category unfinished"),
        pytest.param({(SCDAE, f"category_{n}", 0) for n in range(2)}, id="rows with one seed in common"),
    ],
)
def test_one_seed_is_said_wherever_an_interval_rests_on_one(tmp_path: Path, lost: set[tuple[str, str, int]]) -> None:
    record = make_study(tmp_path)
    record["cells"] = [cell for cell in record["cells"] if (cell["row"], cell["category"], cell["seed"]) not in lost]
    table = table_of(results_of(tmp_path, record))
    assert any("rest on one seed" in note for note in table.notes)


def test_categories_whose_files_are_called_alike_have_draws_of_their_own(tmp_path: Path) -> None:
    """Images of two categories have nothing in common; those of two seeds are the same."""
    record = make_study(tmp_path, seeds=2)
    first = next(cell["id"] for cell in record["cells"])
    for cell in record["cells"]:
        scores_file(tmp_path, cell["id"]).write_bytes(scores_file(tmp_path, first).read_bytes())
    pairs = Pairs(results_of(tmp_path, record))
    drawn = {
        (category, seed): pairs._cell(SCDAE, ("SyntheticLOCO", category, seed)).auroc[LOGICAL]
        for category in ("category_0", "category_1")
        for seed in ("0", "1")
    }
    assert (drawn["category_0", "0"] == drawn["category_0", "1"]).all()
    assert (drawn["category_0", "0"] != drawn["category_1", "0"]).any()


def test_cells_without_scores_of_the_same_images_are_left_out(tmp_path: Path) -> None:
    record = make_study(tmp_path)
    ids = {(cell["row"], cell["category"], cell["seed"]): cell["id"] for cell in record["cells"]}
    scores_file(tmp_path, ids[SCDAE, "category_0", 0]).unlink()
    fewer = scores_file(tmp_path, ids[SCDAE, "category_1", 1])
    fewer.write_text("\n".join(fewer.read_text().splitlines()[:-1]))
    pairs = Pairs(results_of(tmp_path, record))
    first, second = (pairs.auroc(SCDAE, MEAN, "SyntheticLOCO", f"category_{number}") for number in range(2))
    assert first is not None
    assert second is not None
    assert first.pairs == second.pairs == 1


def test_images_are_the_same_in_another_place(tmp_path: Path) -> None:
    record = make_study(tmp_path)
    before = Pairs(results_of(tmp_path, record)).auroc(SCDAE, MEAN, "SyntheticLOCO")
    for cell in record["cells"]:
        if cell["row"] == BASELINE:
            file = scores_file(tmp_path, cell["id"])
            file.write_text(file.read_text().replace("/data/", "/mnt/other/"))
    assert Pairs(results_of(tmp_path, record)).auroc(SCDAE, MEAN, "SyntheticLOCO") == before


@pytest.mark.parametrize("text", ["", "path,type\na/b,good\n", "path,type,score,label\na,good,nan,0\n", "\x00\xff"])
def test_scores_that_cannot_be_read_are_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    assert read_scores(tmp_path / "scores.csv") is None
    assert read_scores(tmp_path / "absent.csv") is None


def test_report_has_table_sentences_and_bars(tmp_path: Path) -> None:
    report = assemble(results_of(tmp_path, make_study(tmp_path)))
    text = to_markdown(report)
    assert f"Differences to {BASELINE} on SyntheticLOCO" in text
    assert "There are no intervals" not in text
    items = [item for section in report["sections"] for item in section["items"]]
    (charts,) = (item for item in items if isinstance(item, Charts) and not item.legend)
    assert list(charts.drawings) == ["SyntheticLOCO: logical anomalies", "SyntheticLOCO: structural anomalies"]
    assert all(row in drawing for row in (SCDAE, "Stfpm") for drawing in charts.drawings.values())
    assert to_html(report).count("Bar chart, difference to") == 2


@pytest.mark.parametrize(("images", "told"), [(9, True), (10, False)])
def test_few_images_are_told(tmp_path: Path, images: int, told: bool) -> None:
    notes = paired_differences(results_of(tmp_path, make_study(tmp_path, images=images)))
    assert any("fewer than 10 images of a type" in str(note) for note in notes) == told


def test_without_scores_one_sentence_says_so_below_the_accuracy(tmp_path: Path) -> None:
    record = make_study(tmp_path)
    text = to_markdown(assemble(parse_results(tmp_path / "elsewhere", record)))
    assert "Differences to" not in text
    assert text.count("There are no intervals of the differences to EfficientAd (mended)") == 1
    for place, cell in enumerate(record["cells"]):  # of images that have no name in common
        scores = scores_file(tmp_path, cell["id"])
        frame = pd.read_csv(scores)
        frame["path"] = [f"/tmp/{place}/{number}/good/{place}.png" for number in range(len(frame))]
        frame.to_csv(scores, index=False)
    text = to_markdown(assemble(parse_results(tmp_path, record)))
    assert text.count("of which both rows' cells need the same") == 1
    ablation = to_markdown(assemble(parse_results(tmp_path / "elsewhere", {**record, "baseline": None})))
    assert "There are no intervals" not in ablation


def test_the_headline_says_no_more_than_the_intervals(tmp_path: Path) -> None:
    """Two pairs of cells may agree by chance, where the few images in them leave everything open."""
    record = make_study(tmp_path, images=4)
    for row, gain in (("SCDAE", 0.30), (BASELINE, 0.29)):
        for cell in (cell for cell in record["cells"] if cell["row"] == row):
            cell["accuracy"]["image_auroc"] = dict.fromkeys((LOGICAL, STRUCTURAL, MEAN), gain)
    results = results_of(tmp_path, record)
    found = Pairs(results).auroc(SCDAE, MEAN, "SyntheticLOCO")
    assert found is not None
    assert found.low is not None
    assert (found.low > 0) == ("ahead" in summarise(results)[0])
    judged = judge(Average(0.01, pd.Series([0.01, 0.01]), 2, 0.0, 1, 1), Difference(0.01, -0.02, 0.04, 2, 2))
    assert judged == LEVEL
    assert judge(Average(0.01, pd.Series([0.01, 0.01]), 2, 0.0, 1, 1), Difference(0.01, 0.002, 0.04, 2, 2)) == AHEAD
