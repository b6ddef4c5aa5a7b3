# SPDX-License-Identifier: Apache-2.0
"""What is compared, and how fast SCDAE means to be."""

from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Goal(NamedTuple):
    """A ratio SCDAE / EfficientAd: what of, and the largest that is fast enough."""

    what: str
    at_most: float


GOALS: dict[str, Goal] = {
    "train_step_fp32": Goal("training step, batch 1, FP32", 0.85),
    "train_step_bf16": Goal("training step, batch 1, BF16", 0.85),
    "train_end_to_end": Goal("training, time per image, PNG files", 0.67),
    "validation": Goal("validation: quantiles and metrics", 0.6),
    "torch_fp32_batch1": Goal("PyTorch FP32, batch 1", 1.0),
    "torch_fp32_batch8": Goal("PyTorch FP32, batch 8", 1.0),
    "openvino_fp32": Goal("OpenVINO FP32, batch 1", 1.1),
    "openvino_int8_to_fp32": Goal("OpenVINO, SCDAE's INT8 / EfficientAd's FP32", 0.30),
    "openvino_int8": Goal("OpenVINO INT8, batch 1", 1.1),
    "train_peak_memory": Goal("training, batch 1, peak memory", 1.3),
}


def verdict(key: str, ratio: float | None) -> str:
    """Say whether a ratio meets its goal."""
    if ratio is None:
        return "not measured"
    return "met" if ratio <= GOALS[key].at_most else "missed"


def print_table(ratios: Mapping[str, float | None], spreads: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Print each ratio with its quartiles, its goal and the verdict."""
    table = Table(title=title)
    for heading in ("key", "SCDAE / EfficientAd", "ratio", "quartiles", "goal", "verdict"):
        table.add_column(heading, justify="right" if heading in {"ratio", "quartiles", "goal"} else "left")
    for key, goal in GOALS.items():
        ratio, spread = ratios[key], spreads.get(key)
        table.add_row(
            key,
            goal.what,
            "-" if ratio is None else f"{ratio:.3f}",
            f"{spread['q25']:.3f} - {spread['q75']:.3f}" if spread else "",
            f"<= {goal.at_most:g}",
            verdict(key, ratio),
        )
    Console().print(table)
