# SPDX-License-Identifier: Apache-2.0
"""The ``anomalib`` command tells our own errors in one sentence, and all others as ever."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from anomalib.cli import cli

from anomalib_scdae import command_line, plugin
from anomalib_scdae.errors import UserError

TRAIN = ["train", "--model", "SCDAE", "--data", "MVTecLOCO"]


def _last_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, *arguments: str) -> str:
    """Run the ``anomalib`` command, which must fail, and return the last line that it prints."""
    monkeypatch.setattr(sys, "argv", ["anomalib", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    assert "Namespace" not in printed
    return printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "cause"),
    [
        ("image_size", "255", "An image size of 255 x 255 is too small"),
        ("branches", "[[foo]]", "branches names the unknown module foo"),
        ("local_weight", "2", "local_weight is the local map's share"),
        ("lr", "-1", "lr must be a number from 0 on"),
    ],
)
def test_a_constructors_sentence_stands_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path, option: str, value: str, cause: str
) -> None:
    monkeypatch.chdir(tmp_path)
    line = _last_line(monkeypatch, capfd, *TRAIN, f"--model.{option}", value)
    assert line.startswith(f"anomalib: {cause}")
    assert line.endswith(".")


def test_the_sentence_of_a_failed_training_stands_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path, loco_root: Path
) -> None:
    data = ["--data.root", str(loco_root), "--data.category", "part", "--data.num_workers", "0"]
    options = ["--trainer.precision", "bf16-true", "--trainer.accelerator", "cpu", "--default_root_dir", str(tmp_path)]
    line = _last_line(monkeypatch, capfd, *TRAIN, *data, *options)
    assert line.startswith("anomalib: SCDAE does not train in bf16-true")


class _Interface:
    """Stands for AnomalibCLI."""

    @staticmethod
    def init_parser() -> None:
        """Never called."""


def _command(error: BaseException | None) -> ModuleType:
    """A module of a command that ends with ``error``, served by us."""
    command = ModuleType("command")

    def main() -> str:
        if error is not None:
            raise error
        return "done"

    command.main, command.AnomalibCLI = main, _Interface
    command_line.tell_user_errors(command)
    return command


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("no"), SystemExit(2), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException, capsys: pytest.CaptureFixture) -> None:
    original = _Interface.__dict__["init_parser"]
    with pytest.raises(type(error)) as raised:
        _command(error).main()
    assert raised.value is error
    assert capsys.readouterr().err == ""
    assert _Interface.__dict__["init_parser"] is original


def test_a_success_is_returned() -> None:
    assert _command(None).main() == "done"


def test_an_error_of_a_worker_process_is_cut_to_its_sentence(capsys: pytest.CaptureFixture) -> None:
    worker = "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  ...\n"
    with pytest.raises(SystemExit):
        _command(UserError(f"{worker}anomalib_scdae.errors.UserError: The cause, and the remedy.\n")).main()
    assert capsys.readouterr().err == "anomalib: The cause, and the remedy.\n"


def test_an_error_raised_from_ours_is_ours(capsys: pytest.CaptureFixture) -> None:
    outer = RuntimeError("a library's words")
    outer.__cause__ = UserError("The cause, and the remedy.")
    with pytest.raises(SystemExit):
        _command(outer).main()
    assert capsys.readouterr().err == "anomalib: The cause, and the remedy.\n"


def test_the_command_is_served_once() -> None:
    main = cli.main
    plugin.install()
    assert cli.main is main
    assert main.tells_user_errors
