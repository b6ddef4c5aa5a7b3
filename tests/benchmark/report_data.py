# SPDX-License-Identifier: Apache-2.0
"""A benchmark's output folder that nothing was trained for."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from anomalib_scdae.benchmark.cells import scores_file
from anomalib_scdae.metrics.anomaly_types import auroc_per_type, with_mean

METHODS = ("SCDAE", "EfficientAd (mended)", "EfficientAd (as shipped)", "Stfpm", "Padim <b>|x|</b>")
MODELS = ("SCDAE", "EfficientAd", "EfficientAd", "Stfpm", "Padim")
LOGICAL, STRUCTURAL, MEAN = "logical_anomalies", "structural_anomalies", "mean"
KINDS = (LOGICAL, STRUCTURAL, MEAN)
MAPS = ("local", "srm", "crm", "combined")
LIMITS = ("0.01", "0.05", "0.1", "0.3", "1.0")
#: Pictures are 28 x 6 times as many pixels; 48 makes them as large as real ones.
SCALE = 4

FORMATS = ("torch_fp32", "openvino_fp32", "openvino_fp16", "openvino_int8")


def kinds(rng: random.Random, centre: float) -> dict[str, float]:
    """Draw a value for both anomaly types, and take their mean."""
    logical, structural = (min(max(centre + rng.uniform(-0.06, 0.06), 0.0), 1.0) for _ in range(2))
    return {"logical_anomalies": logical, "structural_anomalies": structural, "mean": (logical + structural) / 2}


def make_cell(
    row: str, model: str, dataset: str, category: str, seed: int, folder: Path | None = None
) -> dict[str, Any]:
    """Make a finished cell; with ``folder`` also its gallery."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in row.lower())
    name = f"{slug}--{dataset}--{category}--seed{seed}"
    rng = random.Random(name)
    centre = 0.85 if model == "SCDAE" else 0.8
    cell = {
        "id": name, "row": row, "model": model, "experiment": None, "dataset": dataset, "category": category,
        "seed": seed, "status": "finished", "error": None, "notes": [], "git_commit": "0123456789abcdef",
        "finished_at": "2024-05-01T12:00:00+00:00",
        "accuracy": {
            "image_auroc": kinds(rng, centre), "image_auroc_all": centre, "image_f1": centre - 0.05,
            "pixel_auroc": centre + 0.02,
            "au_spro": {kind: dict.fromkeys(LIMITS, centre - 0.2) for kind in KINDS},
        },
        "maps": {name: kinds(rng, centre - 0.05) for name in MAPS},
        "training": {
            "steps": 1000, "seconds": 900.0 + rng.uniform(0, 300), "steps_per_second": 1.1, "peak_memory_mib": 1500.0,
            "precision": "32-true", "accelerator": "cpu",
        },
        "curve": [
            {"step": step, "loss": 6 / (1 + step / 90) + rng.uniform(0.1, 0.3), "hard": 3 / (1 + step / 50) + 0.1,
             "penalty": 0.02, "csf": 1 / (1 + step / 200)}
            for step in range(10, 1001, 10)
        ],
        "size": {
            "parameters": 8_060_000, "trainable_parameters": 5_360_000, "macs": 76_000_000_000,
            "checkpoint_bytes": 33_000_000, "openvino_fp32_bytes": 32_000_000, "openvino_fp16_bytes": 16_000_000,
            "openvino_int8_bytes": 8_400_000,
        },
        "latency": {},
        "gallery": [],
    }  # fmt: skip
    if seed == 0 and category == "pushpins":
        cell["latency"] = {name: make_latency(rng, model, index) for index, name in enumerate(FORMATS)}
        if model == "Stfpm":
            cell["latency"]["openvino_int8"] = {"error": "Calibration needs <300> images."}
    if folder is not None and seed == 0:
        cell["gallery"] = [make_picture(folder, name, index, rng) for index in range(4)]
    return cell


def make_latency(rng: random.Random, model: str, index: int) -> dict[str, Any]:
    """Draw a latency, lower from format to format."""
    factor = {"SCDAE": 1.2, "EfficientAd": 1.0, "Padim": 3.1}.get(model, 1.6)
    median = (60 - 12 * index) * factor * rng.uniform(0.97, 1.03)
    return {
        "median_ms": median, "q25_ms": 0.96 * median, "q75_ms": 1.05 * median, "images_per_second": 1000 / median,
        "ratio": {"median": factor, "q25": factor - 0.04, "q75": factor + 0.05},
    }  # fmt: skip


