# SPDX-License-Identifier: Apache-2.0
"""What the report says, against the figures it was made from."""

import json
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_scdae.benchmark.report import write_report
from anomalib_scdae.benchmark.report.accuracy import (
    ablation_tables,
    accuracy_tables,
    method_table,
    part_tables,
    spro_tables,
)
from anomalib_scdae.benchmark.report.all_cells import cell_tables, environment_note
from anomalib_scdae.benchmark.report.cost import cost_tables, latency_tables
from anomalib_scdae.benchmark.report.headline import key_figures, summarise
from anomalib_scdae.benchmark.report.markdown import escape, to_markdown
from anomalib_scdae.benchmark.report.over_time import over_time_curves, over_time_tables
from anomalib_scdae.benchmark.report.page import assemble
from anomalib_scdae.benchmark.report.results import Results, finite, parse_results, read_results
from anomalib_scdae.benchmark.report.tables import MISSING, TIMES, Table, Value, signed
from anomalib_scdae.errors import UserError
from tests.benchmark.report_data import KINDS, LIMITS, MAPS, make_ablation, make_cell, make_results, write


def results_of(record: dict[str, Any]) -> Results:
    return parse_results(Path("nowhere"), record)


def method_tables(record: dict[str, Any], beside_paper: bool = True) -> list[Table]:
    results = results_of(record)
    return [method_table(results, dataset, beside_paper) for dataset in results.datasets]


def line(table: Table, name: str) -> Any:
    names = [value.text for value in table.frame.iloc[:, 0]]
    return table.frame.iloc[names.index(name)]


def value(table: Table, name: str, group: str, label: str) -> Value:
    return line(table, name)[group, label]


def texts(values: Any) -> list[str]:
    return [each.text for each in values]


def values(record: dict[str, Any], row: str, dataset: str, kind: str) -> dict[tuple[str, int], float]:
    return {
        (cell["category"], cell["seed"]): cell["accuracy"]["image_auroc"][kind]
        for cell in record["cells"]
        if cell["status"] == "finished" and (cell["row"], cell["dataset"]) == (row, dataset)
    }


def test_category_and_average_are_those_of_the_cells() -> None:
    record = make_results()
    table = method_tables(record)[0]
    for label, kind in zip(("logical", "structural", "mean"), KINDS, strict=True):
        found = values(record, "SCDAE", "SyntheticLOCO", kind)
        pushpins = [100 * found["pushpins", seed] for seed in range(2)]
        entry = value(table, "SCDAE", "pushpins", label)
        assert entry.text == f"{fmean(pushpins):.1f} ± {stdev(pushpins):.1f}"
        seeds = [100 * fmean(v for (_, s), v in found.items() if s == seed) for seed in range(2)]
        entry = value(table, "SCDAE", "average", label)
        assert entry.text == f"{fmean(seeds):.1f} ± {stdev(seeds):.1f}"


def test_failed_seed_is_left_out_of_the_average_so_that_all_seeds_have_the_same_categories() -> None:
    record = make_results()
    name = "Padim <b>|x|</b>"
    table = method_tables(record)[0]
    found = values(record, name, "SyntheticLOCO", "mean")
    assert ("breakfast_box", 1) not in found
    only = 100 * fmean(value for (_, seed), value in found.items() if seed == 0)
    assert value(table, name, "average", "mean").text == f"{only:.1f}"


def test_average_over_fewer_categories_is_marked_and_never_best() -> None:
    record = make_results()
    for cell in record["cells"]:
        if cell["row"] == "Stfpm" and cell["dataset"] == "SyntheticLOCO":
            if cell["category"] == "pushpins":
                cell["accuracy"]["image_auroc"] = dict.fromkeys(KINDS, 1.0)
            else:
                cell["status"] = "pending"
    table = method_tables(record, beside_paper=False)[0]
    entry = value(table, "Stfpm", "average", "mean")
    assert entry.text == "100.0 ± 0.0*"
    assert entry.style != "best"
    assert any(note.startswith("*") for note in table.notes)
    assert value(table, "Stfpm", "pushpins", "mean").style == "best"


