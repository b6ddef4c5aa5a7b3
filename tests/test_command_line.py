# SPDX-License-Identifier: Apache-2.0
"""The ``anomalib`` command tells our own errors in one sentence, and all others as ever."""

import errno
import sys
from email.message import Message
from pathlib import Path
from types import ModuleType
from urllib.error import HTTPError, URLError

import pytest
import torch
from anomalib.cli import cli

from anomalib_scdae import command_line, plugin
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.training.checkpoint_file import OUR_ENTRIES


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


FULL = OSError(errno.ENOSPC, "No space left on device", "maps/000.tiff")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FULL, "No space left on device (maps/000.tiff): check"),
        (PermissionError(errno.EACCES, "Permission denied", "model.ckpt"), "Permission denied (model.ckpt): check"),
        (FileNotFoundError("Path does not exist: nowhere"), "Path does not exist: nowhere: check"),
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (URLError("no route to host"), None),
        (HTTPError("http://localhost/file", 404, "Not Found", Message(), None), None),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), None),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), None),  # of a socket
        (TimeoutError("timed out"), None),
        (OSError("libGL.so.1: cannot open shared object file: No such file or directory"), None),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), None),
        (ValueError("Received both `precision=32` and `plugins=<...>`. Choose one."), "a precision and a plugin that"),
        (ValueError("no precision"), None),
    ],
)
def test_of_other_libraries_errors_those_of_files_are_told(
    error: Exception, sentence: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["anomalib", "train", "--model=SCDAE"])
    with pytest.raises(type(error) if sentence is None else SystemExit) as raised:
        _command(error).main()
    if sentence is None:
        assert raised.value is error
        assert capsys.readouterr().err == ""
    else:
        assert capsys.readouterr().err.startswith(f"anomalib: {sentence}")


@pytest.mark.parametrize("words", [["--config", "mine.yaml"], ["-c", "mine.yaml"], ["--config=mine.yaml"]])
@pytest.mark.parametrize(("content", "told"), [(b"model: SCDAE", True), (b"model: Padim", False)])
def test_a_configuration_that_names_scdae_asks_for_it(
    words: list[str],
    content: bytes,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["anomalib", "train", *words])
    undecodable = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    Path("mine.yaml").write_bytes(content)
    with pytest.raises(SystemExit if told else OSError):
        _command(FULL).main()
    with pytest.raises(UnicodeDecodeError):  # of another file: this one can be read
        _command(undecodable).main()
    Path("mine.yaml").write_bytes(content + b"\xff")
    capsys.readouterr()
    with pytest.raises(SystemExit if told else UnicodeDecodeError):
        _command(undecodable).main()
    assert ("mine.yaml of --config cannot be read" in capsys.readouterr().err) is told


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("export --model SCDAE --ckpt_path exact.ckpt --model.compact true", True),
        ("export --model SCDAE --ckpt_path=exact.ckpt --config compact.yaml", True),
        ("export --config compact.yaml", True),
        ("export --model SCDAE --model.init_args.compact=True", True),
        ("export --model SCDAE --ckpt_path compact.ckpt --model.compact true", False),
        ("export --model SCDAE --ckpt_path compact.ckpt --config compact.yaml", False),
        ("export --model SCDAE --ckpt_path exact.ckpt --model.compact false", False),
        ("export --model SCDAE --ckpt_path exact.ckpt --config broken.yaml", False),
        ("export --model SCDAE --ckpt_path exact.ckpt", False),
        ("export --model Another --ckpt_path another.ckpt --model.compact true", False),
        ("train --model SCDAE --model.compact true", False),
    ],
)
def test_an_export_that_would_ignore_compact_is_refused(
    words: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["anomalib", *words.split()])
    for name in ("compact", "exact"):
        state = dict.fromkeys(OUR_ENTRIES, torch.zeros(()))
        torch.save({"state_dict": state, "hyper_parameters": {"compact": name == "compact"}}, f"{name}.ckpt")
    Path("compact.yaml").write_text("model: {class_path: SCDAE, init_args: {compact: true}}\n")
    Path("broken.yaml").write_text("model: [\n")
    if not refused:
        assert _command(None).main() == "done"
        return
    with pytest.raises(SystemExit):
        _command(None).main()
    assert "anomalib-scdae compact" in capsys.readouterr().err
