# SPDX-License-Identifier: Apache-2.0
"""The picture of the outcome shows the figures that the tables have, and no more columns than a slide has room for."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from anomalib_scdae.benchmark.cells import scores_file
from anomalib_scdae.benchmark.report import write_report
from anomalib_scdae.benchmark.report.headline import summarise
from anomalib_scdae.benchmark.report.outcome import COLUMNS, OUTCOME, draw_outcome
from anomalib_scdae.benchmark.report.paired import Pairs
from anomalib_scdae.benchmark.report.results import Results, parse_results
from tests.benchmark.report_data import LOGICAL, STRUCTURAL, make_results, make_study, write

HEADLINE, BASELINE = "SCDAE", "EfficientAd (mended)"
KINDS = (LOGICAL, STRUCTURAL)


def drawn(results: Results) -> Figure:
    """The figure, which must be there."""
    figure = draw_outcome(results)
    assert figure is not None
    return figure


def with_times(record: dict[str, Any]) -> dict[str, Any]:
    """The record with three figures over the time of each training; the second seed ends later."""
    for cell in record["cells"]:
        cell["over_time"] = {
            key: {"seconds": 60.0 * minutes + cell["seed"], "image_auroc": dict.fromkeys(KINDS, auroc)}
            for key, minutes, auroc in (("1", 1, 0.6), ("2", 2, 0.7 + 0.1 * cell["seed"]), ("end", 3, 0.9))
        }
    return record


def test_bars_and_differences_are_those_of_the_tables(tmp_path: Path) -> None:
    results = parse_results(tmp_path, make_study(tmp_path, categories=2))
    figure = drawn(results)
    first, second, *differences = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["category 0", "category 1"]
    expected = [
        100 * results.average(row, f"accuracy.image_auroc.{kind}", "SyntheticLOCO", "category_0").mean
        for kind in KINDS
        for row in (HEADLINE, BASELINE)
    ]
    ends = {round(bar.get_y(), 3): bar.get_x() + bar.get_width() for bar in first.patches}
    assert [ends[place] for place in sorted(ends)] == pytest.approx(expected)
    for axes, category in zip(differences, ("category_0", "category_1"), strict=True):
        for kind, bar in zip(KINDS, axes.containers, strict=True):
            found = Pairs(results).auroc(HEADLINE, kind, "SyntheticLOCO", category)
            (ends,) = bar.lines[2][0].get_segments()
            assert ends[:, 0] == pytest.approx([100 * found.low, 100 * found.high])


def test_curves_are_averages_over_seeds_on_an_axis_that_all_share(tmp_path: Path) -> None:
    record = with_times(make_study(tmp_path, categories=2))
    for cell in record["cells"]:
        if cell["category"] == "category_0":
            cell["over_time"]["end"]["seconds"] = 1800.0
    figure = drawn(parse_results(tmp_path, record))
    first, second = figure.axes[-2:]
    for line in second.get_lines():
        assert line.get_xdata() == pytest.approx([1 + 1 / 120, 2 + 1 / 120, 3 + 1 / 120])
        assert line.get_ydata() == pytest.approx([60, 75, 90])
    assert len(first.get_lines()) == len(KINDS) * 2
    assert first.get_xlim() == second.get_xlim()
    assert first.get_xlim()[1] >= 30


def test_minutes_that_one_seed_lacks_are_not_averaged_with_others(tmp_path: Path) -> None:
    """As where its set-up took longer than the first of them."""
    record = with_times(make_study(tmp_path, categories=1))
    for cell in record["cells"]:
        if cell["seed"] == 1:
            del cell["over_time"]["1"]
    figure = drawn(parse_results(tmp_path, record))
    for line in figure.axes[-1].get_lines():
        assert line.get_xdata() == pytest.approx([2 + 1 / 120, 3 + 1 / 120])
        assert line.get_ydata() == pytest.approx([75, 90])


def test_the_curve_of_one_row_alone_is_not_drawn(tmp_path: Path) -> None:
    """As where the other row only tests another one's weights."""
    record = with_times(make_study(tmp_path, categories=2))
    whole = drawn(parse_results(tmp_path, record))
    for cell in record["cells"]:
        if cell["row"] == BASELINE:
            cell["over_time"] = {}
    assert len(drawn(parse_results(tmp_path, record)).axes) == len(whole.axes) - 2


