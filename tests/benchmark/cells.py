# SPDX-License-Identifier: Apache-2.0
"""Cells for the tests, and how they are run."""

import json
from pathlib import Path
from typing import Any

import yaml

from anomalib_scdae.benchmark.cells import Cell
from anomalib_scdae.benchmark.comparison import Comparison
from anomalib_scdae.benchmark.pools import LocalPool, Pool
from tests.conftest import ROOT

#: Grids in ``configs/``.
CONFIGS = sorted(
    file.stem for file in (ROOT / "configs").glob("*.yaml") if "models" in yaml.safe_load(file.read_text("utf-8"))
)
LATENCY = {"baseline": {"class_path": "SCDAE", "init_args": {}}}


def make_cell(category: str = "finish", **changes: Any) -> Cell:
    given = {
        "id": f"row--data--{category}--seed0",
        "row": "row",
        "experiment": None,
        "dataset": "data",
        "category": category,
        "seed": 0,
        "model": {"class_path": "SCDAE", "init_args": {}},
        "data": {"class_path": "NoSuchData", "init_args": {"category": category}},
        "trainer": {"max_steps": 10},
        "image_size": 256,
    }
    return Cell(**{**given, "is_timed": "latency" in changes, **changes})


def run(folder: Path, *cells: Cell, pool: Pool | None = None) -> dict[str, Any]:
    Comparison(folder, {"schema": 1}, list(cells)).run(pool or LocalPool())
    results = json.loads((folder / "results.json").read_text())
    return {cell["category"]: cell for cell in results["cells"]}


def runs(folder: Path) -> list[str]:
    return (folder / "runs.txt").read_text().split()
