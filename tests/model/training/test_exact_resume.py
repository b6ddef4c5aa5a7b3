# SPDX-License-Identifier: Apache-2.0
"""A training that was killed and resumed ends where an uninterrupted one ends."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from lightning.pytorch import seed_everything
from torchvision.transforms.v2 import RandomHorizontalFlip

from anomalib_scdae import SCDAE
from anomalib_scdae.model.distances import Distances
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.exact_resume import _random_state, _set_random_state, seed_epoch
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("narrow_networks")

STEPS = 7  # of four an epoch


def test_random_state_survives_a_checkpoint(tmp_path: Path) -> None:
    seed_epoch(1, 2, 3)
    random.random(), np.random.rand(), torch.rand(1)
    torch.save(_random_state(), tmp_path / "state")
    expected = random.random(), np.random.rand(), torch.rand(1)
    _set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_epochs_and_ranks_have_their_own_random_numbers() -> None:
    drawn = set()
    for key in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]:
        seed_epoch(*key)
        drawn.add((random.random(), float(np.random.rand()), torch.rand(1).item()))
    assert len(drawn) == 4


@pytest.fixture
def cheap_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that take no time, and whose loss depends on the image, the penalty image and random numbers."""

    def forward(
        self: SCDAEModel, images: torch.Tensor, penalty_images: torch.Tensor, *_: object
    ) -> dict[str, torch.Tensor]:
        drawn = torch.rand(1) + np.random.rand() + random.random()
        bias = self.branches[0].autoencoder.decoder.deconv8.bias
        everything = sum(p.sum() for p in self.parameters() if p.requires_grad)
        return {"only": bias.sum() * (images.mean() + penalty_images.mean() + drawn) + 0 * everything}

    monkeypatch.setattr(SCDAEModel, "forward", forward)
    monkeypatch.setattr(
        SCDAEModel, "distances", lambda self, images: Distances(images[:, :, ::4, ::4], images.mean(dim=(1, 2, 3)))
    )


def _train(
    folder: Path, loco_root: Path, arguments: dict, workers: int, seed: int, checkpoint: Path | None = None
) -> None:
    """Train, with a checkpoint after every step and every epoch, after the last step alone where a training is resumed.

    Images are flipped at random on top of it all.
    """
    seed_everything(seed)
    data = MVTecLOCO(
        root=loco_root,
        category="part",
        train_batch_size=1,
        num_workers=workers,
        train_augmentations=RandomHorizontalFlip(),
    )
    steps = 1 if checkpoint is None else STEPS
    by_step = ModelCheckpoint(folder, "{step}", every_n_train_steps=steps, save_top_k=-1, save_on_train_epoch_end=False)
    by_epoch = ModelCheckpoint(folder, "epoch-{step}", save_top_k=-1, save_on_train_epoch_end=True)
    engine = Engine(
        max_steps=STEPS,
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=[by_step] if checkpoint is not None else [by_step, by_epoch],
        enable_progress_bar=False,
    )
    engine.fit(SCDAE(**arguments), datamodule=data, ckpt_path=checkpoint)


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_networks")
@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_equals_uninterrupted(loco_root: Path, model_arguments: dict, tmp_path: Path, workers: int) -> None:
    _train(tmp_path / "whole", loco_root, model_arguments, workers, seed=0)
    expected = torch.load(tmp_path / "whole" / f"step={STEPS}.ckpt", weights_only=True)
    # From within the first and the second epoch, from an epoch's last step, and from its end.
    for name in ("step=2", "step=4", "epoch-step=4", "step=6")[: 4 if workers == 0 else 2]:
        _train(tmp_path / name, loco_root, model_arguments, workers, 99, tmp_path / "whole" / f"{name}.ckpt")
        found = torch.load(tmp_path / name / f"step={STEPS}.ckpt", weights_only=True)
        assert found["global_step"] == expected["global_step"] == STEPS
        assert found["lr_schedulers"] == expected["lr_schedulers"]
        for key, value in expected["state_dict"].items():
            torch.testing.assert_close(
                found["state_dict"][key], value, rtol=0, atol=0, equal_nan=True, msg=f"{name} {key}"
            )


@pytest.mark.slow
def test_killed_process_resumes_on_the_command_line(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    """`anomalib fit`, killed after an epoch, then `anomalib fit --ckpt_path`, against one that was left alone."""
    # Anomalib 2.7's command takes --seed_everything, and does nothing with it.
    program = (
        "from lightning.pytorch import seed_everything; seed_everything(1)\n"
        "from tests.narrow import make_narrow; make_narrow()\n"
        "from anomalib.cli.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable, "-c", program, "fit", "--model", "SCDAE",
        *(f"--model.{name}={value}" for name, value in model_arguments.items()),
        "--data=MVTecLOCO", f"--data.root={loco_root}", "--data.category=part", "--data.train_batch_size=1",
        "--data.num_workers=0", "--trainer.max_steps=6", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]  # fmt: skip

    def run(folder: Path, *extra: str) -> Path:
        words = [*command, f"--default_root_dir={folder}", *extra]
        subprocess.run(words, check=True, capture_output=True, env=environment)
        return max(folder.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)

    whole = torch.load(run(tmp_path / "whole"), weights_only=True)
    # A process that dies after its first epoch leaves that epoch's checkpoint.
    killer = "import os, anomalib_scdae.model.lightning_model as m\n" + (
        "start = m.SCDAE.on_train_batch_start = lambda self, batch, i: self.global_step == 5 and os._exit(9)\n"
    )
    killed = [sys.executable, "-c", killer + program, *command[3:]]
    words = [*killed, f"--default_root_dir={tmp_path / 'killed'}"]
    result = subprocess.run(words, check=False, capture_output=True, env=environment)
    assert result.returncode == 9
    (left,) = (tmp_path / "killed").rglob("*.ckpt")
    assert torch.load(left, weights_only=True)["global_step"] == 4
    resumed = torch.load(run(tmp_path / "resumed", f"--ckpt_path={left}"), weights_only=True)
    assert resumed["global_step"] == whole["global_step"] == 6
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(resumed["state_dict"][name], value, rtol=1e-5, atol=1e-6, equal_nan=True)
