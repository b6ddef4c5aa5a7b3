# SPDX-License-Identifier: Apache-2.0
"""Models, ready to be timed: each as a callable that predicts one batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.measure.timing import Timings


def torch_runner(model: AnomalibModule, images: torch.Tensor) -> Callable[[], object]:
    """Return what predicts ``images`` ``(B, 3, H, W)`` with PyTorch, pre- and post-processing included."""
    model.eval()

    @torch.inference_mode()
    def predict() -> object:
        return model(images)

    return predict


def openvino_runner(path: Path, images: torch.Tensor, threads: int | None = None) -> Callable[[], object]:
    """Return what predicts ``images`` with OpenVINO on the CPU.

    What is not quantised is computed in FP32: left to itself, OpenVINO would use BF16 on processors that have it.

    Args:
        path: The exported model.
        images: ``(B, 3, H, W)`` in [0, 1].
        threads: Number of threads; default: as many as PyTorch uses.
    """
    import openvino as ov

    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads or torch.get_num_threads()),
    }
    compiled = ov.Core().compile_model(path, "CPU", options)
    request, inputs = compiled.create_infer_request(), {0: images.cpu().numpy()}
    return lambda: request.infer(inputs)


def describe(timings: Timings, name: str, to: str | None = None, images: int = 1) -> dict[str, Any]:
    """Return the latency of ``name`` for a table: milliseconds, images a second, and the ratio to ``to``.

    Args:
        timings: Seconds of one call, each with ``images`` images.
        name: Whose latency.
        to: What it is compared with, if anything.
        images: Batch size.
    """
    spread = timings.spread(name)
    figures: dict[str, Any] = {
        "median_ms": spread.median * 1e3,
        "q25_ms": spread.q25 * 1e3,
        "q75_ms": spread.q75 * 1e3,
        "images_per_second": images / spread.median,
    }
    if to is not None:
        figures["ratio"] = timings.ratio(name, to).as_dict()
    return figures
