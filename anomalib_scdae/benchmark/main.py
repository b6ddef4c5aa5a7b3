# SPDX-License-Identifier: Apache-2.0
"""``anomalib-scdae benchmark``: models side by side, with a report."""

import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from anomalib_scdae.benchmark.cells import FAILED, FINISHED, Cell
from anomalib_scdae.benchmark.comparison import Comparison
from anomalib_scdae.benchmark.display import print_cells
from anomalib_scdae.benchmark.grid import Entry, parse_grid
from anomalib_scdae.benchmark.grid_checks import check_inputs, check_models
from anomalib_scdae.benchmark.pools import LocalPool, Pool, RayOptions, RayPool
from anomalib_scdae.benchmark.store import read_header
from anomalib_scdae.errors import UserError

SCHEMA = 1
#: The options that ``--what speed`` heeds.
SPEED_OPTIONS = ("output", "what")


def benchmark(
    *,
    output: Path,
    what: Literal["compare", "speed", "accuracy_over_time"] = "compare",
    name: str = "benchmark",
    layout: Literal["methods", "ablation"] | None = None,
    models: Sequence[Entry] = (),
    datasets: Sequence[Entry] = (),
    seeds: Sequence[int] = (0,),
    trainer: dict[str, Any] | None = None,
    image_size: int | list[int] = 256,
    teacher: str = "auto",
    penalty_images: str = "auto",
    lr: float | None = None,
    baseline: str | None = None,
    headline: str | None = None,
    runner: Literal["process", "ray"] = "process",
    workers: int = 1,
    ray: RayOptions | None = None,
    keep_weights: bool = True,
    only: str | Sequence[str] = (),
    dry_run: bool = False,
    report_only: bool = False,
) -> None:
    """Compare models: train and test each on each category with each seed, and write tables and a report.

    Every run (a cell) has a process of its own and a folder in DIR/cells. Finished cells are kept: the same command
    goes on where it was interrupted, and tries failed cells again. A cell whose settings have changed runs anew.

    Args:
        output: Folder for results.json, results.csv, report.md, report.html and the cells.
        what: compare for accuracy, time and size of trained models; accuracy_over_time to test them also on their way,
            after 1, 2, 4, ... minutes of training; speed for latencies alone.
        name: Title of the report.
        layout: Print the paper's Table 1 (methods) or Tables 2 and 3 (ablation) beside the results.
        models: Rows: class_path, init_args, and optionally name, experiment, trainer, data, latency, backbone_weights,
            weights_of, note.
        datasets: Datasets: class_path, init_args, categories, and optionally name, train_images, mislabelled, held_out.
        seeds: Seeds of training.
        trainer: Arguments of Lightning's trainer for all rows, e.g. max_steps and precision.
        image_size: Height and width of the networks' input; one number for a square.
        teacher: Teacher of all rows that take one, see SCDAE.
        penalty_images: Penalty images of all rows that take some, see SCDAE.
        lr: Learning rate of all rows that take one, e.g. a higher one for a short training; default: each model's own.
        baseline: Name of the row that the others are compared with.
        headline: Name of the row that the report is about.
        runner: Where cells run: process for this machine, ray for a Ray cluster.
        workers: Cells that run at the same time on this machine; with more than one, times are not comparable.
        ray: Cluster and what a cell gets of it: address, cpus_per_cell, gpus_per_cell.
        keep_weights: Keep each cell's final weights, from which its latency can also be measured later.
        only: Run only the cells whose id matches one of these patterns, a list or separated by commas, e.g. scdae--*;
            the tables list all.
        dry_run: List the cells with an estimate of their time, and run nothing.
        report_only: Write tables and report from the cells that are there, and run nothing.

    Raises:
        UserError: If the grid holds an error, before anything runs; or if cells have failed, when all others are done.
    """
    given = locals()
    output = Path(output).absolute()
    _check_output(output)
    if what == "speed":
        _refuse_options(given)
        from anomalib_scdae.benchmark.speed import measure_speed

        measure_speed(output)
        return
    if not keep_weights and any(row.get("weights_of") for row in models):
        msg = "keep_weights is false, but some rows test the weights of another one (weights_of): keep them."
        raise UserError(msg)
    if workers < 1:
        msg = f"workers is {workers}, but at least one cell must run at a time: give 1 or more."
        raise UserError(msg)
    settings: dict[str, Any] = {
        "models": list(models),
        "datasets": list(datasets),
        "seeds": list(seeds),
        "trainer": dict(trainer or {}),
        "image_size": image_size,
        "teacher": teacher,
        "penalty_images": penalty_images,
        "lr": lr,
        "baseline": baseline,
        "headline": headline,
    }
    known = read_header(output)
    runs = not (dry_run or report_only)
    grid = parse_grid(**settings, over_time=what == "accuracy_over_time")
    grid = grid.resolved(known.get("grid") or {}, download=runs)
    cells = grid.cells()
    patterns = only.split(",") if isinstance(only, str) else list(only)
    chosen = {cell.id for cell in cells if _matches(cell, patterns)}
    if not chosen:
        msg = f"No cell matches {', '.join(patterns)}: --dry_run lists all ids."
        raise UserError(msg)
    if not report_only:
        check_models(grid)
    from anomalib_scdae.benchmark.measure.environment import environment

    made_by = known if report_only else {}  # not by whoever only writes the report
    header = {
        "schema": SCHEMA,
        "name": name,
        "created": known.get("created") or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": made_by.get("command") or shlex.join(["anomalib-scdae", *sys.argv[1:]]),
        "layout": layout,
        "baseline": baseline,
        "headline": headline,
        "environment": made_by.get("environment") or environment(),
        "grid": {**settings, "teacher": grid.teacher, "penalty_images": grid.penalty_images},
    }
    comparison = Comparison(output, header, cells, keep_weights)
    if dry_run:
        print_cells(comparison.folders(), chosen)
    elif report_only:
        comparison.refresh()
    else:
        pool = make_pool(runner, workers, ray)
        check_inputs(grid)
        comparison.run(pool, chosen)
        _conclude(comparison, chosen)


