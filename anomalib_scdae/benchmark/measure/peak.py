# SPDX-License-Identifier: Apache-2.0
"""The most arithmetic that a machine is seen to do: a bound for what a model could reach on it."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from anomalib_scdae.benchmark.measure.export import Failure, attempt
from anomalib_scdae.benchmark.measure.timing import interleave, stopwatch, synchroniser

Precision = Literal["fp32", "bf16"]

#: Channels, kernel size and side of convolutions that suit a processor: much arithmetic for every number read.
CONVOLUTIONS = ((128, 3, 56), (256, 3, 56), (384, 1, 56), (512, 3, 28))
#: Rows, columns and depth of the matrix products.
MATRIX_SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}


def measure_peaks(device: torch.device | str = "cpu", repeats: int = 5) -> dict[str, float | str]:
    """Measure the machine's peak in multiply-accumulate operations, the best of some convolutions and matrix products.

    Args:
        device: Where PyTorch's operations run. OpenVINO's run on the CPU.
        repeats: How often each is timed; the best time counts.

    Returns:
        Peaks in 10^9 multiply-accumulate operations a second: ``torch_fp32``, ``torch_bf16``, ``openvino_fp32`` and
        ``openvino_int8``, or why one could not be measured. ``torch_fp32`` uses TF32 where PyTorch's settings say so.
    """
    device = torch.device(device)
    measured: dict[str, Callable[[], float]] = {
        "torch_fp32": lambda: _torch_peak(device, torch.float32, repeats),
        "torch_bf16": lambda: _torch_peak(device, torch.bfloat16, repeats),
        "openvino_fp32": lambda: _openvino_peak(repeats, quantise=False),
        "openvino_int8": lambda: _openvino_peak(repeats, quantise=True),
    }
    peaks = {name: attempt(function) for name, function in measured.items()}
    return {name: str(peak) if isinstance(peak, Failure) else peak for name, peak in peaks.items()}


def _best(
    macs: dict[str, int], functions: dict[str, Callable[[], object]], device: torch.device, repeats: int
) -> float:
    watches = {name: stopwatch(function, synchroniser(device)) for name, function in functions.items()}
    timings = interleave(watches, repeats, warm_up=2)
    return max(macs[name] / min(seconds) for name, seconds in timings.seconds.items()) / 1e9


@torch.inference_mode()
def _torch_peak(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    macs: dict[str, int] = {}
    functions: dict[str, Callable[[], object]] = {}
    batch = 4 if device.type == "cpu" else 64
    for channels, kernel, side in CONVOLUTIONS:
        convolution = _convolution(channels, kernel).to(device, dtype).to(memory_format=torch.channels_last)
        images = torch.randn(batch, channels, side, side, device=device, dtype=dtype)
        images = images.to(memory_format=torch.channels_last)
        name = f"convolution {channels} {kernel} {side}"
        macs[name] = batch * channels**2 * kernel**2 * side**2
        functions[name] = lambda convolution=convolution, images=images: convolution(images)  # type: ignore[misc]
    for side in MATRIX_SIDES["cpu" if device.type == "cpu" else "cuda"]:
        matrix = torch.randn(side, side, device=device, dtype=dtype)
        macs[f"matrix {side}"] = side**3
        functions[f"matrix {side}"] = lambda matrix=matrix: matrix @ matrix  # type: ignore[misc]
    return _best(macs, functions, device, repeats)


def _openvino_peak(repeats: int, *, quantise: bool, depth: int = 4) -> float:
    """Time stacks of convolutions, so that the conversion of the first one's input weighs little."""
    import nncf
    import openvino as ov

    macs: dict[str, int] = {}
    functions: dict[str, Callable[[], object]] = {}
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    for channels, kernel, side in CONVOLUTIONS:
        images = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))
        stack = nn.Sequential(*(_convolution(channels, kernel) for _ in range(depth))).eval()
        model = ov.convert_model(stack, example_input=images)
        model.reshape(list(images.shape))
        if quantise:
            model = nncf.quantize(model, nncf.Dataset([images.numpy()]), subset_size=1)
        request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
        name = f"convolution {channels} {kernel} {side}"
        macs[name] = depth * channels**2 * kernel**2 * side**2
        functions[name] = lambda request=request, images=images: request.infer({0: images.numpy()})  # type: ignore[misc]
    return _best(macs, functions, torch.device("cpu"), repeats)


def _convolution(channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
