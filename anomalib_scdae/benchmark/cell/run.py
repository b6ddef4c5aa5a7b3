# SPDX-License-Identifier: Apache-2.0
"""Trains and tests one cell, and writes its result and its weights."""

import shutil
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import yaml
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from anomalib.models.components import MemoryBankMixin
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.benchmark.cell.accuracy import accuracy
from anomalib_scdae.benchmark.cell.branch_maps import branch_maps
from anomalib_scdae.benchmark.cell.build import backbone_note, build_datamodule, build_model
from anomalib_scdae.benchmark.cell.gallery import write_gallery
from anomalib_scdae.benchmark.cell.outputs import OutputCollector
from anomalib_scdae.benchmark.cell.training import OneSeed, TrainingRecorder
from anomalib_scdae.benchmark.cell.weights import save_weights
from anomalib_scdae.benchmark.measure.environment import git_state
from anomalib_scdae.benchmark.measure.memory import peak_memory_mib
from anomalib_scdae.benchmark.store import FINISHED, WEIGHTS, write_json
from anomalib_scdae.model.training.exact_resume import ExactResume

#: How often a training is saved, so that an interruption costs no more than that.
CHECKPOINT_INTERVAL = timedelta(minutes=10)


def run_cell(config_file: Path) -> None:
    """Run the cell of ``config_file``, and write its weights and then ``result.json`` beside it.

    A training that was interrupted goes on from its last checkpoint.
    """
    started = time.perf_counter()
    config = yaml.safe_load(config_file.read_text("utf-8"))
    folder = config_file.parent
    seed_everything(config["seed"], workers=True)
    datamodule = build_datamodule(config["data"])
    model = build_model(config["model"], config["image_size"], config["backbone_weights"])
    run = _Run(config, folder, model, datamodule)
    training = run.train()
    figures = run.test()
    commit, dirty = git_state()
    result: dict[str, Any] = {
        "status": FINISHED,
        "error": None,
        "notes": backbone_note(config["model"], config["backbone_weights"]),
        "git_commit": commit,
        "git_dirty": dirty,
        "accuracy": accuracy(figures, [prediction.type for prediction in run.outputs.predictions]),
        "maps": run.outputs.auroc_per_map(),
        "training": training,
        "curve": run.recorder.curve,
        "gallery": write_gallery(run.outputs, folder / "gallery", folder.parents[1]),
        "size": _parameters(model),
    }
    run.outputs.write_scores(folder / "scores.csv")
    save_weights(model, folder / WEIGHTS)
    result["duration_seconds"] = round(time.perf_counter() - started, 1)
    result["finished_at"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_json(folder / "result.json", result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "engine", ignore_errors=True)
    (folder / "progress.json").unlink(missing_ok=True)


class _Run:
    """A model on its way through one engine."""

    def __init__(
        self, config: dict[str, Any], folder: Path, model: AnomalibModule, datamodule: AnomalibDataModule
    ) -> None:
        self.config, self.folder, self.model, self.datamodule = config, folder, model, datamodule
        self.recorder = TrainingRecorder(folder / "progress.json")
        self.outputs = OutputCollector()
        interval = timedelta(days=365) if isinstance(model, MemoryBankMixin) else CHECKPOINT_INTERVAL
        checkpoint = ModelCheckpoint(folder / "checkpoints", "{step}", train_time_interval=interval, save_top_k=1)
        trainer = {"devices": 1, **config["trainer"]}
        # SCDAE brings an ExactResume of its own, which replaces this one.
        callbacks = [OneSeed(config["seed"]), ExactResume(), self.recorder, checkpoint]
        self.trainer_engine = self._engine(callbacks, trainer)
        # Every model is tested in full precision: where EfficientAd's maps are computed in bfloat16, scores tie.
        self.test_engine = self._engine([self.outputs], {**_machine(trainer), "precision": "32-true"})

    def _engine(self, callbacks: list[Callback], trainer: dict[str, Any]) -> Engine:
        return Engine(
            callbacks=callbacks,
            default_root_dir=self.folder / "engine",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **trainer,
        )

    def train(self) -> dict[str, Any]:
        """Train, or go on training, and return what it took."""
        self.tell("preparing")
        self.trainer_engine.fit(self.model, datamodule=self.datamodule, ckpt_path=self._checkpoint())
        trainer, peak = self.trainer_engine.trainer, peak_memory_mib()
        return {
            **self.recorder.summary(),
            "peak_memory_mib": peak["process"] if peak["accelerator"] is None else peak["accelerator"],
            "precision": str(trainer.precision),
            "accelerator": type(trainer.accelerator).__name__.removesuffix("Accelerator").lower(),
        }

    def test(self) -> dict[str, float]:
        """Test the final weights and return the evaluator's figures."""
        self.tell("testing")
        if getattr(self.model, "validate_final_weights", True):
            self.test_engine.validate(self.model, datamodule=self.datamodule, verbose=False)
        with branch_maps(self.model) as self.outputs.maps_of_batch:
            (figures,) = self.test_engine.test(self.model, datamodule=self.datamodule, verbose=False)
        return {name: float(value) for name, value in figures.items()}

    def tell(self, phase: str) -> None:
        """Say for the display what is going on."""
        write_json(self.folder / "progress.json", {"phase": phase, "step": None, "total": None})

    def _checkpoint(self) -> Path | None:
        """Return the last whole checkpoint of an interrupted training."""
        found = sorted((self.folder / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
        for path in reversed(found):
            if _is_whole(path):
                rank_zero_warn(f"Going on from {path}.")
                return path
        return None


def _machine(trainer: dict[str, Any]) -> dict[str, Any]:
    """Return those of the trainer's arguments that say where to run, and how many batches."""
    names = ("accelerator", "devices", "limit_val_batches", "limit_test_batches", "deterministic")
    return {name: trainer[name] for name in names if name in trainer}


def _is_whole(path: Path) -> bool:
    """Tell whether a checkpoint was written to its end: a zip file's directory is the last thing in it."""
    from zipfile import is_zipfile

    return is_zipfile(path)


def _parameters(model: AnomalibModule) -> dict[str, int]:
    networks: Any = model.model
    parameters = list(networks.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }
