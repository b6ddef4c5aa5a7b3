# SPDX-License-Identifier: Apache-2.0
"""The most memory that this process has used so far."""

import re
import resource
import sys
from pathlib import Path

import torch


def peak_memory_mib() -> float:
    """Return the peak of GPU memory where there is a GPU, else of this process's resident memory, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        # Unlike getrusage, this does not count what the parent had used when it started this process.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    except OSError:
        found = None
    if found:
        return int(found[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
