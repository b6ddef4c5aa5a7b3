# SPDX-License-Identifier: Apache-2.0
"""What a measurement was made on and with."""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import anomalib_scdae

#: Where the package lies: a checkout, or an installation.
PACKAGE_FOLDER = Path(anomalib_scdae.__file__).resolve().parent
_CPU_INFO = Path("/proc/cpuinfo")


def environment() -> dict[str, Any]:
    """Return versions, processor, accelerator and, if the package runs from a checkout, its commit."""
    commit, dirty = git_state()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "anomalib_scdae": anomalib_scdae.__version__,
        **{package: _version(package) for package in ("anomalib", "lightning", "openvino", "nncf")},
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda,
        "git_commit": commit,
        "git_dirty": dirty,
    }


def available_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """Return the processor's name; ``platform.processor()`` knows it on few systems."""
    if _CPU_INFO.exists() and (found := re.search(r"model name\s*: (.+)", _CPU_INFO.read_text())):
        return found[1].strip()
    try:
        import openvino

        return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    except (ImportError, RuntimeError):
        return platform.processor() or platform.machine()


def git_state(folder: Path = PACKAGE_FOLDER) -> tuple[str | None, bool | None]:
    """Return commit and whether tracked files differ from it, or two ``None`` if git does not track ``folder``.

    A virtual environment often lies inside somebody's checkout: only a tracked file makes it ours.
    """
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return _git(folder, "rev-parse", "HEAD"), bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
