"""Stands in for a cell's process: does at once what the cell's category says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

from anomalib_scdae.files import replacing

RESULT = {"status": "finished", "accuracy": {"image_auroc": {"mean": 0.5}}}


def train(config_file: Path, category: str) -> None:
    if category == "fail":
        # Through the real entry, which cannot read this configuration's data. It takes seconds to import.
        from anomalib_scdae.benchmark.cell.__main__ import main

        sys.exit(main(config_file))
    if category == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if category == "lose":  # the process that started this one
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if category == "vanish":
        sys.exit(0)
    if category == "sleep":
        time.sleep(60)
    (config_file.parent / "weights.safetensors").write_bytes(b"")
    write(config_file.parent / "result.json", RESULT)


def deploy(config_file: Path, category: str) -> None:
    # The first attempt dies, as it does when memory runs out.
    if category == "die_when_measured" and runs(config_file).count(f"{config_file.parent.name}:deploy") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    result = json.loads((config_file.parent / "result.json").read_text())
    write(config_file.parent / "result.json", {**result, "latency": {"torch_fp32": {"median_ms": 1.0}}})


def write(path: Path, content: dict) -> None:
    with replacing(path) as file:
        file.write_text(json.dumps(content))


def runs(config_file: Path) -> list[str]:
    return (config_file.parents[2] / "runs.txt").read_text().split()


if __name__ == "__main__":
    config_file, step = Path(sys.argv[1]), sys.argv[2]
    with (config_file.parents[2] / "runs.txt").open("a") as file:
        file.write(config_file.parent.name + (":deploy" if step == "deploy" else "") + "\n")
    {"train": train, "deploy": deploy}[step](config_file, yaml.safe_load(config_file.read_text())["category"])
