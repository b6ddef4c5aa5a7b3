# SPDX-License-Identifier: Apache-2.0
"""The shipped smoke test, killed in the middle and started again."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from anomalib.models.image.efficient_ad.torch_model import SmallPatchDescriptionNetwork
from safetensors.torch import save_file

from anomalib_scdae.benchmark.cells import read_json
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX process groups")]
FIRST, SECOND = "scdae--SyntheticLOCO--pushpins--seed0", "efficientad-mended--SyntheticLOCO--pushpins--seed0"
SHORTER = ("--trainer.max_steps", "2", "--teacher", "teacher.safetensors")
#: Only a bound for a machine that hangs.
PATIENCE = 900.0


def start(folder: Path, output: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start the smoke test in ``folder`` and a process group of its own."""
    config = str(ROOT / "configs" / "benchmark_smoke.yaml")
    main = "import sys; from tests.benchmark.narrow_cell import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "benchmark", "--config", config, "--output", output, *SHORTER]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ANOMALIB_SCDAE_OFFLINE": "1"}
    with (folder / "out.txt").open("ab") as out:
        return subprocess.Popen(
            [*command, *options], cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True
        )


def wait_for(phase: str, cell: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE
    while (read_json(cell / "progress.json") or {}).get("phase") != phase:
        assert process.poll() is None, "the benchmark has ended too early"
        assert time.monotonic() < end
        time.sleep(0.05)


def accuracies(folder: Path, row: str) -> dict[str, str]:
    with (folder / "results.csv").open() as file:
        (found,) = [entry for entry in csv.DictReader(file) if entry["row"] == row]
    return {key: value for key, value in found.items() if key.startswith(("accuracy.", "maps.", "status")) and value}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> Path:
    """The smoke test in ``killed``, killed in its second cell and started again; its second cell alone in ``whole``.

    With narrow networks.
    """
    folder = tmp_path_factory.mktemp("smoke")
    save_file(SmallPatchDescriptionNetwork(384).state_dict(), folder / "teacher.safetensors")
    process = start(folder, "killed")
    wait_for("training", folder / "killed" / "cells" / SECOND, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "killed" / "cells" / SECOND / "result.json").exists()
    first = folder / "killed" / "cells" / FIRST
    (folder / "before.json").write_bytes((first / "result.json").read_bytes())
    (folder / "log_before.txt").write_bytes((first / "log.txt").read_bytes())
    together = [start(folder, "killed"), start(folder, "whole", "--only", "efficientad-mended--*")]
    for process in together:
        assert process.wait(PATIENCE) == 0, (folder / "out.txt").read_text()
    return folder


def test_a_finished_cell_is_not_trained_again(folder: Path) -> None:
    first = folder / "killed" / "cells" / FIRST
    assert (first / "result.json").read_bytes() == (folder / "before.json").read_bytes()
    assert (first / "log.txt").read_bytes() == (folder / "log_before.txt").read_bytes()


def test_the_table_is_that_of_a_run_nobody_has_killed(folder: Path) -> None:
    """Of the first cell by the file that stays as it was, of the second by a run of its own."""
    ours = accuracies(folder / "killed", "SCDAE")
    assert ours["status"] == "finished"
    assert "accuracy.image_auroc.logical_anomalies" in ours
    assert "maps.combined.mean" in ours
    theirs = accuracies(folder / "killed", "EfficientAd (mended)")
    assert theirs["status"] == "finished"
    assert len(theirs) > 10
    assert theirs == accuracies(folder / "whole", "EfficientAd (mended)")


def test_reports_are_complete(folder: Path) -> None:
    for name in ("report.md", "report.html"):
        content = (folder / "killed" / name).read_text()
        assert "SCDAE" in content
        assert "EfficientAd (mended)" in content
