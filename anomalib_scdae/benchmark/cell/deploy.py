# SPDX-License-Identifier: Apache-2.0
"""What a cell's model weighs and how fast it is once deployed, against the baseline.

A step of its own, in a process of its own, from the weights that the cell has kept: nothing that goes wrong here costs
the cell its accuracy, and it can be made up for later.
"""

import time
from pathlib import Path
from typing import Any

import yaml
from anomalib.models import AnomalibModule
from anomalib.models.components import MemoryBankMixin
from lightning.pytorch import seed_everything

from anomalib_scdae.benchmark.baselines.untrained import make_measurable
from anomalib_scdae.benchmark.cell.build import build_datamodule, build_model
from anomalib_scdae.benchmark.cell.weights import load_weights
from anomalib_scdae.benchmark.measure.deployment import measure_deployment
from anomalib_scdae.benchmark.store import WEIGHTS, read_json, write_json
from anomalib_scdae.model.image_size import height_and_width

NO_RATIO = "No latency ratio: the baseline has a memory bank, whose size only training tells."


def deploy_cell(config_file: Path) -> None:
    """Measure sizes and latencies of the cell of ``config_file``, and add them to ``result.json`` beside it."""
    started = time.perf_counter()
    config = yaml.safe_load(config_file.read_text("utf-8"))
    folder = config_file.parent
    write_json(folder / "progress.json", {"phase": "measuring", "step": None, "total": None})
    seed_everything(config["seed"], workers=True)
    model = build_model(config["model"], config["image_size"], config["backbone_weights"])
    load_weights(model, folder / WEIGHTS)
    baseline = build_baseline(config)
    measured = measure_deployment(
        model,
        baseline,
        build_datamodule(config["data"]),
        folder / "deployment",
        image_size=height_and_width(config["image_size"]),
        checkpoint=folder / WEIGHTS,
        device="cpu" if config["trainer"].get("accelerator") == "cpu" else None,
    )
    result = read_json(folder / "result.json") or {}
    result["latency"] = measured["latency"]
    result["size"] = {**measured["size"], **result.get("size", {})}  # training may have changed what is trainable
    if baseline is None:
        result["notes"] = list(dict.fromkeys([*result.get("notes", []), NO_RATIO]))
    result["deployment_seconds"] = round(time.perf_counter() - started, 1)
    write_json(folder / "result.json", result)
    (folder / "progress.json").unlink(missing_ok=True)


def build_baseline(config: dict[str, Any]) -> AnomalibModule | None:
    """Build the model that latencies are compared with, untrained; ``None`` if it cannot predict untrained."""
    latency = config["latency"]
    baseline = build_model(latency["baseline"], config["image_size"], latency.get("backbone_weights"))
    if isinstance(baseline, MemoryBankMixin):
        return None
    make_measurable(baseline)
    return baseline
