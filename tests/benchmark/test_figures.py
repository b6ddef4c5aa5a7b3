# SPDX-License-Identifier: Apache-2.0
"""Every figure of a report stands below its own heading, in its own row and block."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from anomalib_scdae.benchmark.report.accuracy import other_metrics_tables, part_tables, spro_tables
from anomalib_scdae.benchmark.report.all_cells import cell_tables
from anomalib_scdae.benchmark.report.charts import latency_scatter
from anomalib_scdae.benchmark.report.cost import FORMATS, cost_tables, latency_tables
from anomalib_scdae.benchmark.report.headline import key_figures, summarise
from anomalib_scdae.benchmark.report.outcome import draw_outcome
from anomalib_scdae.benchmark.report.paired import Pairs, paired_differences, read_scores
from anomalib_scdae.benchmark.report.results import parse_results
from anomalib_scdae.benchmark.report.tables import TIMES, Table, duration
from tests.benchmark.report_data import KINDS, LIMITS, MAPS, make_cell, make_results, make_study

ROWS = ("SCDAE", "EfficientAd (mended)")


def distinct() -> dict[str, Any]:
    """Two rows, one cell each, in which no two figures are alike."""
    cells = []
    for base, row in enumerate(ROWS):
        cell = make_cell(row, row.split()[0], "SyntheticLOCO", "pushpins", 0)
        values = (0.3 + 0.3 * base + number / 1000 for number in count())
        accuracy = cell["accuracy"]
        accuracy.update(image_auroc_all=next(values), image_f1=next(values), pixel_auroc=next(values))
        accuracy["au_spro"] = {kind: {limit: next(values) for limit in LIMITS} for kind in KINDS}
        cell["maps"] = {name: {kind: next(values) for kind in KINDS} for name in MAPS}
        for step, name in enumerate(FORMATS):
            ms = 10.0 * (step + 1) + base
            cell["latency"][name] = {
                "median_ms": ms,
                "q25_ms": ms - 1,
                "q75_ms": ms + 2,
                "images_per_second": 1000 / ms,
                "ratio": {"median": 1.1 + step + base / 2, "q25": 1.05 + step, "q75": 1.2 + step},
            }
        cells.append(cell)
    return make_results() | {"cells": cells}


def test_every_figure_stands_below_its_own_heading() -> None:
    record = distinct()
    results = parse_results(Path("nowhere"), record)
    for number, cell in enumerate(record["cells"]):
        labels = dict(zip(KINDS, ("logical", "structural", "mean"), strict=True))
        accuracy = cell["accuracy"]
        expected = {
            ("", "image AUROC, all anomalies"): accuracy["image_auroc_all"],
            ("", "image F1"): accuracy["image_f1"],
            ("", "pixel AUROC"): accuracy["pixel_auroc"],
            **{(f"FPR ≤ {limit}", labels[k]): cell["accuracy"]["au_spro"][k][limit] for k in KINDS for limit in LIMITS},
            **{(name, labels[k]): cell["maps"][name][k] for k in KINDS for name in MAPS},
        }
        found = {}
        for table in (*other_metrics_tables(results), *spro_tables(results), *part_tables(results)):
            found |= dict(table.frame.iloc[number])
        assert {h: found[h].sort for h in expected} == pytest.approx({h: 100 * v for h, v in expected.items()})
        (table,) = cell_tables(results)
        line = table.frame.iloc[number]
        assert line["", "image F1, %"].sort == cell["accuracy"]["image_f1"]
        assert line["", "pixel AUROC, %"].sort == cell["accuracy"]["pixel_auroc"]


def test_latencies_stand_below_their_format() -> None:
    record = distinct()
    results = parse_results(Path("nowhere"), record)
    (table,) = latency_tables(results)
    headings = ("PyTorch FP32", "OpenVINO FP32", "OpenVINO FP16", "OpenVINO INT8")
    keys = ("torch_fp32", "openvino_fp32", "openvino_fp16", "openvino_int8")
    for number, cell in enumerate(record["cells"]):
        line = table.frame.iloc[number]
        for heading, key in zip(headings, keys, strict=True):
            entry = cell["latency"][key]
            assert line[heading, "ms"].sort == entry["median_ms"]
            assert line[heading, "images/s"].sort == entry["images_per_second"]
            assert line[heading, "ratio"].sort == entry["ratio"]["median"]
    assert any(f"{TIMES}2.10 with OpenVINO FP32, {TIMES}1.10 with PyTorch FP32" in s for s in summarise(results))
    assert next(f for f in key_figures(results) if f["label"] == "latency ratio")["value"] == f"{TIMES}2.10"


def test_costs_are_medians_over_the_cells() -> None:
    cells = []
    for seed, (own, other) in enumerate(((100, 100), (900, 300), (500, 1000))):
        for row, seconds in zip(ROWS, (own, other), strict=True):
            cells.append(make_cell(row, row.split()[0], "SyntheticLOCO", "pushpins", seed))
            cells[-1]["training"]["seconds"] = seconds
    training, _ = cost_tables(parse_results(Path("nowhere"), make_results() | {"cells": cells}))
    assert training.frame.iloc[0]["training", "time"].text == f"8 min ({TIMES}1.00)"


@pytest.mark.parametrize(("seconds", "text"), [(119, "119 s"), (120, "2 min"), (7140, "119 min"), (9300, "2 h 35 min")])
def test_times_are_in_units_that_readers_choose(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_differences_stand_in_their_block_and_column(tmp_path: Path) -> None:
    record = make_study(tmp_path)
    for n, cell in enumerate(record["cells"]):
        cell["accuracy"]["au_spro"] = {kind: {"0.05": 0.01 * n + 0.001 * k * n} for k, kind in enumerate(KINDS)}
    results = parse_results(tmp_path, record)
    pairs = Pairs(results)
    table = next(item for item in paired_differences(results) if isinstance(item, Table))
    for title, category in (
        ("Average over the categories", None),
        ("category_0", "category_0"),
        ("category_1", "category_1"),
    ):
        for number, row in enumerate(("SCDAE", "Stfpm")):
            line = table.frame.loc[title].iloc[number]
            for kind, label in zip(KINDS, ("logical", "structural", "mean"), strict=True):
                for group, difference in (("image AUROC", pairs.auroc), ("AU-sPRO, FPR ≤ 0.05", pairs.spro)):
                    found = difference(row, kind, "SyntheticLOCO", category)
                    assert line[group, label].sort == pytest.approx(100 * found.mean)


def test_normal_images_in_a_folder_of_another_name_are_good(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("path,type,score,label\n/d/fine/0.png,fine,0.1,0\n/d/bad/0.png,bad,0.2,1\n")
    assert read_scores(file)["type"].tolist() == ["bad", "good"]


def test_outcome_curves_are_those_of_their_row_and_type(tmp_path: Path) -> None:
    record = make_study(tmp_path, categories=1, seeds=1)
    values = {}
    for cell in record["cells"]:
        for k, kind in enumerate(KINDS[:2]):
            values[cell["row"], kind] = 0.6 + 0.1 * (cell["row"] == "SCDAE") + 0.05 * k
        auroc = {kind: values[cell["row"], kind] for kind in KINDS[:2]}
        cell["over_time"] = {key: {"seconds": 60.0 * m, "image_auroc": auroc} for key, m in (("1", 1), ("end", 2))}
    lines = draw_outcome(parse_results(tmp_path, record)).axes[-1].get_lines()
    colours = {"SCDAE": "#2b6cb0", "EfficientAd (mended)": "#bf5b17"}
    found = {(line.get_color(), line.get_linestyle()): line.get_ydata()[0] for line in lines}
    expected = {
        (colours[row], style): 100 * values[row, kind]
        for row in ROWS
        for kind, style in zip(KINDS[:2], ("-", "--"), strict=True)
    }
    assert found == pytest.approx(expected)


def test_scatter_shows_the_mean(tmp_path: Path) -> None:
    record = distinct()
    for cell in record["cells"]:
        cell["accuracy"]["image_auroc"] = dict(zip(KINDS, (0.6, 0.8, 0.7), strict=True))
    (charts,) = latency_scatter(parse_results(Path("nowhere"), record))
    assert all("SCDAE: 70.0 %" in drawing for drawing in charts.drawings.values())
