# SPDX-License-Identifier: Apache-2.0
"""What is compared, how fast SCDAE means to be, and how much is measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table


class Target(NamedTuple):
    """A ratio SCDAE / EfficientAd: what of, and the largest that is fast enough."""

    what: str
    at_most: float


TARGETS: dict[str, Target] = {
    "train_step_fp32": Target("training step, batch 1, FP32", 0.85),
    "train_step_bf16": Target("training step, batch 1, BF16", 0.85),
    "train_step_fp32_fast": Target("training step, batch 1, FP32, fast schedule", 0.85),
    "train_step_bf16_fast": Target("training step, batch 1, BF16, fast schedule", 0.85),
    "train_end_to_end": Target("training, time per image, PNG files", 0.67),
    "validation": Target("validation: quantiles and metrics", 0.6),
    "torch_fp32_batch1": Target("PyTorch FP32, batch 1", 1.0),
    "torch_fp32_batch8": Target("PyTorch FP32, batch 8", 1.0),
    "openvino_fp32": Target("OpenVINO FP32, batch 1", 1.1),
    "openvino_int8_to_fp32": Target("OpenVINO, SCDAE's INT8 / EfficientAd's FP32", 0.30),
    "openvino_int8": Target("OpenVINO INT8, batch 1", 1.1),
    "torch_fp32_batch1_compact": Target("PyTorch FP32, batch 1, compact SCDAE", 0.9),
    "torch_fp32_batch8_compact": Target("PyTorch FP32, batch 8, compact SCDAE", 0.9),
    "openvino_fp32_compact": Target("OpenVINO FP32, batch 1, compact SCDAE", 0.9),
    "openvino_int8_compact": Target("OpenVINO INT8, batch 1, compact SCDAE", 0.9),
    "train_peak_memory": Target("training, batch 1, peak memory", 1.3),
    "train_peak_memory_fast": Target("training, batch 1, peak memory, fast schedule", 1.3),
}


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        step_rounds: Turns of the training steps that count, for each model.
        steps: Steps in such a turn; one more before them does not count.
        warm_up: Rounds of steps and predictions before those that count.
        file_size: Height and width of the files of the whole training.
        files: Number of its training images, which makes an epoch.
        validation_files: Number of its validation images.
        epochs: Its epochs, at least 2: images are read in the first one and may be remembered in the others.
        turns: Turns in an epoch.
        inference_rounds: Rounds of predictions.
        calibration_images: For INT8; more would change the accuracy, not the speed.
        peak_repeats: How often each operation is timed that the machine's peak is sought with.
        workers: Processes that read images in the whole training; ``None`` for Anomalib's default.
    """

    step_rounds: int = 12
    steps: int = 4
    warm_up: int = 2
    file_size: tuple[int, int] = (1280, 1600)
    files: int = 15
    validation_files: int = 12
    epochs: int = 3
    turns: int = 4
    inference_rounds: int = 20
    calibration_images: int = 16
    peak_repeats: int = 5
    workers: int | None = None


#: What takes minutes on either device.
EXTENTS = {"cpu": Extent(), "cuda": Extent(step_rounds=30, steps=20, files=159, epochs=4, turns=8)}


def verdict(key: str, ratio: float | None) -> str:
    """Say whether a ratio meets its target."""
    if ratio is None:
        return "not measured"
    return "met" if ratio <= TARGETS[key].at_most else "missed"


def print_table(ratios: Mapping[str, float | None], measurements: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print each ratio with its quartiles, its target and the verdict."""
    table = Table(title=title)
    for heading in ("key", "SCDAE / EfficientAd", "ratio", "quartiles", "goal", "verdict"):
        table.add_column(heading, justify="right" if heading in {"ratio", "quartiles", "goal"} else "left")
    for key, target in TARGETS.items():
        ratio, spread = ratios[key], measurements.get(key, {}).get("ratio")
        table.add_row(
            key,
            target.what,
            "-" if ratio is None else f"{ratio:.3f}",
            f"{spread['q25']:.3f} - {spread['q75']:.3f}" if spread else "",
            f"<= {target.at_most:g}",
            verdict(key, ratio),
        )
    Console().print(table)
