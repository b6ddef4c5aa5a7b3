# SPDX-License-Identifier: Apache-2.0
"""Divides the images of a category among processes.

By joblib's loky, not ``multiprocessing``: forking a process that holds torch's threads may hang, and spawning imports
the caller's main module again, which a script without a guard does not survive.
"""

from collections.abc import Callable
from pathlib import Path

from joblib import Parallel, cpu_count, delayed, parallel_config

from anomalib_scdae.data.synthetic.generate import Job, jobs, write
from anomalib_scdae.data.synthetic.recipe import Recipe

#: A process takes about as long to start as this many images to render.
_WORTH_A_PROCESS = 12
#: Seconds after which processes without work end.
_IDLE_SECONDS = 2


def write_all(recipe: Recipe, folder: Path, processes: int | None, advance: Callable[[], None]) -> None:
    """Render and write all images of a recipe.

    Args:
        recipe: What to render.
        folder: Where to.
        processes: How many processes to use; 1 stays in this one, ``None`` takes as many as there are cores.
        advance: Called after each image.
    """
    todo = jobs(recipe)
    count = min(processes or cpu_count(), max(1, len(todo) // _WORTH_A_PROCESS))
    if count == 1:
        for job in todo:
            write(recipe, job, folder)
            advance()
        return
    with parallel_config("loky", n_jobs=count, inner_max_num_threads=1, idle_worker_timeout=_IDLE_SECONDS):
        for _ in Parallel(return_as="generator_unordered")(delayed(_work)(recipe, job, folder) for job in todo):
            advance()


def _work(recipe: Recipe, job: Job, folder: Path) -> None:
    """Do one job in a process of its own."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        write(recipe, job, folder)
    finally:  # where joblib cannot have processes, this is the caller's
        cv2.setNumThreads(threads)
