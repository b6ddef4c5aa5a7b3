# SPDX-License-Identifier: Apache-2.0
"""Tells the user of the ``anomalib`` command what is wrong in one sentence, where the error is ours.

Left alone, a :class:`~anomalib_scdae.errors.UserError` of a training ends in a traceback, and one of a constructor in
some two hundred lines of jsonargparse's, which hold its sentence somewhere in the middle.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

from anomalib_scdae.errors import UserError

#: What a worker process of a loader puts before the sentence of an error that it hands on.
_BEFORE_SENTENCE = f"{UserError.__module__}.{UserError.__qualname__}: "


def tell_user_errors(command: ModuleType) -> None:
    """Wrap ``main`` of ``command``, which is Anomalib's ``anomalib.cli.cli``; calling it again is harmless.

    All that changes is how a ``UserError`` ends: with its sentence alone on stderr, and status 1.
    """
    main = command.main
    if getattr(main, "tells_user_errors", False):
        return

    @wraps(main)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            with _constructors_heard(command.AnomalibCLI):
                return main(*args, **kwargs)
        except (Exception, _FromConstructor) as error:
            user_error = _user_error(error)
            if user_error is None:
                raise
            print(f"anomalib: {_sentence(user_error)}", file=sys.stderr)
        sys.exit(1)

    told.tells_user_errors = True  # type: ignore[attr-defined]
    command.main = told  # type: ignore[attr-defined]


class _FromConstructor(BaseException):
    """Carries a constructor's ``UserError`` past jsonargparse, which takes every ``Exception`` for a wrong type."""


def _instantiate(class_type: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Make an instance as jsonargparse does."""
    try:
        return class_type(*args, **kwargs)
    except UserError as error:
        raise _FromConstructor from error


@contextmanager
def _constructors_heard(interface: Any) -> Iterator[None]:
    """Let every parser that ``interface``, Anomalib's AnomalibCLI, makes instantiate by :func:`_instantiate`."""
    original = interface.__dict__["init_parser"]

    def init_parser(**kwargs: Any) -> Any:
        parser = original.__func__(**kwargs)
        parser.add_instantiator(_instantiate, object, subclasses=True)
        return parser

    interface.init_parser = staticmethod(init_parser)
    try:
        yield
    finally:
        interface.init_parser = original


def _user_error(error: BaseException | None) -> UserError | None:
    """Return the ``UserError`` that ``error`` is, or was raised from."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def _sentence(error: UserError) -> str:
    return str(error).strip().splitlines()[-1].removeprefix(_BEFORE_SENTENCE)