def test_paper_stands_beside_only_where_categories_are_the_papers_and_is_marked() -> None:
    loco, tile = method_tables(make_results())
    assert set(tile.frame.index) == {""}
    assert not any("†" in group for group, _ in tile.frame.columns)
    assert value(loco, "SCDAE", "paper's average†", "logical").text == "89.4†"
    only = line(loco, "GCAD†")
    assert only["paper's average†", "mean"].text == "83.4†"
    assert only["pushpins", "logical"].text == "97.5†"
    # A paper's figure never stands in a measured average, and never without its mark.
    assert only["average", "mean"] == MISSING
    titles = list(dict.fromkeys(loco.frame.index))
    assert titles == ["Measured here", "† Published figures on MVTec LOCO AD, not measured here"]
    published = list(loco.frame.loc[titles[1]].to_numpy().ravel())
    assert all(entry == MISSING or "†" in entry.text for entry in published)
    assert not any("±" in entry.text or entry.style == "best" for entry in published)
    assert any("NOT measured on the data of this report" in note for note in loco.notes)
    assert [note.split(":")[0] for note in loco.notes if "found by us" in note] == [
        "† SPADE, found by us",
        "† STPM, found by us",
    ]
    assert not any("found by us" in note for note in tile.notes)


def test_ablation_prints_every_experiment_with_differences_beside_the_papers() -> None:
    record = make_ablation()
    second, third = ablation_tables(results_of(record), "SyntheticLOCO")
    names = [texts(table.frame.iloc[:, 0]) for table in (second, third)]
    assert names[0] == ["1 (baseline)", *map(str, range(2, 8)), "Fig. 8, series"]
    assert names[1] == ["1 (baseline)", "8", "7", "9", "10", "11 (SCDAE)"]
    row = line(third, "11 (SCDAE)")
    assert row["paper†", "logical"].text == "89.4†"
    assert row["paper† Δ to exp. 1", "logical"].text == "+2.7†"
    assert row["paper† Δ to exp. 1", "mean"].text == "+1.7†"
    own = values(record, "Experiment 11", "SyntheticLOCO", "mean")
    reference = values(record, "Experiment 1", "SyntheticLOCO", "mean")
    points = [100 * (own[key] - reference[key]) for key in own]
    text = f"{signed(fmean(points))} ± {stdev(points):.1f}"
    assert row["measured Δ to exp. 1", "mean"].text == text
    assert texts(row.iloc[1:4]) == ["✓", "✓", "✓"]
    assert texts(line(second, "6").iloc[1:4]) == ["✓", "", "✓"]


@pytest.mark.parametrize("experiment", [None, "11"])
def test_ablation_with_a_row_beside_the_papers_has_a_table_that_shows_it(experiment: str | None) -> None:
    record = make_ablation()
    assert len(accuracy_tables(results_of(record))) == 2
    another = make_cell("Experiment 11, other gates", "SCDAE", "SyntheticLOCO", "pushpins", 0)
    record["cells"].append(another | {"experiment": experiment})
    *_, table = accuracy_tables(results_of(record))
    assert line(table, another["row"]) is not None


def test_ablation_that_is_not_run_yet_keeps_its_line() -> None:
    record = make_ablation()
    record["cells"] = [cell for cell in record["cells"] if cell["experiment"] in {"2", "11"}]
    second, third = ablation_tables(results_of(record), "SyntheticLOCO")
    assert len(second.frame) == 7
    assert value(second, "5", "measured here", "mean") == MISSING
    assert value(second, "5", "paper†", "mean").text == "91.3†"
    # Without experiment 1 there is nothing to take a difference to.
    assert value(third, "11 (SCDAE)", "measured Δ to exp. 1", "mean") == MISSING


def test_every_map_and_limit_has_its_columns() -> None:
    record = make_results()
    for cell in record["cells"]:
        cell.get("maps", {})["context"] = dict.fromkeys(KINDS, 0.5)
    results = results_of(record)
    names = [group for group, _ in part_tables(results)[0].frame.columns[1::3]]
    assert names == ["local", "srm", "crm", "context", "combined"]
    assert {*names} == {*MAPS, "context"}
    assert value(part_tables(results)[0], "SCDAE", "context", "mean").text == "50.0 ± 0.0"
    limits = [group for group, _ in spro_tables(results)[0].frame.columns[1::3]]
    assert limits == [f"FPR ≤ {limit}" for limit in LIMITS]


