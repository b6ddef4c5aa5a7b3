# SPDX-License-Identifier: Apache-2.0
"""The ``anomalib`` command tells our own errors in one sentence, and all others as ever."""

from types import ModuleType

import pytest
from anomalib.cli import cli

from anomalib_scdae import command_line, plugin
from anomalib_scdae.errors import UserError


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
