# SPDX-License-Identifier: Apache-2.0
"""The script that tells what only a GPU can: it keeps its time, and a part that fails costs the others nothing."""

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "tools/gpu_check.py"


@pytest.fixture
def names() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def check(names: dict[str, Any], tmp_path: Path) -> Any:
    """A run of one minute."""
    return names["Check"](tmp_path, None, "pushpins", True, 1.0, time.monotonic() + 60)


def test_a_part_that_raises_is_told_and_the_next_one_runs(check: Any) -> None:
    check.run("tests", lambda: 1 / 0)
    check.run("data", lambda: {"status": "done"})
    summary = json.loads((check.output / "summary.json").read_text())
    assert summary["tests"]["status"] == "failed"
    assert "ZeroDivisionError" in summary["tests"]["error"]
    assert summary["data"]["status"] == "done"


def test_a_command_that_fails_or_takes_too_long_is_ended_and_leaves_its_log(check: Any) -> None:
    found = check.call("data", "-c", "print('half'); raise SystemExit(3)")
    assert (found["status"], found["last"]) == ("failed", "half")
    check.minutes = 1 / 60  # of which the part has a tenth, and a second in any case
    begin = time.monotonic()
    found = check.call("data", "-c", "import time; print('begun', flush=True); time.sleep(60)")
    assert found["status"] == "too slow"
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"SCDAE": 100.0, "EfficientAd (mended)": 100.0}, 0.75 * 300 * 50),
        ({"SCDAE": 1e4, "EfficientAd (mended)": 1e4}, 70_000),
    ],
)
def test_steps_are_as_many_as_there_is_time_for(
    names: dict[str, Any], tmp_path: Path, rates: dict[str, float], expected: float
) -> None:
    end = time.monotonic() + 300 + 3 * names["OTHER_SECONDS"]
    check = names["Check"](tmp_path, None, "pushpins", False, 9.0, end, {"steps": {"steps_per_second": rates}})
    given: list[str] = []
    check.benchmark = lambda name, *options: given.extend(options) or {"status": "done"}
    check.training()
    assert int(given[given.index("--trainer.max_steps") + 1]) == pytest.approx(expected, rel=0.05)
    check.parts = {}
    check.training()  # where no steps could be timed, the time itself is the limit
    assert given[given.index("--trainer.max_time") + 1].startswith("00:00:02:")


@pytest.mark.slow
def test_reduced_it_does_all_parts_without_a_gpu(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--reduced", "--minutes", "60", "--output", str(tmp_path / "gpu")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    summary = json.loads((tmp_path / "gpu/summary.json").read_text())
    assert set(summary) == {"tests", "data", "steps", "training"}
    assert {part["status"] for part in summary.values()} == {"done"}
    assert summary["steps"]["steps_per_second"].keys() == {"SCDAE", "EfficientAd (mended)"}
    assert summary["training"]["image_auroc"].keys() >= {"SCDAE", "EfficientAd (mended)"}
    assert (tmp_path / "gpu/training/report.html").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is not empty" in again.stderr
