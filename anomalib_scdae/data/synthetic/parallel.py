# SPDX-License-Identifier: Apache-2.0
"""Divides the images of a category among processes.

The workers are plain interpreters that run this module, not ``multiprocessing``'s: forking a process that holds torch's
threads may hang, and spawning imports the caller's main module again, which a script without a guard does not survive.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

from anomalib_scdae.data.synthetic.generate import jobs, write
from anomalib_scdae.data.synthetic.recipe import Recipe

#: A process takes about as long to start as this many images to render.
_WORTH_A_PROCESS = 12
#: What a worker prints for each image that it has written.
_DONE = "."


def write_all(recipe: Recipe, folder: Path, processes: int | None, advance: Callable[[], None]) -> None:
    """Render and write all images of a recipe.

    Args:
        recipe: What to render.
        folder: Where to.
        processes: How many processes to use; 1 stays in this one, ``None`` takes as many as there are cores.
        advance: Called after each image, from any thread.

    Raises:
        RuntimeError: If a worker fails; its last words are in the message.
    """
    todo = jobs(recipe)
    processes = min(processes or _cores(), max(1, len(todo) // _WORTH_A_PROCESS))
    if processes == 1:
        for job in todo:
            write(recipe, job, folder)
            advance()
        return
    workers = [_start(recipe, folder, number, processes) for number in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        try:
            watches = [pool.submit(_watch, worker, advance) for worker in workers]
            done, _ = wait(watches, return_when=FIRST_EXCEPTION)
            for watch in done:
                watch.result()
        finally:
            # After a failure or an interrupt the others must not go on; the watching threads end with them.
            for worker in workers:
                worker.kill()
                worker.wait()


def _cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(recipe: Recipe, folder: Path, number: int, count: int) -> "subprocess.Popen[str]":
    """Start worker ``number`` of ``count``."""
    task = json.dumps({"recipe": asdict(recipe), "folder": str(folder), "number": number, "count": count})
    # The worker finds this package however this process has found it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        [sys.executable, "-m", __name__, task],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
    )


def _watch(worker: "subprocess.Popen[str]", advance: Callable[[], None]) -> None:
    """Follow a worker to its end."""
    assert worker.stdout is not None  # noqa: S101 - asked for above
    last_words: deque[str] = deque(maxlen=12)
    with worker.stdout as lines:
        for line in lines:
            if line.strip() == _DONE:
                advance()
            else:
                last_words.append(line)
    if worker.wait() != 0:
        msg = f"a process that renders SyntheticLOCO ended with status {worker.returncode}: {''.join(last_words)}"
        raise RuntimeError(msg)


def _work(task: str) -> None:
    """Do a worker's share: every ``count``-th image."""
    import cv2

    cv2.setNumThreads(1)
    share = json.loads(task)
    recipe, folder = Recipe(**share["recipe"]), Path(share["folder"])
    for job in jobs(recipe)[share["number"] :: share["count"]]:
        write(recipe, job, folder)
        print(_DONE, flush=True)


if __name__ == "__main__":
    _work(sys.argv[1])