def test_accuracy_over_time_is_averaged_by_minutes_and_drawn_by_category() -> None:
    cells = [make_cell("SCDAE", "SCDAE", "SyntheticLOCO", category, 0) for category in ("pushpins", "screw_bag")]
    for cell, logical in zip(cells, (0.6, 0.8), strict=True):
        auroc = {"logical_anomalies": logical, "structural_anomalies": 0.9, "mean": 0.8}
        last = {"logical_anomalies": 0.95, "structural_anomalies": 0.7, "mean": 0.8}
        cell["over_time"] = {
            "1": {"step": 50, "seconds": 60.0, "image_auroc": auroc},
            "16": {"step": 900, "seconds": 960.5, "image_auroc": auroc},
            "4": {"step": 200, "seconds": 241.0, "image_auroc": auroc},
            "end": {"step": 1000, "seconds": 1100.0, "image_auroc": last},
        }
    results = results_of({"name": "x", "cells": cells})
    (table,) = over_time_tables(results)
    groups = [group for group, label in table.frame.columns if label == "logical"]
    assert groups == ["1 min", "4 min", "16 min", "end"]
    assert value(table, "SCDAE", "4 min", "logical").text == "70.0"
    assert value(table, "SCDAE", "end", "structural").text == "70.0"
    (charts,) = over_time_curves(results)
    assert list(charts.drawings) == [
        f"SyntheticLOCO: {category}, {label}"
        for category in ("pushpins", "screw_bag")
        for label in ("logical", "structural")
    ]
    drawn = charts.drawings["SyntheticLOCO: screw_bag, logical"]
    assert "80.0 % after 1.0 min, 80.0 % after 4.0 min, 80.0 % after 16.0 min, 95.0 % after 18.3 min" in drawn
    assert charts.legend == {"SCDAE": 0}


def test_anomalies_of_other_types_have_their_mean_over_time() -> None:
    """Of one type, or of several without a column of their own."""
    cells = []
    for dataset, auroc in (("One", {"bad": 0.6}), ("Several", {"bent": 0.5, "cut": 0.9, "mean": 0.7})):
        cells.append(make_cell("SCDAE", "SCDAE", dataset, "nuts", 0))
        cells[-1]["over_time"] = {"end": {"step": 50, "seconds": 60.0, "image_auroc": auroc}}
    results = results_of({"name": "x", "cells": cells})
    tables = over_time_tables(results)
    assert [value(table, "SCDAE", "end", "mean").text for table in tables] == ["60.0", "70.0"]
    (charts,) = over_time_curves(results)
    assert list(charts.drawings) == ["One: nuts, mean", "Several: nuts, mean"]


def test_without_snapshots_there_is_no_accuracy_over_time() -> None:
    results = results_of({"cells": [make_cell("SCDAE", "SCDAE", "SyntheticLOCO", "pushpins", 0)]})
    assert over_time_tables(results) == over_time_curves(results) == []


def test_costs_carry_the_ratio_to_the_baseline() -> None:
    record = make_results()
    for cell in record["cells"]:
        if cell["row"] == "SCDAE":
            cell["size"]["parameters"] = 12_090_000
            cell["training"]["peak_memory_mib"] = 3000.0
    training, size = cost_tables(results_of(record))
    assert value(size, "SCDAE", "network", "parameters").text == f"12.1 M ({TIMES}1.50)"
    assert value(size, "EfficientAd (mended)", "network", "parameters").text == "8.06 M"
    assert value(training, "SCDAE", "training", "peak memory, MiB").text == f"3,000 ({TIMES}2.00)"


def test_latency_says_ratio_and_failure() -> None:
    (table,) = latency_tables(results_of(make_results()))
    assert value(table, "SCDAE", "OpenVINO FP32", "ratio").text.startswith(f"{TIMES}1.20 (1.16")
    assert value(table, "Stfpm", "OpenVINO INT8", "ms").text == "failed"
    assert "Stfpm, OpenVINO INT8: Calibration needs <300> images." in table.notes


def test_a_ratio_that_cannot_be_had_says_why() -> None:
    record = make_results()
    for cell in record["cells"]:
        if cell["row"] == "SCDAE" and cell.get("latency"):
            del cell["latency"]["openvino_int8"]["ratio"]
            cell["latency"]["openvino_int8"]["ratio_error"] = "no ratio, as the baseline could not be measured: Why."
    (table,) = latency_tables(results_of(record))
    assert "SCDAE, OpenVINO INT8: no ratio, as the baseline could not be measured: Why." in table.notes


def test_no_latency_leaves_out_its_chapter_and_says_so() -> None:
    record = make_results()
    for cell in record["cells"]:
        cell.pop("latency", None)
    report = assemble(results_of(record))
    assert "latency" not in {section["key"] for section in report["sections"]}
    assert "Latency was not measured yet." in report["summary"]


