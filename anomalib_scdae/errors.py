# SPDX-License-Identifier: Apache-2.0
"""The one exception type for problems that the user can mend."""

from typing import Any, get_args


class UserError(ValueError):
    """Wrong input or set-up, told in one sentence that names the cause and the remedy.

    Raise it before long work starts. It is a ``ValueError``, so that callers from Python need no import of ours to
    catch it; the ``anomalib-scdae`` command prints its sentence without a traceback and exits with status 1.
    """


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise a :class:`UserError` unless the option ``name`` has one of the values of ``choices``, a ``Literal``."""
    if value not in get_args(choices):
        msg = f"Unknown {name} {value!r}: choose one of {', '.join(get_args(choices))}."
        raise UserError(msg)


def check_not_negative(name: str, value: float) -> None:
    """Raise a :class:`UserError` unless the option ``name`` is a finite number from 0 on."""
    if not 0 <= value < float("inf"):
        msg = f"{name} must be a number from 0 on; it is {value}."
        raise UserError(msg)


def check_at_least_one(name: str, value: int) -> None:
    """Raise a :class:`UserError` unless the option ``name`` is a count."""
    if value < 1:
        msg = f"{name} must be 1 or more; it is {value}."
        raise UserError(msg)