def make_picture(folder: Path, name: str, index: int, rng: random.Random) -> dict[str, Any]:
    """Write a picture of a gallery and give its record."""
    path = folder / "cells" / name / "gallery" / f"{index:03}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = Image.frombytes("RGB", (28, 6), rng.randbytes(28 * 6 * 3))
    noise.resize((28 * SCALE, 6 * SCALE), Image.Resampling.BICUBIC).save(path)
    kind = KINDS[index % 2]
    return {
        "file": path.relative_to(folder).as_posix(), "caption": f"{kind}/{index:03}", "anomaly_type": kind,
        "score": 0.1 * index, "kind": "miss" if index == 3 else "sample",
    }  # fmt: skip


def make_results(folder: Path | None = None) -> dict[str, Any]:
    """Make a benchmark of the methods: two datasets, two seeds, failed and pending cells, latency on one category."""
    cells = []
    places = [("SyntheticLOCO", category) for category in ("breakfast_box", "pushpins", "screw_bag")]
    for dataset, category in [*places, ("MVTecLOCO", "magnetic_tile")]:
        for row, model in zip(METHODS, MODELS, strict=True):
            cells += [make_cell(row, model, dataset, category, seed, folder) for seed in range(2)]
    for cell in cells:
        if cell["category"] == "magnetic_tile":
            auroc = cell["accuracy"]["image_auroc"]
            auroc |= {"logical_anomalies": None, "mean": auroc["structural_anomalies"]}
    for index, (status, error) in {
        9: ("failed", "RuntimeError: not enough memory for <script>alert('x')</script> | `code` & more"),
        -1: ("pending", None),
        -2: ("pending", None),
    }.items():
        kept = {"id", "row", "model", "experiment", "dataset", "category", "seed"}
        cells[index] = {key: value for key, value in cells[index].items() if key in kept}
        cells[index] |= {"status": status, "error": error}
    return {
        "schema": 1,
        "name": "SCDAE & <EfficientAD> side by side",
        "created": "2024-05-01T12:00:00+00:00",
        "command": "anomalib-scdae benchmark --config configs/benchmark.yaml --output results/methods",
        "layout": "methods",
        "baseline": "EfficientAd (mended)",
        "headline": "SCDAE",
        "environment": {"python": "3.11.2", "torch": "2.10", "processor": "A <CPU>", "cores": 2, "git_dirty": False},
        "cells": cells,
    }


def make_ablation() -> dict[str, Any]:
    """Make a benchmark of the experiments 1 to 11 and the series variant, on one category with two seeds."""
    cells = []
    for experiment in (*map(str, range(1, 12)), "series"):
        for seed in range(2):
            row = f"Experiment {experiment}"
            cell = make_cell(row, "SCDAE", "SyntheticLOCO", "pushpins", seed)
            cells.append(cell | {"experiment": experiment})
    return make_results() | {
        "name": "Ablations", "layout": "ablation", "cells": cells,
        "baseline": "Experiment 1", "headline": "Experiment 11",
    }  # fmt: skip


def write(folder: Path, results: dict[str, Any]) -> Path:
    """Write ``results.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def image_names(types: np.ndarray) -> list[str]:
    """Name images of these types."""
    return [f"{kind}/{number:03}.png" for number, kind in enumerate(types)]


def make_study(folder: Path, categories: int = 2, seeds: int = 2, images: int = 20, kinds: int = 2) -> dict[str, Any]:
    """Make a benchmark of three rows whose figures are those of the scores in the cells' folders."""
    cells = []
    for row, gain in (("SCDAE", 1.5), ("EfficientAd (mended)", 0.5), ("Stfpm", 0.5)):
        for number in range(categories):
            for seed in range(seeds):
                cell = make_cell(row, row, "SyntheticLOCO", f"category_{number}", seed)
                rng = np.random.default_rng([number, seed, len(row)])
                types = np.repeat(["good", STRUCTURAL, LOGICAL][: kinds + 1], images)
                scores = rng.normal(np.where(types == "good", 0.0, gain), 1.0)
                paths = [f"/data/category_{number}/test/{name}" for name in image_names(types)]
                frame = pd.DataFrame(
                    {"path": paths, "type": types, "score": scores, "label": (types != "good").astype(int)}
                )
                order = rng.permutation(len(frame))  # batches may come in any order
                file = scores_file(folder, cell["id"])
                file.parent.mkdir(parents=True)
                frame.iloc[order].assign(prediction=0, score_local=0.0).to_csv(file, index=False)
                cell["accuracy"]["image_auroc"] = with_mean(auroc_per_type(scores, types))
                cells.append(cell)
    return {"name": "Study", "baseline": "EfficientAd (mended)", "headline": "SCDAE", "cells": cells}
