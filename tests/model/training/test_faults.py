# SPDX-License-Identifier: Apache-2.0
"""Trainings that cannot end well, and models that none has made, are refused in one sentence."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.deploy import ExportType
from anomalib.engine import Engine

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError


def _loco(root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=root, category="part", train_batch_size=1, num_workers=0)


def _engine(folder: Path, **arguments: object) -> Engine:
    options = {"default_root_dir": folder, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    return Engine(**options | arguments)


def _sentence(use: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        use()
    assert "\n" not in str(error.value)
    return str(error.value)


class TestUntrained:
    """A model that was never trained."""

    @pytest.fixture
    def model(self) -> SCDAE:
        return SCDAE(teacher_out_channels=4)

    @pytest.mark.parametrize("use", ["test", "predict", "validate"])
    def test_its_figures_are_refused(self, model: SCDAE, loco_root: Path, tmp_path: Path, use: str) -> None:
        run = getattr(_engine(tmp_path), use)
        for _ in range(2):  # the first attempt leaves nothing behind that would pass for a training
            assert "never trained" in _sentence(lambda: run(model, datamodule=_loco(loco_root)))

    def test_its_export_warns(self, model: SCDAE, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="EXPORTING AN UNTRAINED MODEL"):
            _engine(tmp_path).export(model, ExportType.TORCH)
        model.model.anomaly_map.upper.fill_(0.5)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="EXPORTING")
            _engine(tmp_path).export(model, ExportType.TORCH)

    def test_weights_loaded_by_hand_are_taken(self, model: SCDAE, loco_root: Path, tmp_path: Path) -> None:
        state = model.state_dict()
        state["model.anomaly_map.lower"] = torch.full((3,), 0.01)
        model.load_state_dict(state)
        assert _engine(tmp_path).predict(model, datamodule=_loco(loco_root))


@pytest.mark.parametrize("limit", ["max_steps", "max_epochs", "limit_train_batches"])
def test_a_training_of_nothing_is_refused(limit: str, loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    engine = _engine(tmp_path, **{limit: 0})
    sentence = _sentence(lambda: engine.fit(SCDAE(**model_arguments), datamodule=_loco(loco_root)))
    assert f"--trainer.{limit}" in sentence
