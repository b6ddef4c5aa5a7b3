# SPDX-License-Identifier: Apache-2.0
"""Quantiles and thresholds belong to the weights that are kept, also where these are an average."""

import shutil
from pathlib import Path

import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, StochasticWeightAveraging
from torch import nn

from anomalib_scdae import SCDAE
from anomalib_scdae.model.training.calibration import fingerprint
from tests.conftest import draw_image
from tests.model.training.statistics_by_hand import assert_statistics

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture
def six_images(loco_root: Path, tmp_path: Path) -> Path:
    """Enough of them for a context score, whose size is not known before a training begins."""
    shutil.copytree(loco_root / "part", tmp_path / "data" / "part")
    for seed in range(4, 6):
        draw_image(tmp_path / "data/part/train/good" / f"{seed:03}.png", seed)
    return tmp_path / "data"


def _fit(model: SCDAE, root: Path, folder: Path, *callbacks: Callback, **limit: int) -> MVTecLOCO:
    data = MVTecLOCO(root=root, category="part", train_batch_size=2, eval_batch_size=2, num_workers=0)
    engine = Engine(
        default_root_dir=folder, accelerator="cpu", callbacks=list(callbacks), enable_progress_bar=False, **limit
    )
    engine.fit(model, datamodule=data)
    return data


@pytest.mark.slow
def test_an_exponential_average(six_images: Path, model_arguments: dict, tmp_path: Path) -> None:
    """Its checkpoints are written within an epoch, at a validation, and after the last one."""
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    model = SCDAE(**model_arguments, lr=1e-3)
    data = _fit(model, six_images, tmp_path, EMAWeightAveraging(decay=0.5), saving, max_steps=4)
    assert model.model.context_score.is_fitted
    assert_statistics(model, data.val_dataloader())
    for step in (1, 2, 3, 4):
        path = tmp_path / f"step={step}.ckpt"
        assert_statistics(SCDAE.load_from_checkpoint(path), data.val_dataloader())
        saved = torch.load(path, weights_only=True)
        average, current = fingerprint(saved["state_dict"], model), fingerprint(saved["current_model_state"], model)
        assert (average == current) == (step == 1)  # the first average is of one
    assert average == fingerprint(model.state_dict(), model)


@pytest.mark.slow
def test_an_average_over_epochs(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    model = SCDAE(**model_arguments, lr=1e-3)
    saving = ModelCheckpoint(tmp_path, "last")
    averaging = StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1)
    data = _fit(model, loco_root, tmp_path, averaging, saving, max_epochs=3)
    assert_statistics(model, data.val_dataloader())
    saved = SCDAE.load_from_checkpoint(tmp_path / "last.ckpt")
    assert_statistics(saved, data.val_dataloader())
    assert fingerprint(saved.state_dict(), saved) != fingerprint(model.state_dict(), model)


@given(st.integers(0, 2**31), st.integers(0, 11))
def test_a_fingerprint_tells_weights_apart(seed: int, position: int) -> None:
    torch.manual_seed(seed)
    module = nn.Linear(3, 4)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    assert fingerprint(state, module) == fingerprint(module.state_dict(), module)
    with torch.no_grad():
        weight = module.weight.view(-1)
        weight[position] = torch.nextafter(weight[position], torch.tensor(torch.inf))
    assert fingerprint(state, module) != fingerprint(module.state_dict(), module)


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_the_model_has_its_weights_back_when_others_are_saved(
    fraction: float, loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    class Other(Callback):
        """Saves other weights than the model's."""

        def on_save_checkpoint(self, trainer: object, pl_module: SCDAE, checkpoint: dict) -> None:
            self.before = fingerprint(pl_module.state_dict(), pl_module)
            checkpoint["state_dict"] = {
                name: value * fraction if value.is_floating_point() else value
                for name, value in checkpoint["state_dict"].items()
            }

    other, model = Other(), SCDAE(**model_arguments)
    _fit(model, loco_root, tmp_path, other, max_steps=1)
    assert fingerprint(model.state_dict(), model) == other.before
