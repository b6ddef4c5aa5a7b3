# SPDX-License-Identifier: Apache-2.0
"""Tells the user of the ``anomalib`` command what is wrong in one sentence, where the error is ours.

Left alone, a :class:`~anomalib_scdae.errors.UserError` of a training ends in a traceback, and one of a constructor in
some two hundred lines of jsonargparse's, which hold its sentence somewhere in the middle. Where SCDAE is asked for,
what the parser, the trainer and the disk have to say about an option ends with a sentence too.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import yaml

from anomalib_scdae.errors import UserError
from anomalib_scdae.sentences import in_one_line, is_of_disk, of_disk, of_parser

#: What a worker process of a loader puts before the sentence of an error that it hands on.
_BEFORE_SENTENCE = f"{UserError.__module__}.{UserError.__qualname__}: "

#: Words that ask for a compact model.
_COMPACT = {
    (option, value) for option in ("--model.compact", "--model.init_args.compact") for value in ("true", "True", "yes")
}


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
            _check_export()
            with _constructors_heard(command.AnomalibCLI):
                return main(*args, **kwargs)
        except (Exception, _FromConstructor) as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            print(f"anomalib: {sentence}", file=sys.stderr)
        sys.exit(1)

    told.tells_user_errors = True  # type: ignore[attr-defined]
    command.main = told  # type: ignore[attr-defined]


def _check_export() -> None:
    """Refuse to export an exact model where a compact one is asked for: Anomalib asks the checkpoint alone.

    Raises:
        UserError: If it would.
    """
    if sys.argv[1:2] != ["export"] or not _asked_for():
        return
    asked = any(pair in _COMPACT for pair in pairwise(_words())) or True in _configured("model", "init_args", "compact")
    named = [*_configured("ckpt_path"), *(after for word, after in pairwise(_words()) if word == "--ckpt_path")]
    checkpoint = named[-1] if named else None
    if asked and not (checkpoint and _is_compact(checkpoint)):
        msg = (
            f"export takes the model as its checkpoint has it, and {checkpoint or 'one without a checkpoint'} is not "
            "compact: leave compact out, or make a checkpoint that is with `anomalib-scdae compact --ckpt_path "
            "CHECKPOINT --data DATA`."
        )
        raise UserError(msg)


def _is_compact(checkpoint: str) -> bool:
    """Tell whether a checkpoint of SCDAE is of a compact model.

    Raises:
        UserError: If it is none of SCDAE's.
    """
    reader = import_module("anomalib_scdae.model.training.checkpoint_file")
    return bool(reader.check_checkpoint_file(checkpoint).get("hyper_parameters", {}).get("compact"))


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
        parser.error = partial(_end_with_sentence, parser.error)
        return parser

    interface.init_parser = staticmethod(init_parser)
    try:
        yield
    finally:
        interface.init_parser = original


def _end_with_sentence(tell: Callable[..., NoReturn], message: str, *args: Any, **kwargs: Any) -> NoReturn:
    """Let a parser ``tell`` what is wrong, and end with a sentence where SCDAE is asked for."""
    try:
        tell(message, *args, **kwargs)
    finally:
        if _asked_for():
            command = " ".join(["anomalib", *sys.argv[1:2]])
            print(f"{command}: {of_parser(message)}; {command} --help lists the options.", file=sys.stderr)


def _asked_for() -> bool:
    """Tell whether the command's words, or the configuration that it names, name SCDAE."""
    texts = [file.read_text(encoding="utf-8", errors="ignore") for file in _configurations()]
    return any("SCDAE" in text for text in (*sys.argv[1:], *texts))


def _configurations() -> list[Path]:
    """Return the files that the command's words name, as ``--config FILE`` or ``--config=FILE``."""
    files = [Path(after) for word, after in pairwise(_words()) if word in {"-c", "--config"}]
    return [file for file in files if file.is_file()]


def _configured(*keys: str) -> list[Any]:
    """Return what the configurations that the command's words name hold under ``keys``, one within the other."""
    found = []
    for file in _configurations():
        try:
            value = yaml.safe_load(file.read_text(encoding="utf-8"))
            for key in keys:
                value = value[key]
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError):
            continue  # what is wrong with a file, the parser tells
        found.append(value)
    return found


def _words() -> list[str]:
    """Return the command's words, with ``--option=value`` as two."""
    return [part for word in sys.argv[1:] for part in (word.split("=", 1) if word.startswith("-") else [word])]


def _is_utf_8(file: Path) -> bool:
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _sentence(error: BaseException) -> str | None:
    """Return what to tell of an error: of ours, or of one raised from ours, and of the disk's; ``None`` for others."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    if cause is not None:
        return str(cause).strip().splitlines()[-1].removeprefix(_BEFORE_SENTENCE)
    if not _asked_for():
        return None
    if isinstance(error, OSError):
        return of_disk(error) if is_of_disk(error) else None
    if isinstance(error, UnicodeDecodeError):
        broken = next((file for file in _configurations() if not _is_utf_8(file)), None)
        return None if broken is None else f"the file {broken} of --config cannot be read ({error}): save it as UTF-8."
    return _of_trainer(error)


def _of_trainer(error: BaseException) -> str | None:
    """Return what to tell of an error of Lightning's trainer about its own arguments; ``None`` for others."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    if isinstance(error, MisconfigurationException):
        return f"{in_one_line(str(error)).rstrip('.')}: give the trainer another value."
    if isinstance(error, ValueError) and str(error).startswith("Received both `precision="):
        return (
            "a precision and a plugin that chooses one exclude each other: leave --trainer.precision out, or add "
            "--trainer.plugins null."
        )
    return None
