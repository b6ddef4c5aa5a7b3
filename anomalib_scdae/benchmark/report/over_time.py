# SPDX-License-Identifier: Apache-2.0
"""Accuracy over the time of a training: a table by minutes, and curves."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from anomalib_scdae.benchmark.cells import END
from anomalib_scdae.benchmark.report import tables
from anomalib_scdae.benchmark.report.accuracy import average_column, deviation_notes
from anomalib_scdae.benchmark.report.charts import Charts, colour_of, line_style, make_logarithmic
from anomalib_scdae.benchmark.report.results import KINDS, Results, finite, shown_types
from anomalib_scdae.benchmark.report.svg import QUIET, RULE, add_tooltip, new_axes, to_svg
from anomalib_scdae.benchmark.report.tables import Table, make_frame

PREFIX = "over_time"
NOTE = (
    "Minutes are those of the processor (of the clock on an accelerator) from the start of the training, without "
    "validations: after the first step that ends behind each of them. The end of the training stands last. On up to "
    "150 test images of each category, drawn once for all."
)
CAPTION = (
    "Image AUROC in % over the minutes of training (logarithmic), one line per seed. Where the learning rate falls "
    "towards the end, what has been learnt shows there: compare the ends of trainings of several lengths."
)


def over_time_tables(results: Results) -> list[Table]:
    """Give image AUROC after 1, 2, 4, ... minutes and at the end; nothing without any."""
    found = []
    for dataset in results.datasets:
        columns, kinds = {**tables.row_names(results)}, _kinds(results, results.finished(dataset=dataset))
        for key in _keys(results):
            group = "end" if key == END else f"{key} min"
            for kind, label in kinds.items():
                columns[group, label] = average_column(results, f"{PREFIX}.{key}.image_auroc.{kind}", dataset)
        frame = tables.without_gaps(make_frame(results.rows, columns))
        if len(frame):
            caption = f"Image AUROC in % over the time of training on {dataset}, average over categories."
            found.append(Table(caption, frame, [NOTE, *deviation_notes(results, frame)]))
    return found


def over_time_curves(results: Results) -> list[Charts]:
    """Give image AUROC over the minutes of training for every category and anomaly type; nothing without any."""
    colours = {row: number for number, row in enumerate(results.rows)}
    drawings: dict[str, str] = {}
    drawn: set[int] = set()
    for (dataset, category), cells in results.finished().groupby(["dataset", "category"], sort=False):
        for kind, label in _kinds(results, cells).items():
            curves = {
                (f"{cell['row']}, seed {cell['seed']}", colours[cell["row"]]): curve
                for _, cell in cells.iterrows()
                if len(curve := minutes_curve(results, cell, kind))
            }
            if curves:
                title = f"{dataset}: {category}, {label}"
                drawings[title] = _draw(f"Image AUROC over the time of training, {title}", curves)
                drawn |= {number for _, number in curves}
    legend = {row: number for row, number in colours.items() if number in drawn}
    return [Charts(CAPTION, drawings, legend)] if drawings else []


def _kinds(results: Results, cells: pd.DataFrame) -> dict[str, str]:
    """Return the anomaly types that some of ``cells`` have figures of, or their mean where there are others."""
    paths = {label: [f"{PREFIX}.{key}.image_auroc.{kind}" for key in _keys(results)] for kind, label in KINDS.items()}
    known = {label for label, found in paths.items() if cells.reindex(columns=found).notna().any(axis=None)}
    shown = shown_types(known)
    return {kind: label for kind, label in KINDS.items() if label in shown}


def _keys(results: Results) -> list[str]:
    """Return the minutes at which any cell was tested, in order, the end last."""
    keys = {column.split(".")[1] for column in results.cells if column.startswith(f"{PREFIX}.")}
    return [*sorted(keys - {END}, key=int), *keys & {END}]


def points_in_time(results: Results, cell: pd.Series, kind: str) -> pd.DataFrame:
    """Return a cell's ``minutes`` of training and ``value``, image AUROC in %, by what its snapshots are called."""
    points = {
        key: {
            "minutes": finite(cell.get(f"{PREFIX}.{key}.seconds")) / 60,
            "value": 100 * finite(cell.get(f"{PREFIX}.{key}.image_auroc.{kind}")),
        }
        for key in _keys(results)
    }
    frame = pd.DataFrame.from_dict(points, orient="index", columns=["minutes", "value"], dtype=float).dropna()
    return frame[frame["minutes"] > 0]


def minutes_curve(results: Results, cell: pd.Series, kind: str) -> pd.Series:
    """Return a cell's image AUROC in % by minutes of training."""
    return points_in_time(results, cell, kind).set_index("minutes")["value"]


def _draw(description: str, curves: Mapping[tuple[str, int], pd.Series]) -> str:
    axes = new_axes(400, 250, margins=(46, 12, 12, 38))
    for (label, number), curve in curves.items():
        style = "o" + line_style(number)
        (line,) = axes.plot(curve.index, curve, style, color=colour_of(number), markersize=4, linewidth=1.7)
        listed = ", ".join(f"{value:.1f} % after {minutes:.1f} min" for minutes, value in curve.items())
        add_tooltip(line, f"{label}: {listed}")
    times = np.concatenate([curve.index for curve in curves.values()])
    make_logarithmic(axes, "x", times.min(), times.max())
    axes.grid(axis="y", color=RULE)
    axes.spines["bottom"].set(visible=True, color=QUIET)
    axes.set_xlabel("minutes of training", color=QUIET, fontsize=11)
    return to_svg(axes, description)