def make_pool(kind: str, workers: int, ray: RayOptions | None = None) -> Pool:
    """Return where cells run.

    Args:
        kind: ``process`` for this machine, or ``ray``.
        workers: Cells at the same time, of ``process``.
        ray: Cluster and resources, of ``ray``.

    Raises:
        UserError: If it cannot run.
    """
    return LocalPool(workers) if kind == "process" else RayPool(ray or RayOptions())


def _check_output(output: Path) -> None:
    for path in (output, *output.parents):
        if path.exists() and not path.is_dir():
            msg = f"--output needs a folder, but {path} is a file: give another name."
            raise UserError(msg)


def _refuse_options(given: Mapping[str, Any]) -> None:
    """Raise a :class:`UserError` that names options which ``--what speed`` would ignore."""
    defaults = {name: option.default for name, option in inspect.signature(benchmark).parameters.items()}
    ignored = [
        f"--{name}"
        for name, default in defaults.items()
        if name not in SPEED_OPTIONS and _plain(given[name]) != _plain(default)
    ]
    if ignored:
        msg = f"--what speed needs no grid and ignores {', '.join(ignored)}: leave these out."
        raise UserError(msg)


def _plain(value: Any) -> Any:
    """Make sequences comparable, whether a parser or a signature has made them."""
    return list(value) if isinstance(value, list | tuple) else value


def _matches(cell: Cell, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(cell.id, pattern.strip()) for pattern in patterns)


def _conclude(comparison: Comparison, chosen: set[str]) -> None:
    folders = comparison.folders(chosen)
    statuses = {folder.cell.id: folder.status for folder in folders}
    finished = sum(status == FINISHED for status in statuses.values())
    print(f"{finished} of {len(statuses)} cells are finished; results are in {comparison.folder}.")
    lacking = [folder for folder in folders if folder.lacks_latency]
    lost = sum(not folder.latency_is_due for folder in lacking)
    if lost < len(lacking):
        print(f"The latency of {len(lacking) - lost} cells could not be measured; the same command tries again.")
    if lost:
        print(f"The latency of {lost} cells cannot be measured, as their weights were not kept.")
    failed = [name for name, status in statuses.items() if status == FAILED]
    if failed:
        msg = (
            f"{len(failed)} cells have failed, the first of them {failed[0]}: results.json says why; the same command "
            "tries them again."
        )
        raise UserError(msg)
