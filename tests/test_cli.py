# SPDX-License-Identifier: Apache-2.0
"""What fails inside a command of ``anomalib-scdae`` ends with one sentence too; wrong calls are in another module."""

import errno

import pytest

from anomalib_scdae import cli


def _run(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli.Command, "load", lambda _: fail)
    return cli.main(["teachers"])


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "maps/000.tiff")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("anomalib-scdae teachers: No space left on device (maps/000.tiff)")


def test_a_fault_of_ours_is_told_in_full_and_then_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, RuntimeError("one\n  two")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("anomalib-scdae teachers: RuntimeError: one two")
