# SPDX-License-Identifier: Apache-2.0
"""Stands in for the steps of a cell: does at once what the cell's category says."""

import os
import signal
import sys
import time

from anomalib_scdae.benchmark.cells import CellFolder
from anomalib_scdae.benchmark.jobs import run_step as run_real_step

RESULT = {"status": "finished", "accuracy": {"image_auroc": {"mean": 0.5}}}


def run_step(folder: CellFolder, step: str) -> None:
    with (folder.benchmark / "runs.txt").open("a") as file:
        file.write(folder.cell.id + (":deploy" if step == "deploy" else "") + "\n")
    {"train": train, "deploy": deploy}[step](folder, folder.cell.category)


def train(folder: CellFolder, category: str) -> None:
    if category == "fail":
        run_real_step(folder, "train")  # which cannot read this configuration's data, and takes seconds to import
    if category == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if category == "lose":  # the process that started this one
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if category == "vanish":
        sys.exit(0)
    if category == "sleep":
        time.sleep(60)
    folder.weights.write_bytes(b"")
    folder.write_result(RESULT)


def deploy(folder: CellFolder, category: str) -> None:
    # The first attempt dies, as it does when memory runs out.
    runs = (folder.benchmark / "runs.txt").read_text().split()
    if category == "die_when_measured" and runs.count(f"{folder.cell.id}:deploy") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    folder.write_result({**folder.result(), "latency": {"torch_fp32": {"median_ms": 1.0}}})