def pair_of_cells(*points: tuple[float, float]) -> Results:
    """Give a benchmark of one category, in which SCDAE and the baseline have these mean AUROC, one pair a seed."""
    cells = []
    for seed, pair in enumerate(points):
        for row, value in zip(("SCDAE", "EfficientAd (mended)"), pair, strict=True):
            cell = make_cell(row, row.split()[0], "SyntheticLOCO", "pushpins", seed)
            cell["accuracy"]["image_auroc"] = dict.fromkeys(KINDS, value)
            cells.append(cell)
    return results_of(make_results() | {"cells": cells})


@pytest.mark.parametrize(
    ("points", "said", "verdict"),
    [
        ([(0.9, 0.8), (0.92, 0.81)], "SCDAE is ahead of EfficientAd (mended) on logical anomalies, structural", "good"),
        ([(0.8, 0.9), (0.81, 0.92)], "SCDAE is behind EfficientAd (mended) on logical anomalies, structural", "bad"),
        ([(0.8, 0.8), (0.9, 0.9)], "SCDAE is level with EfficientAd (mended) (within the error) on", ""),
        ([(0.9, 0.8)], "One run each: without an estimate of the error there is no verdict.", ""),
        ([(0.9, 0.8), (0.8, 0.88)], "SCDAE is level with EfficientAd (mended) (within the error) on", ""),
    ],
)
def test_headline_says_what_the_figures_say(points: list[tuple[float, float]], said: str, verdict: str) -> None:
    results = pair_of_cells(*points)
    assert said in summarise(results)[0]
    assert key_figures(results)[0]["verdict"] == verdict
    mean = 100 * fmean(own - other for own, other in points)
    assert f"a difference of {signed(mean)}" in summarise(results)[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5))
def test_headline_judges_no_difference_that_lies_within_its_own_error(points: list[tuple[float, float]]) -> None:
    sentence = summarise(pair_of_cells(*points))[0]
    differences = [own - other for own, other in points]
    within = len(points) < 2 or abs(fmean(differences)) <= stdev(differences) / math.sqrt(len(points)) * (1 - 1e-6)
    if within:
        assert "ahead" not in sentence
        assert "behind" not in sentence
    assert ("no verdict" in sentence) == (len(points) == 1)


def test_standard_error_is_that_over_pairs_of_category_and_seed() -> None:
    record = make_results()
    own, other = (values(record, row, "SyntheticLOCO", "mean") for row in ("SCDAE", "EfficientAd (mended)"))
    points = [100 * (own[key] - other[key]) for key in own]
    figure = next(each for each in key_figures(results_of(record)) if each["label"].startswith("mean"))
    assert figure["value"] == f"{signed(fmean(points))} ± {stdev(points) / math.sqrt(len(points)):.1f}"
    assert figure["detail"] == "SyntheticLOCO: 6 pairs of cells"


def test_every_cell_shows_its_own_environment_and_a_note_says_that_they_differ() -> None:
    record = make_results()
    first, second = record["cells"][:2]
    assert environment_note(results_of(record)) == ""
    first["environment"] = {"processor": "Another", "torch": "2.11", "git_commit": "f" * 40, "git_dirty": True}
    second["git_commit"] = "e" * 40
    results = results_of(record)
    (table,) = cell_tables(results)
    made = [texts(row["made with"]) for _, row in table.frame.iterrows()]
    assert made[0] == ["Another", "PyTorch 2.11", "f" * 12 + "+"]
    assert made[1] == ["A <CPU>", "PyTorch 2.10, Python 3.11.2", "e" * 12]
    assert made[2] == ["A <CPU>", "PyTorch 2.10, Python 3.11.2", "0123456789ab"]
    note = environment_note(results)
    assert "2 processors and 2 sets of package versions and 3 commits" in note
    assert note in summarise(results)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_cells_that_had_other_images_are_refused(part: str) -> None:
    record = make_results()
    for cell in record["cells"]:
        seed = cell["seed"]
        cell["files"] = {"train": f"a{seed}", "val": f"b{seed}", "test": f"c{seed}"}
    del record["cells"][0]["files"]
    results_of(record)
    other = next(cell for cell in record["cells"][2:] if cell["category"] == "pushpins" and cell["seed"] == 1)
    other["files"][part] = "another"
    message = rf"cells {other['id']} and .*--SyntheticLOCO--pushpins--seed1 have other images for {part} .*: give"
    with pytest.raises(UserError, match=message):
        results_of(record)
    other["status"] = "pending"
    results_of(record)


