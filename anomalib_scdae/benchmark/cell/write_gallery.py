# SPDX-License-Identifier: Apache-2.0
"""Pictures of a cell: some images of each type, and those that cost it most."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anomalib_scdae.benchmark.cell.evenly import evenly_chosen
from anomalib_scdae.benchmark.cell.outputs import OutputCollector
from anomalib_scdae.files import replacing
from anomalib_scdae.gallery import common_range, compose_gallery, gallery_rows, worst_misses
from anomalib_scdae.metrics.anomaly_types import types_of
from anomalib_scdae.metrics.score_files import Prediction

SAMPLES_PER_TYPE = 3
MISSES = 4
CELL_PIXELS = 160


def write_gallery(outputs: OutputCollector, folder: Path, relative_to: Path) -> list[dict[str, Any]]:
    """Write a picture for each chosen image: input, ground truth and maps on one colour scale.

    Args:
        outputs: The test's scores and maps.
        folder: Where to write the pictures.
        relative_to: The benchmark's folder, from which the report names them.

    Returns:
        One entry for each picture, for the cell's result.
    """
    chosen = [*_samples(outputs.predictions), *(("miss", p) for p in worst_misses(outputs.predictions, MISSES))]
    rows = gallery_rows([prediction for _, prediction in chosen], outputs.maps_of, outputs.masks)
    if not rows:
        return []
    limits = common_range([anomaly_map for row in rows for anomaly_map in row.maps.values()])
    entries = []
    for number, ((kind, prediction), row) in enumerate(zip(chosen, rows, strict=True)):
        picture = compose_gallery([row], value_range=limits, cell_size=CELL_PIXELS)
        file = folder / f"{number:03}.png"
        with replacing(file) as temporary:
            picture.save(temporary, format="PNG", optimize=True)
        entries.append(
            {
                "file": file.relative_to(relative_to).as_posix(),
                "caption": row.title,
                "anomaly_type": prediction.type,
                "score": prediction.score,
                "kind": kind,
            }
        )
    return entries


def _samples(predictions: Sequence[Prediction]) -> Iterator[tuple[str, Prediction]]:
    """Choose images of each type, evenly spread over the folder, the same ones for every model."""
    types = types_of(predictions)
    for name in sorted(set(types.tolist())):
        of_type = sorted((p for p, its in zip(predictions, types, strict=True) if its == name), key=lambda p: p.path)
        yield from (("sample", prediction) for prediction in evenly_chosen(of_type, SAMPLES_PER_TYPE))
