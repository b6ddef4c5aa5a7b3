# SPDX-License-Identifier: Apache-2.0
"""Two trainings, each in a process of its own, that take turns."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from anomalib_scdae.benchmark.speed.trainee import Sample, Task, train

#: Seconds between two looks at whether a silent process is still there.
_PATIENCE = 2.0


class TraineeError(RuntimeError):
    """A training ended that should have gone on."""


class Trainee:
    """A training that stands still unless it is its turn.

    Its process and the processes that read its images are halted in between, where the system can do that. So nothing
    is prepared in the other's time, and nothing that one does in the background slows the other down.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=train, args=(theirs, task), name=f"{task.model}, {task.event}")
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until the first training step is due."""
        self._receive()
        self._signal("SIGSTOP")

    def turn(self, length: int) -> list[Sample]:
        """Let ``length`` events happen and return how long they took."""
        return self._ask(length)

    def count_macs(self) -> int:
        """Return the multiply-accumulate operations of a training step, which this does not time."""
        return self._ask("count")

    def finish(self) -> dict[str, float | None]:
        """End the training and return its peak memory; see :func:`peak_memory_mib`."""
        self._signal("SIGCONT")
        self._connection.send(None)
        peak: Any = self._receive()
        self._process.join()
        return peak

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.is_alive():
            self._signal("SIGKILL")
            self._process.kill()
        self._process.join()
        self._connection.close()

    def _ask(self, command: int | str) -> Any:
        self._signal("SIGCONT")
        self._connection.send(command)
        result = self._receive()
        self._signal("SIGSTOP")
        return result

    def _receive(self) -> Any:
        while not self._connection.poll(_PATIENCE):
            if not self._process.is_alive() and not self._connection.poll():
                raise self._error(f"its process ended with status {self._process.exitcode}")
        try:
            result = self._connection.recv()
        except EOFError as error:
            raise self._error("its process ended") from error
        if isinstance(result, str) and result != "ready":
            raise self._error(result)
        return result

    def _error(self, reason: str) -> TraineeError:
        return TraineeError(f"The training of {self.task.model} failed: {reason} (see {self.task.log}).")

    def _signal(self, name: str) -> None:
        """Send a signal to the process and its children; Windows knows none."""
        if hasattr(os, "killpg") and self._process.pid is not None:
            try:
                os.killpg(self._process.pid, getattr(signal, name))
            except ProcessLookupError:  # not its own group's leader yet, or gone
                return


@contextmanager
def trainees(tasks: Sequence[Task]) -> Iterator[list[Trainee]]:
    """Start a process for each task, and leave none behind."""
    started: list[Trainee] = []
    try:
        started.extend(Trainee(task) for task in tasks)
        for trainee in started:
            trainee.wait_until_ready()
        yield started
    finally:
        for trainee in started:
            trainee.kill()