def test_remark_on_a_row_stands_below_its_table() -> None:
    record = make_results()
    for cell in record["cells"]:
        if cell["row"] == "Stfpm":
            cell["notes"] = ["trained for less", *([f"of seed {cell['seed']}"] if cell["status"] == "finished" else [])]
    table = method_tables(record)[0]
    assert "Stfpm: trained for less" in table.notes
    assert not any("of seed" in note for note in table.notes)


def test_headline_compares_only_cells_that_both_have() -> None:
    record = make_results()
    record["cells"] = [c for c in record["cells"] if c["row"] == "SCDAE" or c["category"] == "magnetic_tile"]
    sentences = summarise(results_of(record))
    assert sentences[0].startswith("On MVTecLOCO (magnetic_tile, 2 seeds), SCDAE reaches")
    assert "logical" not in sentences[0].split(" is ")[1]


def test_headline_without_a_pair_says_too_little() -> None:
    record = make_results()
    record["cells"] = [cell for cell in record["cells"] if cell["row"] == "SCDAE"]
    assert summarise(results_of(record))[0].startswith("Too little to say yet")


def test_markdown_has_every_table_every_error_and_links_to_pictures(tmp_path: Path) -> None:
    write(tmp_path, make_results(tmp_path))
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    report = assemble(read_results(tmp_path))
    for section in report["sections"]:
        assert f"## {section['title']}" in text or section["key"] == "curves"
        for table in (item for item in section["items"] if isinstance(item, Table)):
            assert escape(table.caption) in text
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == sum(isinstance(item, Table) for section in report["sections"] for item in section["items"])
    for table in tables:
        assert len({row.replace(r"\|", "").count("|") for row in table.splitlines()}) == 1
    assert r"not enough memory for \<script\>alert('x')\</script\> \| \`code\` \& more" in text
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert links
    assert all((tmp_path / link).is_file() for link in links)


def test_report_is_replaced_as_a_whole(tmp_path: Path) -> None:
    record = make_results()
    write(tmp_path, {**record, "cells": record["cells"][:4]})
    write_report(tmp_path)
    before = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "outcome.png",
        "report.html",
        "report.md",
        "results.json",
    ]


def test_missing_results_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read .*results\.json"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match="needs a list of cells"):
        write_report(tmp_path)


def test_pictures_outside_the_folder_are_not_embedded(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    record = make_results(folder)
    secret = tmp_path / "secret.png"
    secret.write_bytes((folder / record["cells"][0]["gallery"][0]["file"]).read_bytes())
    record["cells"] = record["cells"][:1]
    record["cells"][0]["gallery"] = [
        {"file": name, "kind": "sample"} for name in ("../secret.png", str(secret), "no.png")
    ]
    write(folder, record)
    write_report(folder)
    assert "3 pictures are listed but not there." in (folder / "report.md").read_text(encoding="utf-8")
    assert "data:image/webp" not in (folder / "report.html").read_text(encoding="utf-8")


def prune(value: Any, keep: Any) -> Any:
    """Give ``value`` with whatever ``keep`` refuses taken away or made ``None``, at any depth."""
    if isinstance(value, dict):
        choices = {key: keep() for key in value}
        return {k: None if choices[k] == 1 else prune(v, keep) for k, v in value.items() if choices[k] != 0}
    return value


@settings(max_examples=25)
@given(st.data())
def test_any_subset_of_the_fields_makes_a_report(data: st.DataObject) -> None:
    record = make_results()
    cells = [make_cell(row, row, "SyntheticLOCO", "pushpins", 0) for row in ("SCDAE", "EfficientAd (mended)")]
    for cell in cells:
        cell["curve"] = cell["curve"][:2]
    kept = st.sampled_from([0, 1, *[2] * 12])
    pruned = prune(record | {"cells": None}, lambda: data.draw(kept))
    pruned["cells"] = [prune(cell, lambda: data.draw(kept)) for cell in cells]
    pruned["layout"] = data.draw(st.sampled_from(["methods", "ablation", None]))
    text = to_markdown(assemble(results_of(json.loads(json.dumps(pruned)))))
    assert "nan" not in text.lower()


@pytest.mark.parametrize("given", [math.nan, math.inf, True, None, "1", [1]])
def test_only_finite_numbers_are_figures(given: Any) -> None:
    assert math.isnan(finite(given))
    assert finite(2) == 2.0
