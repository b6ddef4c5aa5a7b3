# SPDX-License-Identifier: Apache-2.0
"""A cell and its folder; light, as every process of a benchmark needs them.

Whatever is in the folder is whole: files replace their predecessors in one step. A cell is finished once its
``result.json`` is there and its ``config.yaml`` says what the grid says; everything else is run (again), from the
weights if training has left them. Latency comes after that: it is added to the result of a finished cell.
"""

import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from anomalib_scdae import files

FINISHED, FAILED, PENDING = "finished", "failed", "pending"
#: Key of what is known of the end of a training, beside that of minutes on its way.
END = "end"
#: What decides a cell's outcome; a finished cell is used again as long as these stay as they were.
DECISIVE = (
    "model", "data", "data_version", "category", "seed", "trainer", "image_size", "backbone_weights", "weights_of",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One run: a row on one category with one seed, and all that is needed to repeat it.

    ``latency`` has the model that the cell is timed against, and ``is_timed`` tells whether that is asked for.
    ``weights_of`` has the ``id`` of another cell, whose weights are tested in place of own ones, and what decides on
    them.
    """

    id: str
    row: str
    experiment: str | None
    dataset: str
    category: str
    seed: int
    model: dict[str, Any]
    data: dict[str, Any]
    trainer: dict[str, Any]
    image_size: int | list[int]
    data_version: int | None = None
    backbone_weights: str | None = None
    latency: dict[str, Any] | None = None
    is_timed: bool = False
    over_time: bool | None = None
    weights_of: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the progress display calls it."""
        return f"{self.row} on {self.category}, seed {self.seed}"

    @property
    def steps(self) -> int | None:
        """Training steps, where they are bounded."""
        steps = self.trainer.get("max_steps", -1)
        return steps if steps > 0 else None


def cell_folder(benchmark: Path, name: str) -> Path:
    """Return the folder of the cell with the id ``name``."""
    return benchmark / "cells" / name


def scores_file(benchmark: Path, name: str) -> Path:
    """Return the file with the scores of every test image of the cell with the id ``name``."""
    return cell_folder(benchmark, name) / "scores.csv"


class CellFolder:
    """The files of one cell, under names that nobody else need know.

    Args:
        benchmark: The benchmark's folder.
        cell: The cell.

    Attributes:
        path: The folder.
        log: Everything that the cell's processes print.
        scores: Scores of every test image.
        weights: The final weights and statistics.
        gallery: Pictures.
        exports: The model in the formats that latency is measured in.
        snapshots: Weights of the model on its way.
        checkpoints: What an interrupted training goes on from.
        engine: What Anomalib's engine writes.
    """

    def __init__(self, benchmark: Path, cell: Cell) -> None:
        self.benchmark, self.cell = benchmark, cell
        self.path = cell_folder(benchmark, cell.id)
        self.log = self.path / "log.txt"
        self.scores = scores_file(benchmark, cell.id)
        self.weights = self.path / "weights.safetensors"
        self.gallery = self.path / "gallery"
        self.exports = self.path / "deployment"
        self.snapshots = self.path / "snapshots"
        self.checkpoints = self.path / "checkpoints"
        self.engine = self.path / "engine"

    def result(self) -> dict[str, Any]:
        """Read ``result.json``; empty unless it is there and was made with the cell's settings."""
        return (read_json(self.path / "result.json") if self.is_current() else None) or {}

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``."""
        write_json(self.path / "result.json", result)

    def fail(self, error: str) -> None:
        """Record that the cell has failed, with one sentence that says why."""
        self.write_result({"status": FAILED, "error": error})

    @property
    def status(self) -> str:
        """``finished``, ``failed`` or ``pending``."""
        return self.result().get("status", PENDING)

    def entry(self) -> dict[str, Any]:
        """Return what ``results.json`` says of the cell: its result, its failure, or that it is pending."""
        known, cell = self.result(), self.cell
        if known.get("latency") and self._has_another_baseline():
            known["latency"] = _without_ratios(known["latency"])
        description = {
            "id": cell.id,
            "row": cell.row,
            "model": cell.model["class_path"].rpartition(".")[2],
            "experiment": cell.experiment,
            "dataset": cell.dataset,
            "category": cell.category,
            "seed": cell.seed,
        }
        notes = [*cell.notes, *known.get("notes", [])]
        if error := (known.get("latency") or {}).get("error"):
            notes.append(f"Latency could not be measured: {error}")
        status = {"status": PENDING, "error": None}
        return {**description, **status, **known, **description, "notes": list(dict.fromkeys(notes))}

    @property
    def lacks_latency(self) -> bool:
        """Whether the cell is finished and lacks the latency that the grid asks for.

        Latency against another baseline, or an attempt that has failed as a whole, is as good as none.
        """
        if not self.cell.is_timed or self.status != FINISHED:
            return False
        latency, has_baseline = self.result().get("latency"), bool((self.cell.latency or {}).get("baseline"))
        return not latency or "error" in latency or (has_baseline and self._has_another_baseline())

    def _has_another_baseline(self) -> bool:
        """Tell whether the folder's settings name another model to time the cell against than the grid does."""
        return self.config().get("latency") != self.as_saved()["latency"]

    @property
    def latency_is_due(self) -> bool:
        """Whether the cell lacks its latency and has the weights to measure it."""
        return self.lacks_latency and self.weights.exists()

    @property
    def is_due(self) -> bool:
        """Whether anything is left to be done."""
        return self.status != FINISHED or self.latency_is_due

    def training(self) -> dict[str, Any] | None:
        """Read what a training that has come to its end has told; ``None`` without one, or without weights."""
        return read_json(self.path / "training.json") if self.weights.exists() else None

    def write_training(self, training: Mapping[str, Any]) -> None:
        """Write what a training has told, once its weights are there: from then on it need not be repeated."""
        write_json(self.path / "training.json", training)

    def progress(self) -> dict[str, Any]:
        """Read how far the cell is; empty if it is not running."""
        return read_json(self.path / "progress.json") or {}

    def tell(self, phase: str, step: int | None = None, total: int | None = None) -> None:
        """Say for the display what is going on."""
        write_json(self.path / "progress.json", {"phase": phase, "step": step, "total": total})

    def clear_progress(self) -> None:
        """Say that nothing is going on."""
        (self.path / "progress.json").unlink(missing_ok=True)

    def drop_checkpoints(self) -> None:
        """Delete what only an unfinished cell needs."""
        for folder in (self.checkpoints, self.snapshots, self.engine):
            shutil.rmtree(folder, ignore_errors=True)

    def config(self) -> dict[str, Any]:
        """Read ``config.yaml``, the settings of what is in the folder; empty if there is none."""
        return read_yaml(self.path / "config.yaml")

    def write_config(self) -> None:
        """Write ``config.yaml``; a cell that was tested over its time stays one."""
        over_time = self.cell.over_time or self.config().get("over_time")
        with files.replacing(self.path / "config.yaml") as file:
            file.write_text(yaml.safe_dump({**asdict(self.cell), "over_time": over_time}, sort_keys=False), "utf-8")

    def as_saved(self) -> dict[str, Any]:
        """Return the cell as it is once written and read: tuples become lists, keys become strings."""
        return json.loads(json.dumps(asdict(self.cell)))

    def is_current(self) -> bool:
        """Tell whether what is in the folder was made with the cell's settings."""
        saved, own = self.config(), self.as_saved()
        has_all = bool(saved.get("over_time") or not own["over_time"])  # a cell may also have more than it needs
        return bool(saved) and has_all and all(saved.get(key) == own[key] for key in DECISIVE)

    def begin(self) -> None:
        """Make the folder ready for a run; what other settings left is put aside, and weights without a record go."""
        if self.path.exists() and not self.is_current():
            aside = self.benchmark / "replaced" / f"{self.cell.id}--{time.strftime('%Y%m%d-%H%M%S')}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.path, aside)
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "result.json").unlink(missing_ok=True)
        if self.training() is None:
            self.weights.unlink(missing_ok=True)
        self.write_config()

    def begin_latency(self) -> None:
        """Make the folder of a finished cell ready for the measurement of its latency."""
        self.write_result({key: value for key, value in self.result().items() if key != "latency"})
        self.write_config()


def _without_ratios(latency: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was timed without the ratios to what it was timed against."""
    return {
        name: {key: value for key, value in entry.items() if not key.startswith("ratio")}
        if isinstance(entry, dict)
        else entry
        for name, entry in latency.items()
    }


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file in one step; numbers that are not finite become null."""
    files.write_json(path, _plain(content), indent=1)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; ``None`` if it is not there or not whole."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file; empty if it is not there or holds something else."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
