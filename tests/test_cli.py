# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with a call of ``anomalib-scdae``, its last line is one sentence with cause and remedy."""

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from anomalib_scdae import cli

EVALUATE = ["evaluate", "--dataset", "data", "--category", "part", "--maps", "maps"]
DISTILL = ["distill", "--images", "images", "--backbone", "test_resnet", "--output", "teacher.safetensors"]
WRONG: dict[str, list[str]] = {
    r"expected \"command\" to be one of": [],
    r"invalid choice: 'train'": ["train"],
    r"'evaluate\.dataset' is required": ["evaluate", "--category", "part", "--maps", "maps"],
    r"Unrecognized arguments: --nope 3": [*EVALUATE, "--nope", "3"],
    r"--limits cannot be many: it takes a list": [*EVALUATE, "--limits", "many"],
    r"--limits cannot be a: it takes a number": [*EVALUATE, "--limits", "[a]"],
    r"limits must be false-positive rates": [*EVALUATE, "--limits", "[2.0]"],
    r"--precision cannot be f8: it takes one of 'f32', 'bf16', 'f16'": [*EVALUATE, "--precision", "f8"],
    r"--output \. is a folder": [*EVALUATE, "--output", "."],
    r"data/part/test holds no images": EVALUATE,
    r"--processes cannot be x: it takes null or a whole number": ["synthesize", "--processes", "x"],
    r"by 0 processes; give at least 1": ["synthesize", "--processes", "0"],
    r"no category 'bottle'; choose one of": ["synthesize", "--categories", "[bottle]"],
    r"cannot write to blocked": ["synthesize", "--root", "blocked"],
    r"'\S*nowhere.yaml'": [*EVALUATE, "--config", "nowhere.yaml"],
    r"Problems parsing config": [*EVALUATE, "--config", "broken.yaml"],
    r"--config cannot be read": [*EVALUATE, "--config", "binary.yaml"],
    r"does not accept option 'nope'": [*EVALUATE, "--config", "unknown.yaml"],
    r"no folder nowhere": ["teachers", "--folder", "nowhere"],
    r"no teacher's card": ["teachers", "--folder", "cards"],
    r"--size cannot be huge": [*DISTILL, "--size", "huge"],
    r"--crop must be a multiple": [*DISTILL, "--crop", "35"],
    r"--steps must be at least 1": [*DISTILL, "--steps", "0"],
    r"must end in \.safetensors": [*DISTILL[:-1], "teacher.pth"],
    r"images holds 0 images": DISTILL,
}


@pytest.mark.parametrize("named", WRONG)
def test_wrong_calls_end_with_one_sentence(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "blocked": b"",
        "broken.yaml": b"{limits: [",
        "binary.yaml": b"\xa5\xff\x00",
        "unknown.yaml": b"nope: 3",
        "cards/mine.json": b"{}",
        "cards/mine.safetensors": b"",
    }.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    assert _status(WRONG[named]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("anomalib-scdae")
    assert re.search(named, line), line
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left half written"


def _status(arguments: list[str]) -> Any:
    try:
        return cli.main(arguments)
    except SystemExit as error:
        return error.code


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
