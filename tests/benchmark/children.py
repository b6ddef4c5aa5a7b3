# SPDX-License-Identifier: Apache-2.0
"""Functions for processes of their own."""

import os
import signal
import sys
import time
from pathlib import Path

from anomalib_scdae.benchmark.process import ChildProcess


def double(number: int) -> int:
    print(f"doubling {number}")
    return 2 * number


def fail() -> None:
    raise ValueError("No such image.\nMany lines.")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    sys.exit(3)


def where() -> str:
    return str(Path.cwd())


def echo(connection) -> str:
    while (message := connection.recv()) is not None:
        connection.send(message)
    return "done"


def sleep(pid_file: str) -> None:
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":  # a process that starts another one and is then killed
    with ChildProcess(sleep, sys.argv[1], log=Path(sys.argv[2])) as child:
        child.receive()
