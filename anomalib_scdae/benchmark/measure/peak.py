# SPDX-License-Identifier: Apache-2.0
"""The most arithmetic that a machine is seen to do: a bound for what a model could reach on it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from anomalib_scdae.benchmark.measure.export import attempt
from anomalib_scdae.benchmark.measure.timing import interleave, stopwatch
from anomalib_scdae.benchmark.process import Failure

#: Channels, kernel size and side of convolutions that suit a processor: much arithmetic for every number read.
CONVOLUTIONS = ((128, 3, 56), (256, 3, 56), (384, 1, 56), (512, 3, 28))
#: Rows, columns and depth of the matrix products.
MATRIX_SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
#: Convolutions in a row, so that the conversion of the first one's input weighs little.
DEPTH = 4

#: An operation, and the multiply-accumulate operations it takes.
Operation = tuple[Callable[[], object], int]


def measure_peaks(device: str = "cpu", repeats: int = 5) -> dict[str, float | str]:
    """Measure the machine's peak in multiply-accumulate operations, the best of some convolutions and matrix products.

    Args:
        device: Where PyTorch's operations run, ``cpu`` or ``cuda``. OpenVINO's run on the CPU.
        repeats: How often each is timed; the best time counts.

    Returns:
        Peaks in 10^9 multiply-accumulate operations a second: ``torch_fp32``, ``torch_bf16``, ``openvino_fp32`` and
        ``openvino_int8``, or why one could not be measured. ``torch_fp32`` uses TF32 where PyTorch's settings say so.
    """
    kinds: dict[str, Callable[[], list[Operation]]] = {
        "torch_fp32": partial(_torch_operations, device, torch.float32),
        "torch_bf16": partial(_torch_operations, device, torch.bfloat16),
        "openvino_fp32": partial(_openvino_operations, quantise=False),
        "openvino_int8": partial(_openvino_operations, quantise=True),
    }
    peaks = {name: attempt(partial(_best, make, repeats)) for name, make in kinds.items()}
    return {name: peak.sentence if isinstance(peak, Failure) else peak for name, peak in peaks.items()}


def _best(make: Callable[[], list[Operation]], repeats: int) -> float:
    operations = make()
    watches = {str(index): stopwatch(function) for index, (function, _) in enumerate(operations)}
    with torch.inference_mode():
        fastest = interleave(watches, repeats, warm_up=2).min()
    return max(macs / seconds for (_, macs), seconds in zip(operations, fastest, strict=True)) / 1e9


def _torch_operations(device: str, dtype: torch.dtype) -> list[Operation]:
    operations: list[Operation] = []
    batch = 4 if device == "cpu" else 64
    for channels, kernel, side in CONVOLUTIONS:
        convolution = _convolution(channels, kernel).to(device, dtype).to(memory_format=torch.channels_last)
        images = torch.randn(batch, channels, side, side, device=device, dtype=dtype)
        images = images.to(memory_format=torch.channels_last)
        operations.append((partial(convolution, images), batch * channels**2 * kernel**2 * side**2))
    for side in MATRIX_SIDES[device]:
        matrix = torch.randn(side, side, device=device, dtype=dtype)
        operations.append((partial(torch.matmul, matrix, matrix), side**3))
    return operations


def _openvino_operations(*, quantise: bool) -> list[Operation]:
    import nncf
    import openvino as ov

    operations: list[Operation] = []
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    for channels, kernel, side in CONVOLUTIONS:
        images = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))
        stack = nn.Sequential(*(_convolution(channels, kernel) for _ in range(DEPTH))).eval()
        model = ov.convert_model(stack, example_input=images)
        model.reshape(list(images.shape))
        if quantise:
            model = nncf.quantize(model, nncf.Dataset([images.numpy()]), subset_size=1)
        request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
        operations.append((partial(request.infer, {0: images.numpy()}), DEPTH * channels**2 * kernel**2 * side**2))
    return operations


def _convolution(channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
