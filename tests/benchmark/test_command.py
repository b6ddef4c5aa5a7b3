# SPDX-License-Identifier: Apache-2.0
"""The command line: what users type reaches the grid and the runner."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomalib_scdae.benchmark import jobs
from anomalib_scdae.benchmark import main as command
from anomalib_scdae.benchmark.pools import RayOptions
from anomalib_scdae.cli import main
from anomalib_scdae.errors import UserError
from tests.benchmark import fake_cell
from tests.benchmark.cells import CONFIGS, runs
from tests.conftest import ROOT


@pytest.fixture
def smoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shipped smoke test, with processes that stand in for cells."""
    monkeypatch.setattr(jobs, "run_step", fake_cell.run_step)
    monkeypatch.chdir(ROOT)
    return ["benchmark", "--config", str(ROOT / "configs" / "benchmark_smoke.yaml"), "--output", str(tmp_path)]


def test_dry_run_runs_nothing(smoke: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*smoke, "--dry_run"]) == 0
    assert "scdae--SyntheticLOCO--pushpins--seed0" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shipped_grid_arrives_as_it_is_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def keep(**settings: Any) -> Any:
        given.update(settings)
        raise UserError("enough")

    monkeypatch.setattr(command, "parse_grid", keep)
    config = ROOT / "configs" / f"{name}.yaml"
    assert main(["benchmark", "--config", str(config), "--output", "nowhere"]) == 1
    written = yaml.safe_load(config.read_text())
    assert [dict(entry) for entry in given["models"]] == written["models"]
    assert [dict(entry) for entry in given["datasets"]] == written["datasets"]


def test_any_grid_runs_on_mvtec_loco_by_a_second_file(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def keep(**settings: Any) -> Any:
        given.update(settings)
        raise UserError("enough")

    monkeypatch.setattr(command, "parse_grid", keep)
    files = [ROOT / "configs" / name for name in ("ablation.yaml", "mvtec_loco.yaml")]
    assert main(["benchmark", *(f"--config={file}" for file in files), "--output", "nowhere"]) == 1
    grid, paper = (yaml.safe_load(file.read_text()) for file in files)
    assert {name: given[name] for name in ("teacher", "penalty_images")} == {
        name: paper[name] for name in ("teacher", "penalty_images")
    }
    assert [dict(entry) for entry in given["datasets"]] == paper["datasets"]
    assert len(given["models"]) == len(grid["models"])


def test_a_wrong_key_is_told_with_its_remedy(smoke: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*smoke, "--models", "[{class_path: SCDAE, init_arg: {}}]"]) == 1
    assert "did you mean 'init_args'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("only", "expected"),
    [("scdae--*", 1), ("*--pushpins--*", 2), ("scdae--*,efficientad-*", 2), ('["scdae--*", "efficientad-*"]', 2)],
)
def test_only_chooses_cells_and_the_tables_have_all(smoke: list[str], tmp_path: Path, only: str, expected: int) -> None:
    assert main([*smoke, "--only", only]) == 0
    assert len(runs(tmp_path)) == expected
    assert len(json.loads((tmp_path / "results.json").read_text())["cells"]) == 2


def test_a_pattern_that_fits_nothing_is_told(smoke: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*smoke, "--only", "sdcae--*"]) == 1
    assert "No cell matches sdcae--*" in capsys.readouterr().err


def test_options_of_the_runner_reach_it(smoke: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def refuse(*arguments: Any) -> Any:
        given.extend(arguments)
        raise command.UserError("enough")

    monkeypatch.setattr(command, "make_pool", refuse)
    options = ["--runner", "ray", "--ray.address", "auto", "--ray.cpus_per_cell", "4", "--ray.gpus_per_cell", "0.5"]
    assert main([*smoke, *options]) == 1
    assert given == ["ray", 1, RayOptions("auto", 4, 0.5)]


@pytest.mark.parametrize("what", ["compare", "speed"])
def test_an_output_that_is_a_file_is_told_at_once(
    smoke: list[str], tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results"
    file.write_text("mine")
    for output in (file, file / "below"):
        assert main([*smoke[:3], "--output", str(output), "--what", what]) == 1
        assert f"{file} is a file" in capsys.readouterr().err
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "[1]"], "ignores --seeds"),
        (["--keep_weights", "false", "--dry_run"], "ignores --keep_weights, --dry_run"),
        (["--models", "[{class_path: SCDAE}]"], "ignores --models"),
    ],
)
def test_speed_refuses_options_that_it_would_ignore(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    monkeypatch.setattr("anomalib_scdae.benchmark.speed.measure_speed", measured.append)
    assert main(["benchmark", "--what", "speed", "--output", str(tmp_path), *options]) == 1
    assert words in capsys.readouterr().err
    assert measured == []
    assert main(["benchmark", "--what", "speed", "--output", str(tmp_path)]) == 0
    assert measured == [tmp_path]


@pytest.mark.parametrize("option", ["--dry_run", "--report_only"])
def test_without_a_run_no_input_is_loaded(smoke: list[str], option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    for module in ("grid.load_teacher", "grid_checks.load_teacher", "grid_checks.load_penalty_images"):
        monkeypatch.setattr(f"anomalib_scdae.benchmark.{module}", refuse)
    assert main([*smoke, option, "--teacher", "auto", "--penalty_images", "auto"]) == 0


def test_a_wrong_model_is_told_before_anything_runs(
    smoke: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*smoke, "--image_size", "255"]) == 1
    assert "An image size of 255 x 255 is too small" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class EnoughError(Exception):
    """What is asked for is known."""


def test_options_reach_the_grid_the_header_and_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def keep(*arguments):
        given.extend(arguments)
        raise EnoughError

    monkeypatch.setattr(command, "Comparison", keep)
    models = [{"name": "A", "class_path": "SCDAE"}, {"name": "B", "class_path": "SCDAE"}]
    with pytest.raises(EnoughError):
        command.benchmark(
            output=tmp_path,
            name="n",
            layout="ablation",
            models=models,
            seeds=[5],
            trainer={"max_steps": 7},
            datasets=[{"class_path": "SyntheticLOCO", "categories": ["pushpins"]}],
            image_size=[264, 256],
            teacher="bundled",
            penalty_images="bundled",
            lr=0.5,
            baseline="A",
            headline="B",
            keep_weights=False,
            report_only=True,
        )
    _, header, cells, keep_weights = given
    assert {k: header[k] for k in ("name", "layout", "baseline", "headline")} == {
        "name": "n",
        "layout": "ablation",
        "baseline": "A",
        "headline": "B",
    }
    assert keep_weights is False
    assert (cells[0].seed, cells[0].trainer, cells[0].image_size) == (5, {"max_steps": 7}, [264, 256])
    assert cells[0].model["init_args"] == {
        "image_size": [264, 256],
        "teacher": "bundled",
        "penalty_images": "bundled",
        "lr": 0.5,
    }
