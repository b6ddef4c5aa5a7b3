# SPDX-License-Identifier: Apache-2.0
"""What can be known of a grid's models and inputs before anything runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anomalib.models import EfficientAd
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.benchmark.cell.build import build_model
from anomalib_scdae.benchmark.classes import default_of
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
        if row.takes("pre_trained"):
            model["init_args"]["pre_trained"] = False
        elif not issubclass(row.model_class, SCDAE | EfficientAd):
            continue
        with _named(f"{row.where} cannot be built", Exception), isolate_rng():
            build_model(model, grid.image_size)


def check_inputs(grid: Grid) -> None:
    """Load each row's teacher and find its penalty images, so that a missing one is told before the first cell runs.

    Raises:
        UserError: If they are not there or of another kind, with the name of the row.
    """
    for row in grid.rows:
        with _named(row.where, UserError):
            if row.takes("teacher"):
                load_teacher(*_values(grid, row, "teacher", "model_size", "teacher_out_channels"))
            if row.takes("penalty_images"):
                name, size = _values(grid, row, "penalty_images", "image_size")
                load_penalty_images(name, height_and_width(size))


@contextmanager
def _named(where: str, kind: type[Exception]) -> Iterator[None]:
    """Say where an error has happened."""
    try:
        yield
    except kind as error:
        msg = f"{where}: {in_one_sentence(error)}"
        raise UserError(msg) from error


def _values(grid: Grid, row: Row, *names: str) -> list[Any]:
    """Return the values of a row's arguments, or their defaults."""
    given = grid.model(row)["init_args"]
    return [given.get(name, default_of(row.model_class, name)) for name in names]
