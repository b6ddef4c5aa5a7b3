# SPDX-License-Identifier: Apache-2.0
"""The scores of test images, as a CSV file beside their maps."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing

SCORES_NAME = "scores.csv"


class Prediction(NamedTuple):
    """One row of ``scores.csv``."""

    path: str
    type: str
    score: float
    label: int | None
    prediction: int | None


def part_file(folder: Path, rank: int = 0) -> Path:
    """Return where a process keeps its rows until a test has ended; left behind, it tells that the test has not."""
    return folder / f"{SCORES_NAME}.part{rank}"


def part_files(folder: Path) -> list[Path]:
    """Return the files of that kind in a folder, also those of a test in other processes."""
    return sorted(folder.glob(f"{SCORES_NAME}.part*"))


def remove_parts(folder: Path) -> None:
    """Say that all maps in a folder are of the test that has just ended."""
    for part in part_files(folder):
        part.unlink()


def write_predictions(file: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write ``scores.csv``, by the images' paths; ``rows`` are predictions, or what their lines hold."""
    ordered = sorted(rows, key=lambda row: str(row[0]))
    with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(Prediction._fields)
        writer.writerows(ordered)


def read_predictions(file: str | Path) -> list[Prediction]:
    """Read ``scores.csv`` as a test, an exported model or a cell of a benchmark, with more columns, wrote it.

    Raises:
        UserError: If the file is missing or lacks a column.
    """
    if not Path(file).is_file():
        msg = f"{file} is not there: run `anomalib test` with the callback PredictionWriter first."
        raise UserError(msg)
    with Path(file).open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if lacking := [name for name in Prediction._fields if name not in (reader.fieldnames or ())]:
            msg = f"{file} lacks the columns {', '.join(lacking)}: name a scores.csv that a test has written."
            raise UserError(msg)
        return [
            Prediction(row["path"], row["type"], float(row["score"]), _flag(row["label"]), _flag(row["prediction"]))
            for row in reader
        ]


def scores_of(file: Path, images: Sequence[Path]) -> NDArray[np.float64]:
    """Read the scores of ``images``, shape ``[N]``, which are known by their names and those of their folders.

    Raises:
        UserError: As :func:`read_predictions`; or if an image has no score, or one that is not finite.
    """
    found = {Path(row.path).parts[-2:]: row.score for row in read_predictions(file)}
    scores = np.array([found.get(image.parts[-2:], np.nan) for image in images])
    if not (usable := np.isfinite(scores)).all():
        first = images[int(np.argmin(usable))]
        msg = (
            f"{file} has no score for {(~usable).sum()} of {len(images)} images, the first of them "
            f"{first.parent.name}/{first.name}: test the model on these images again, or remove the file to have the "
            "maximum of each map."
        )
        raise UserError(msg)
    return scores


def _flag(text: str) -> int | None:
    return int(text) if text else None
