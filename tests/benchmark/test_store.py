# SPDX-License-Identifier: Apache-2.0
"""Cells' folders: what is finished stays, what fails is told, what is left is run; with processes that stand in."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from anomalib_scdae.benchmark import jobs
from anomalib_scdae.benchmark.cells import DECISIVE, CellFolder, read_json, write_json
from anomalib_scdae.benchmark.comparison import Comparison
from anomalib_scdae.benchmark.display import print_cells
from anomalib_scdae.benchmark.estimate import Estimator
from anomalib_scdae.benchmark.pools import LocalPool
from anomalib_scdae.benchmark.store import locked
from anomalib_scdae.errors import UserError
from tests.benchmark import fake_cell
from tests.benchmark.cells import LATENCY, make_cell, run, runs


@pytest.fixture(autouse=True)
def _fake_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "run_step", fake_cell.run_step)


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_are_recorded_and_stop_nothing(tmp_path: Path, workers: int) -> None:
    cells = [make_cell(name) for name in ("die", "vanish", "finish")]
    found = run(tmp_path, *cells, pool=LocalPool(workers))
    assert {name: cell["status"] for name, cell in found.items()} == {
        "die": "failed",
        "vanish": "failed",
        "finish": "finished",
    }
    assert "SIGKILL" in found["die"]["error"]
    assert "without a result" in found["vanish"]["error"]
    assert found["finish"]["accuracy"] == {"image_auroc": {"mean": 0.5}}
    table = pd.read_csv(tmp_path / "results.csv")
    assert table["status"].tolist() == ["failed", "failed", "finished"]
    assert table["accuracy.image_auroc.mean"].dropna().tolist() == [0.5]


@pytest.mark.slow
def test_an_exception_is_told_in_one_sentence(tmp_path: Path) -> None:
    found = run(tmp_path, make_cell("fail"))
    assert "NoSuchData" in found["fail"]["error"]
    assert "\n" not in found["fail"]["error"]
    assert "Traceback" in (tmp_path / "cells" / make_cell("fail").id / "log.txt").read_text()


def test_finished_cells_stay_and_failed_ones_are_tried_again(tmp_path: Path) -> None:
    good, bad = make_cell("finish"), make_cell("die")
    run(tmp_path, good, bad)
    run(tmp_path, good, bad)
    assert runs(tmp_path).count(good.id) == 1
    assert runs(tmp_path).count(bad.id) == 2


@pytest.mark.parametrize("change", [{"trainer": {"max_steps": 20}}, {"data_version": 2}])
def test_a_cell_with_other_settings_runs_anew_and_the_old_one_is_put_aside(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    run(tmp_path, make_cell())
    changed = make_cell(**change)
    assert CellFolder(tmp_path, changed).status == "pending"
    run(tmp_path, changed)
    assert len(runs(tmp_path)) == 2
    (old,) = (tmp_path / "replaced").iterdir()
    assert yaml.safe_load((old / "config.yaml").read_text())["trainer"] == {"max_steps": 10}
    assert read_json(old / "result.json") is not None


def test_a_cell_that_is_only_called_otherwise_does_not_run_anew(tmp_path: Path) -> None:
    run(tmp_path, make_cell())
    found = run(tmp_path, make_cell(experiment="11", notes=["a remark"]))
    assert len(runs(tmp_path)) == 1
    assert (found["finish"]["experiment"], found["finish"]["notes"]) == ("11", ["a remark"])


def test_latency_wanted_later_is_measured_without_a_training(tmp_path: Path) -> None:
    cell, timed = make_cell(), make_cell(latency=LATENCY)
    run(tmp_path, cell)
    assert "latency" not in run(tmp_path, cell)["finish"]
    found = run(tmp_path, timed)
    assert found["finish"]["accuracy"] == {"image_auroc": {"mean": 0.5}}
    assert found["finish"]["latency"] == {"torch_fp32": {"median_ms": 1.0}}
    assert runs(tmp_path) == [cell.id, f"{cell.id}:deploy"]
    run(tmp_path, timed)
    run(tmp_path, cell)
    assert len(runs(tmp_path)) == 2
    run(tmp_path, make_cell(latency={"baseline": {"class_path": "EfficientAd", "init_args": {}}}))
    assert runs(tmp_path) == [cell.id, f"{cell.id}:deploy", f"{cell.id}:deploy"]


def test_a_death_while_latency_is_measured_costs_no_accuracy_and_no_training(tmp_path: Path) -> None:
    cell = make_cell("die_when_measured", latency=LATENCY)
    found = run(tmp_path, cell)["die_when_measured"]
    assert found["status"] == "finished"
    assert found["accuracy"] == {"image_auroc": {"mean": 0.5}}
    assert "SIGKILL" in found["latency"]["error"]
    assert "Latency could not be measured" in found["notes"][0]
    found = run(tmp_path, cell)["die_when_measured"]
    assert found["latency"] == {"torch_fp32": {"median_ms": 1.0}}
    assert runs(tmp_path) == [cell.id, f"{cell.id}:deploy", f"{cell.id}:deploy"]


def test_weights_that_are_not_kept_go_when_nothing_is_left_to_be_measured(tmp_path: Path) -> None:
    cell, timed = make_cell(latency=LATENCY), make_cell("later")
    comparison = Comparison(tmp_path, {}, [cell, timed], keep_weights=False)
    comparison.run(LocalPool())
    assert CellFolder(tmp_path, cell).entry()["latency"] == {"torch_fp32": {"median_ms": 1.0}}
    assert not list(tmp_path.rglob("weights.safetensors"))
    folder = CellFolder(tmp_path, make_cell("later", latency=LATENCY))
    assert folder.lacks_latency
    assert not folder.latency_is_due


def test_weights_are_kept_for_a_latency_that_has_failed(tmp_path: Path) -> None:
    cell = make_cell("die_when_measured", latency=LATENCY)
    comparison = Comparison(tmp_path, {}, [cell], keep_weights=False)
    comparison.run(LocalPool())
    assert CellFolder(tmp_path, cell).latency_is_due
    comparison.run(LocalPool())
    assert CellFolder(tmp_path, cell).entry()["latency"] == {"torch_fp32": {"median_ms": 1.0}}
    assert not list(tmp_path.rglob("weights.safetensors"))


def test_a_ratio_to_another_baseline_is_not_reported(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path, make_cell(latency=LATENCY))
    folder.begin()
    timed = {"torch_fp32": {"median_ms": 1.0, "ratio": {"median": 2.0}}, "openvino_fp32": {"error": "no OpenVINO"}}
    folder.write_result({"status": "finished", "latency": timed})
    assert folder.entry()["latency"] == timed
    other = {"baseline": {"class_path": "EfficientAd", "init_args": {}}}
    for cell in (make_cell(latency=other), make_cell(latency=other, is_timed=False)):
        found = CellFolder(tmp_path, cell).entry()["latency"]
        assert found == {"torch_fp32": {"median_ms": 1.0}, "openvino_fp32": {"error": "no OpenVINO"}}


def test_without_a_baseline_latencies_stay(tmp_path: Path) -> None:
    """They would be measured again to have less."""
    folder = CellFolder(tmp_path, make_cell(latency=LATENCY))
    folder.begin()
    folder.write_result({"status": "finished", "latency": {"torch_fp32": {"median_ms": 1.0, "ratio": {"median": 2.0}}}})
    alone = CellFolder(tmp_path, make_cell(latency={"baseline": None}))
    assert not alone.lacks_latency
    assert alone.entry()["latency"] == {"torch_fp32": {"median_ms": 1.0}}
    other = {"baseline": {"class_path": "EfficientAd", "init_args": {}}}
    assert CellFolder(tmp_path, make_cell(latency=other)).lacks_latency


def test_a_torn_result_counts_as_none(tmp_path: Path) -> None:
    cell = make_cell()
    run(tmp_path, cell)
    file = CellFolder(tmp_path, cell).path / "result.json"
    file.write_text(file.read_text()[:20])
    assert CellFolder(tmp_path, cell).status == "pending"


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"value": 1})
    with pytest.raises(TypeError):
        write_json(file, {"value": object()})
    assert read_json(file) == {"value": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [float("nan"), float("inf"), 1.0]})
    assert read_json(tmp_path / "a.json") == {"a": [None, None, 1.0]}


def test_two_benchmarks_cannot_share_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="at work"):
        run(tmp_path, make_cell())
    assert not (tmp_path / "cells").exists()


def test_an_interruption_ends_the_running_cell_and_leaves_it_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "anomalib_scdae.benchmark.display.Display.poll", lambda self, folders: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    cell = make_cell("sleep")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, cell)
    assert CellFolder(tmp_path, cell).status == "pending"


def test_what_epochs_take_is_not_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = make_cell(trainer={"max_steps": -1, "max_epochs": 100})
    assert Estimator([]).seconds(cell) is None
    print_cells([CellFolder(tmp_path, cell)], {cell.id})
    assert "and 1 cells of which it cannot be told" in capsys.readouterr().out


def test_estimates_come_from_finished_cells(tmp_path: Path) -> None:
    folders = [CellFolder(tmp_path, make_cell(name)) for name in ("finish", "later")]
    rough = Estimator(folders)
    assert "rough" in rough.basis
    assert rough.seconds(folders[1].cell) == pytest.approx(10 * 1.0 + 240.0)
    folders[0].begin()
    result = {"status": "finished", "duration_seconds": 50.0, "training": {"steps": 10, "seconds": 20.0}}
    folders[0].write_result(result)
    known = Estimator(folders)
    assert known.seconds(folders[1].cell) == 50.0
    assert known.seconds(make_cell("other", row="another", trainer={"max_steps": 100})) == pytest.approx(100 * 2 + 30)
    assert known.seconds(make_cell("later", weights_of={"id": folders[0].cell.id})) == 30.0  # a test alone


OTHER = {
    "model": {"class_path": "SCDAE", "init_args": {"branches": [[]]}},
    "data": {"class_path": "Other"},
    "data_version": 2,
    "category": "other",
    "seed": 1,
    "trainer": {"max_steps": 20},
    "image_size": 128,
    "backbone_weights": "packaged",
    "weights_of": {"id": "another"},
}


@pytest.mark.parametrize("name", OTHER)
def test_whatever_decides_makes_a_cell_pending(tmp_path: Path, name: str) -> None:
    assert set(OTHER) == set(DECISIVE)
    folder = CellFolder(tmp_path, make_cell())
    folder.begin()
    folder.write_result({"status": "finished"})
    assert folder.status == "finished"
    assert CellFolder(tmp_path, make_cell(id=folder.cell.id, **{name: OTHER[name]})).status == "pending"
