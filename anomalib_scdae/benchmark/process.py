# SPDX-License-Identifier: Apache-2.0
"""Running a function in a process of its own: cells, measurements, and trainings that take turns."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

#: Exceptions whose message was written for users and needs no kind before it.
FOR_USERS = ("UserError", "DownloadError")
#: How long a child may take to end by itself.
TIDY_UP_SECONDS = 30.0


class ChildError(RuntimeError):
    """Why a child process gave no result, in one sentence."""


@dataclass(frozen=True)
class Failure:
    """What a child process sends in place of a result."""

    sentence: str


class ChildProcess:
    """A function in a new process, whose output goes to a log file.

    The child ends when the process that started it ends, however that happens, and leaves nothing behind when the
    ``with`` block is left.

    Args:
        function: What to call, a function of a module; what it returns is the child's result.
        *arguments: Its arguments.
        log: File that gets everything that is printed.
        folder: Folder to work in; default: the present one.
        converses: Whether the function gets a connection to this process as its first argument.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        log: Path,
        folder: Path | None = None,
        converses: bool = False,
    ) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_main, args=(theirs, str(log.absolute()), str(folder or Path.cwd()), converses, function, arguments)
        )
        self._process.start()
        theirs.close()

    def send(self, message: Any) -> None:
        """Send something to the function."""
        self._connection.send(message)

    def receive(self) -> Any:
        """Wait for what the function sends or returns next.

        Raises:
            ChildError: If it has raised an exception, or its process has ended.
        """
        multiprocessing.connection.wait([self._connection, self._process.sentinel])
        try:
            message = self._connection.recv() if self._connection.poll() else Failure(self._end())
        except (EOFError, OSError):
            message = Failure(self._end())
        if isinstance(message, Failure):
            raise ChildError(message.sentence)
        return message

    def pause(self) -> None:
        """Halt the process and its children, where the system can do that."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Let them go on."""
        self._signal("SIGCONT")

    def kill(self) -> None:
        """End the process and its children, whatever they are doing."""
        if self._process.is_alive():
            self._signal("SIGKILL")
            self._process.kill()

    def __enter__(self) -> "ChildProcess":
        """Return the child."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no process behind; one that has done its work may tidy up."""
        self._process.join(0 if kind else TIDY_UP_SECONDS)
        self.kill()
        self._process.join()
        self._connection.close()

    def _end(self) -> str:
        """Say how the process has ended."""
        self._process.join()
        code, see = self._process.exitcode or 0, f"see {self.log.name}"
        if code == -getattr(signal, "SIGKILL", 9):
            return f"The process was killed (SIGKILL), as the system does when memory runs out; {see}."
        if code < 0:
            return f"The process was ended by {signal.Signals(-code).name}; {see}."
        return f"The process ended with status {code} and without a result; {see}."

    def _signal(self, name: str) -> None:
        """Send a signal to the process and its children; Windows knows none."""
        if hasattr(os, "killpg") and self._process.pid is not None:
            try:
                os.killpg(self._process.pid, getattr(signal, name))
            except ProcessLookupError:  # not its own group's leader yet, or gone
                return


def call(function: Callable[..., Any], *arguments: Any, log: Path) -> Any:
    """Call a function in a process of its own and return its result; see :class:`ChildProcess`."""
    with ChildProcess(function, *arguments, log=log) as child:
        return child.receive()


def in_one_sentence(error: BaseException) -> str:
    """Return the line of an error's message that says why, with its kind unless it was written for users.

    That is the first line, or OpenVINO's last one.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = lines[-1] if lines[0].startswith("Exception from src") else lines[0]
    kind = type(error).__name__
    return line if line and kind in FOR_USERS else f"{kind}: {line}".removesuffix(": ")


def _main(
    connection: Any, log: str, folder: str, converses: bool, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Run in the child: call the function and send what it returns, or why it failed."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # so that it can be halted together with the processes that read its images
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Those must start as in any training: by default, what a spawned process starts is spawned, which takes seconds.
    multiprocessing.set_start_method(None, force=True)
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(folder)
    try:
        message = function(connection, *arguments) if converses else function(*arguments)
    except Exception as error:  # noqa: BLE001 - a child that fails is a result, too
        traceback.print_exc()
        message = Failure(in_one_sentence(error))
    try:
        connection.send(message)
    except OSError:  # the other side is gone
        return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
