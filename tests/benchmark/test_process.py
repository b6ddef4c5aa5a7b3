# SPDX-License-Identifier: Apache-2.0
"""Functions in processes of their own: what they return, how they fail, and that they never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anomalib_scdae.benchmark.process import ChildError, ChildProcess, call
from tests.benchmark import children
from tests.conftest import ROOT


def test_a_result_comes_back_and_what_is_printed_is_in_the_log(tmp_path: Path) -> None:
    assert call(children.double, 4, log=tmp_path / "a" / "log.txt") == 8
    assert "doubling 4" in (tmp_path / "a" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (children.fail, "^ValueError: No such image.$"),
        (children.die, r"killed \(SIGKILL\).*see log.txt"),
        (children.leave, "ended with status 3 and without a result; see log.txt"),
    ],
)
def test_a_failure_is_one_sentence(tmp_path: Path, function, words: str) -> None:
    with pytest.raises(ChildError, match=words) as caught:
        call(function, log=tmp_path / "log.txt")
    assert "\n" not in str(caught.value)


def test_a_child_converses_and_works_where_it_is_told_to(tmp_path: Path) -> None:
    with ChildProcess(children.echo, log=tmp_path / "log.txt", converses=True) as child:
        for message in ("a", [1, 2]):
            child.send(message)
            assert child.receive() == message
        child.send(None)
        assert child.receive() == "done"
    with ChildProcess(children.where, log=tmp_path / "log.txt", folder=tmp_path) as child:
        assert child.receive() == str(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = [sys.executable, "-m", "tests.benchmark.children", str(pid_file), str(tmp_path / "log.txt")]
    parent = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    child = int(pid_file.read_text())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_alive(child))


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")  # one that nobody waits for is a zombie
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until(condition) -> None:
    end = time.monotonic() + 120  # only a bound for a machine that hangs
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
