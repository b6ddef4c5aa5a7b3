# SPDX-License-Identifier: Apache-2.0
"""A disk that is full or read-only: one sentence that names the file, and what was there stays.

Checkpoints are tried in ``model/training/test_checkpoint_file.py``.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine

from anomalib_scdae import cli
from anomalib_scdae.benchmark import jobs
from anomalib_scdae.distill.card import write_curve
from anomalib_scdae.files import replacing, write_json
from anomalib_scdae.metrics import loco_evaluator
from anomalib_scdae.metrics.prediction_writer import PredictionWriter
from tests.benchmark import fake_cell
from tests.conftest import ROOT
from tests.dummy_model import BrightnessModel
from tests.loco_data import make_category

FAULTS = (errno.ENOSPC, errno.EROFS)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _half(code: int, write: Callable[..., object]) -> Callable[..., None]:
    """Let ``write(file, data)`` write half of the data, and fail."""

    def fail(file: Any, data: Any, *args: Any, **kwargs: Any) -> None:
        write(file, data[: len(data) // 2], *args, **kwargs)
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", FAULTS)
def test_a_file_keeps_what_was_there_and_the_error_names_it(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_json(path, [1])
    before = _contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", _half(code, Path.write_text))
        with pytest.raises(OSError, match=os.strerror(code)) as error:
            write_json(path, [2])
    assert error.value.filename == str(path)
    assert _contents(tmp_path) == before
    with pytest.raises(FileNotFoundError) as other, replacing(path):
        (tmp_path / "another").read_text()
    assert other.value.filename == str(tmp_path / "another"), "other files keep their own name"


@pytest.mark.parametrize("code", FAULTS)
def test_maps_and_scores_of_an_earlier_test_stay(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    category = make_category(tmp_path / "loco" / "part", images=2, shape=(26, 34))
    data = MVTecLOCO(root=category.parent, category=category.name, num_workers=0)
    model = BrightnessModel(evaluator=loco_evaluator())

    def test() -> None:
        writer = PredictionWriter(dir=tmp_path / "maps")
        options = {"logger": False, "accelerator": "cpu", "enable_progress_bar": False, "callbacks": [writer]}
        engine = Engine(default_root_dir=tmp_path / "results", **options)
        engine.validate(model, datamodule=data, verbose=False)
        engine.test(model, datamodule=data, verbose=False)

    test()
    before = _contents(tmp_path / "maps")
    assert len(before) == 7
    monkeypatch.setattr(tifffile, "imwrite", _half(code, tifffile.imwrite))
    with pytest.raises(OSError, match=os.strerror(code)) as error:
        test()
    assert str(error.value.filename) in before
    after = _contents(tmp_path / "maps")
    assert {name: after[name] for name in before} == before
    assert all(name.endswith("scores.csv.part0") for name in after.keys() - before.keys())


@pytest.mark.slow
def test_results_of_a_benchmark_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = errno.ENOSPC
    monkeypatch.setattr(jobs, "run_step", fake_cell.run_step)
    monkeypatch.chdir(ROOT)
    command = ["benchmark", "--config", str(ROOT / "configs/benchmark_smoke.yaml"), "--output", str(tmp_path)]
    assert cli.main(command) == 0
    before = _contents(tmp_path)
    capsys.readouterr()
    for more in (["--report_only"], []):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", _half(code, Path.write_text))
            assert cli.main([*command, *more]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"anomalib-scdae benchmark: {os.strerror(code)} ({tmp_path / 'results.json'}): check")
        assert _contents(tmp_path) == before


@pytest.mark.parametrize("code", FAULTS)
def test_the_curve_of_a_teacher_stays(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_curve([(1, 0.5), (2, 0.25)], tmp_path / "teacher.safetensors")
    before = _contents(tmp_path)
    assert len(before) == 2

    def fail(_: object, file: Path, **__: object) -> None:
        file.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match=os.strerror(code)) as error:
        write_curve([(1, 0.5), (2, 0.25)], tmp_path / "teacher.safetensors")
    assert error.value.filename == str(tmp_path / "teacher.png")
    assert _contents(tmp_path) == before
