# SPDX-License-Identifier: Apache-2.0
"""Cells on a Ray cluster: the same rules as on one machine, with processes that stand in for cells."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalib_scdae.benchmark import jobs
from anomalib_scdae.benchmark.cells import CellFolder
from anomalib_scdae.benchmark.main import make_pool
from anomalib_scdae.benchmark.pools import RayOptions, RayPool
from anomalib_scdae.errors import UserError
from tests.benchmark import fake_cell
from tests.benchmark.cells import LATENCY, make_cell, run, runs
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _fake_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "run_step", fake_cell.run_step)
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of this machine alone, with two processors."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'anomalib-scdae[ray]'")
    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def on_ray(**options: Any) -> RayPool:
    return RayPool(RayOptions(**options))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_failures_are_recorded_stop_nothing_and_are_tried_again(tmp_path: Path) -> None:
    """A lost machine is one of them: here, a cell takes the process with it that Ray runs its job in."""
    cells = [make_cell(name) for name in ("die", "lose", "vanish", "finish")]
    found = run(tmp_path, *cells, pool=on_ray())
    assert {name: cell["status"] for name, cell in found.items()} == {
        "die": "failed",
        "lose": "failed",
        "vanish": "failed",
        "finish": "finished",
    }
    assert "SIGKILL" in found["die"]["error"]
    assert "Ray lost the cell" in found["lose"]["error"]
    assert found["finish"]["accuracy"] == {"image_auroc": {"mean": 0.5}}
    again = [cells[0], cells[2], make_cell("finish", latency=LATENCY)]
    found = run(tmp_path, *again, pool=on_ray())
    assert found["finish"]["latency"] == {"torch_fp32": {"median_ms": 1.0}}
    assert {name: runs(tmp_path).count(make_cell(name).id) for name in ("die", "lose", "vanish", "finish")} == {
        "die": 2,
        "lose": 1,
        "vanish": 2,
        "finish": 1,
    }


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_interruption_leaves_cells_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(display: object, folders: object) -> None:
        if (tmp_path / "runs.txt").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr("anomalib_scdae.benchmark.display.Display.poll", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, make_cell("sleep"), pool=on_ray())
    assert CellFolder(tmp_path, make_cell("sleep")).status == "pending"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cell_that_no_machine_can_hold_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No machine of the Ray cluster has 3 CPUs and 1 GPUs"):
        run(tmp_path, make_cell(), pool=on_ray(cpus_per_cell=3, gpus_per_cell=1))
    assert not (tmp_path / "runs.txt").exists()


def test_without_ray_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'anomalib-scdae\[ray\]'"):
        make_pool("ray", 1)


def test_resources_must_make_sense() -> None:
    with pytest.raises(UserError, match=r"above 0"):
        make_pool("ray", 1, RayOptions(cpus_per_cell=0))
