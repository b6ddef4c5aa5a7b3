# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` at random moments: what is on disk is whole, and the same command again ends as if nothing had happened.

Takes an hour, so only on request: ``SCDAE_TEST_KILLS=20 pytest -n 0 tests/test_kill.py`` kills each command 20 times.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from anomalib_scdae.files import sha256_of
from anomalib_scdae.image_files import check_image
from tests.conftest import CHANNELS, ROOT, draw_image

KILLS = int(os.environ.get("SCDAE_TEST_KILLS", "0"))
#: Only a bound for a machine that hangs.
PATIENCE = 900.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not KILLS, reason="takes an hour: set SCDAE_TEST_KILLS to the number of kills"),
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX process groups"),
]

OURS = "import sys; from anomalib_scdae.cli import main; sys.exit(main())"
TRAIN = """
import sys
from pathlib import Path
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from lightning.pytorch import seed_everything
from safetensors.torch import save_file
from anomalib_scdae import SCDAE

root, teacher, penalty, channels = sys.argv[1:]
seed_everything(1)
kept = sorted(Path("checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
print("from", kept)
saving = ModelCheckpoint("checkpoints", "{step}", every_n_train_steps=1, save_top_k=1)
engine = Engine(max_steps=5, accelerator="cpu", logger=False, callbacks=[saving])
model = SCDAE(teacher=teacher, penalty_images=penalty, teacher_out_channels=int(channels))
data = MVTecLOCO(root=root, category="part", train_batch_size=1, num_workers=0)
engine.fit(model, datamodule=data, ckpt_path=kept[-1] if kept else None)
save_file({name: value.contiguous() for name, value in model.model.student.state_dict().items()}, "student.safetensors")
"""


def _start(folder: Path, command: list[str]) -> "subprocess.Popen[bytes]":
    """Start a command in ``folder`` and a process group of its own."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ANOMALIB_SCDAE_OFFLINE": "1"}
    with (folder / "out.txt").open("ab") as out:
        words = [sys.executable, "-c", *command]
        return subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)


READERS: dict[str, Callable[[Path], object]] = {
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".checkpoint": lambda path: torch.load(path, weights_only=True),
    ".safetensors": load_file,
    ".json": lambda path: json.loads(path.read_text()),
    ".png": check_image,
}


def _check_whole(folder: Path) -> None:
    """Read every file that is not hidden."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in READERS and path.is_file() and not hidden:
            READERS[path.suffix](path)


def _survives(folder: Path, command: list[str], outcome: Callable[[Path], Any]) -> None:
    started = time.monotonic()
    assert _start(folder / "whole", command).wait(PATIENCE) == 0, (folder / "whole/out.txt").read_text()
    seconds = time.monotonic() - started
    expected = outcome(folder / "whole")
    for number in range(KILLS):
        moment = random.uniform(0, seconds)
        place = folder / f"killed{number}"
        process = _start(place, command)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        told = f"killed after {moment:.2f} of {seconds:.2f} s"
        print(told, sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())[:40])
        _check_whole(place)
        assert _start(place, command).wait(PATIENCE) == 0, f"{told}: {(place / 'out.txt').read_text()}"
        _check_whole(place)
        assert outcome(place) == expected, told


def test_training(loco_root: Path, teacher_file: Path, penalty_folder: Path, tmp_path: Path) -> None:
    command = [TRAIN, str(loco_root), str(teacher_file), str(penalty_folder), str(CHANNELS)]
    _survives(tmp_path, command, lambda place: sha256_of(place / "student.safetensors"))


def test_distillation(tmp_path: Path) -> None:
    for seed in range(6):
        draw_image(tmp_path / "photographs" / f"{seed}.png", seed)
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "backbone.safetensors")
    options = {
        "images": tmp_path / "photographs", "backbone": "test_resnet", "output": "teacher.safetensors", "resume": True,
        "backbone_weights": tmp_path / "backbone.safetensors", "steps": 60, "validate_every": 5, "batch": 2,
        "validation_images": 1, "crop": 36, "cache_views": 4, "out_channels": 8, "precision": "fp32",
    }  # fmt: skip
    words = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    _survives(tmp_path, [OURS, "distill", *words], lambda place: sha256_of(place / "teacher.safetensors"))


def test_benchmark(loco_root: Path, teacher_file: Path, penalty_folder: Path, tmp_path: Path) -> None:
    row = {"class_path": "SCDAE", "init_args": {"teacher_out_channels": CHANNELS}, "latency": False}
    data = {"root": str(loco_root), "train_batch_size": 1, "num_workers": 0}
    options = {
        "output": "results", "teacher": teacher_file, "penalty_images": penalty_folder,
        "models": json.dumps([{**row, "name": "A"}, {**row, "name": "B"}]),
        "datasets": json.dumps([{"class_path": "MVTecLOCO", "init_args": data, "categories": ["part"]}]),
        "trainer": json.dumps({"max_steps": 3, "accelerator": "cpu"}),
    }  # fmt: skip
    words = [text for key, value in options.items() for text in (f"--{key}", str(value))]

    def outcome(place: Path) -> list[Any]:
        cells = json.loads((place / "results/results.json").read_text())["cells"]
        assert "SCDAE" in (place / "results/report.md").read_text()
        return [(cell["id"], cell["status"], cell["accuracy"], cell["files"]) for cell in cells]

    _survives(tmp_path, [OURS, "benchmark", *words], outcome)


def test_rendering(tmp_path: Path) -> None:
    counts = {f"--{name}_images": "4" for name in ("train", "validation", "good", "logical", "structural")}
    words = [text for option in counts.items() for text in option]
    command = [OURS, "synthesize", "--root", "data", "--categories", "[pushpins]", "--long_side", "256", *words]
    _survives(
        tmp_path,
        [*command, "--processes", "2"],
        lambda place: {
            str(p.relative_to(place)): sha256_of(p) for p in place.glob("data/pushpins/**/*") if p.is_file()
        },
    )
