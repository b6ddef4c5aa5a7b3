# SPDX-License-Identifier: Apache-2.0
"""What can be known of a grid's models and inputs before anything runs."""

from collections.abc import Callable, Mapping
from typing import Any

from anomalib.models import EfficientAd
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.benchmark.cell.build import build_model
from anomalib_scdae.benchmark.classes import accepts, default_of
from anomalib_scdae.benchmark.grid import Grid, Row
from anomalib_scdae.benchmark.process import in_one_sentence
from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs.penalty import load_penalty_images
from anomalib_scdae.inputs.teacher import load_teacher
from anomalib_scdae.model.image_size import height_and_width
from anomalib_scdae.model.lightning_model import SCDAE


def check_models(grid: Grid) -> None:
    """Build each row's model once, where that needs neither a download nor time.

    Raises:
        UserError: If one cannot be built, with the name of the row.
    """
    for row in grid.rows:
        model = grid.model(row)
        if accepts(row.model_class, "pre_trained"):
            model = {**model, "init_args": {**model["init_args"], "pre_trained": False}}
        elif not issubclass(row.model_class, SCDAE | EfficientAd):
            continue
        _build(row, model, grid.image_size)


def _build(row: Row, model: Mapping[str, Any], image_size: int | list[int]) -> None:
    try:
        with isolate_rng():
            build_model(model, image_size)
    except Exception as error:
        msg = f"{row.where} cannot be built: {in_one_sentence(error)}"
        raise UserError(msg) from error


def check_inputs(grid: Grid) -> None:
    """Load each row's teacher and find its penalty images, so that a missing one is told before the first cell runs.

    Raises:
        UserError: If they are not there or of another kind, with the name of the row.
    """
    checked: set[str] = set()
    for row in grid.rows:
        if accepts(row.model_class, "teacher"):
            given = _values(grid, row, "teacher", "model_size", "teacher_out_channels")
            if repr(given) not in checked:
                _told_with_row(row, load_teacher, *given)
            checked.add(repr(given))
        if accepts(row.model_class, "penalty_images"):
            name, size = _values(grid, row, "penalty_images", "image_size")
            _told_with_row(row, load_penalty_images, name, height_and_width(size))


def _told_with_row(row: Row, load: Callable[..., object], *arguments: Any) -> None:
    try:
        load(*arguments)
    except UserError as error:
        msg = f"{row.where}: {error}"
        raise UserError(msg) from error


def _values(grid: Grid, row: Row, *names: str) -> list[Any]:
    """Return the values of a row's arguments, or their defaults."""
    given = grid.model(row)["init_args"]
    return [given.get(name, default_of(row.model_class, name)) for name in names]
