# SPDX-License-Identifier: Apache-2.0
"""How much memory a process has needed."""

import re
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_MIB = 2**20


def peak_memory_mib() -> dict[str, float | None]:
    """Return the most memory that this process has held so far, in MiB.

    Returns:
        ``process``: resident memory; ``accelerator``: what PyTorch has allocated on the CUDA device, else ``None``.
    """
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "process": _process_peak() / _MIB,
        "accelerator": torch.cuda.max_memory_allocated() / _MIB if cuda else None,
    }


def _process_peak() -> float:
    """Return the peak of the resident memory in bytes.

    Linux's ``getrusage`` gives a child process its parent's peak as a start; the kernel's status file does not.
    """
    if _STATUS.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())):
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