def test_many_categories_are_averaged(tmp_path: Path) -> None:
    results = parse_results(tmp_path, with_times(make_study(tmp_path, categories=COLUMNS + 1, seeds=1)))
    figure = drawn(results)
    assert [axes.get_title() for axes in figure.axes] == ["SyntheticLOCO", "", ""]
    assert figure.axes[-1].get_lines()[0].get_ydata() == pytest.approx([60, 70, 90])


def test_a_category_that_one_of_the_two_has_alone_is_left_out(tmp_path: Path) -> None:
    record = make_study(tmp_path, categories=2)
    for cell in record["cells"]:
        if cell["row"] == BASELINE and cell["category"] == "category_0":
            cell["status"] = "failed"
    assert [axes.get_title() for axes in drawn(parse_results(tmp_path, record)).axes] == ["category 1", ""]
    record["headline"] = "nobody"
    assert draw_outcome(parse_results(tmp_path, record)) is None


def test_figures_are_those_of_the_cells_that_both_have(tmp_path: Path) -> None:
    record = make_study(tmp_path, categories=1)
    record["cells"] = [cell for cell in record["cells"] if (cell["row"], cell["seed"]) != (BASELINE, 1)]
    results = parse_results(tmp_path, record)
    bars = drawn(results).axes[0].patches
    first = results.figures(HEADLINE, f"accuracy.image_auroc.{LOGICAL}")[:1].item()
    assert bars[0].get_x() + bars[0].get_width() == pytest.approx(100 * first)


@pytest.mark.parametrize("kinds", [("bad",), ("bent", "cut", "mean")])
def test_types_without_a_name_of_their_own_are_drawn_together(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    record = make_study(tmp_path, categories=1)
    for cell in record["cells"]:
        cell["accuracy"]["image_auroc"] = dict.fromkeys(kinds, 0.4 if cell["row"] == BASELINE else 0.75)
        scores = pd.read_csv(scores_file(tmp_path, cell["id"]))
        scores["type"] = scores["type"].map({"good": "good", LOGICAL: kinds[0], STRUCTURAL: kinds[len(kinds) // 2]})
        scores.to_csv(scores_file(tmp_path, cell["id"]), index=False)
    results = parse_results(tmp_path, record)
    bars, differences = drawn(results).axes
    assert [label.get_text() for label in bars.get_yticklabels()] == ["mean"]
    assert [bar.get_x() + bar.get_width() for bar in bars.patches] == pytest.approx([75, 40])
    assert bars.get_xlim()[0] == 40
    assert len(differences.containers) == 1
    assert "75.0 % (mean image AUROC) against 40.0 %" in summarise(results)[0]
    assert " all anomalies" in summarise(results)[0]


def test_report_writes_it_whatever_rows_are_called_and_takes_it_away_with_what_it_showed(tmp_path: Path) -> None:
    record = make_results()
    for cell in record["cells"]:
        cell["row"] = cell["row"].replace("SCDAE", "$x^$")
    write(tmp_path, {**record, "headline": "$x^$"})
    write_report(tmp_path)
    assert np.asarray(Image.open(tmp_path / OUTCOME)).std() > 10
    assert f"({OUTCOME})" in (tmp_path / "report.md").read_text(encoding="utf-8")
    write(tmp_path, {**record, "headline": "nobody"})
    write_report(tmp_path)
    assert not (tmp_path / OUTCOME).exists()
    assert f"({OUTCOME})" not in (tmp_path / "report.md").read_text(encoding="utf-8")
