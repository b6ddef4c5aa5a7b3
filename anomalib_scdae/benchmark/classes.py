# SPDX-License-Identifier: Apache-2.0
"""From a ``class_path`` and its ``init_args``, as Anomalib's configuration files write them, to an object."""

import inspect
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from anomalib_scdae.errors import UserError
from anomalib_scdae.sentences import in_one_line

#: Where a bare class name is looked up, in this order.
MODEL_MODULES = ("anomalib_scdae", "anomalib_scdae.benchmark.baselines", "anomalib.models")
DATA_MODULES = ("anomalib_scdae.data", "anomalib.data")


def check_keys(given: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raise a :class:`UserError` that names the first of the ``given`` keys that is not ``allowed``."""
    allowed = list(allowed)
    for key in given:
        if key not in allowed:
            near = get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(allowed)}."
            msg = f"{where} has the unknown key '{key}': {hint}"
            raise UserError(msg)


def find_class(class_path: str, modules: Iterable[str], base: type, where: str) -> type:
    """Import the class that ``class_path`` names.

    Args:
        class_path: A bare name out of ``modules``, or a dotted path.
        modules: Modules in which a bare name is looked up.
        base: What the class must be a subclass of.
        where: The place in the configuration, for the error message.

    Raises:
        UserError: If there is no such class, or it is of another kind.
    """
    module_name, _, name = class_path.rpartition(".")
    found = None
    for candidate in [module_name] if module_name else modules:
        try:
            found = getattr(import_module(candidate), name, None)
        except ImportError as error:
            msg = f"{where}: {candidate} cannot be imported ({error}); check class_path."
            raise UserError(msg) from error
        if found is not None:
            break
    if not (inspect.isclass(found) and issubclass(found, base)):
        msg = f"{where}: there is no {base.__name__} '{class_path}': give a class of Anomalib's, or a dotted path."
        raise UserError(msg)
    return found


def accepts(cls: type, argument: str) -> bool:
    """Tell whether the constructor of ``cls`` takes ``argument`` by name."""
    return argument in _defaults(cls)


def default_of(cls: type, argument: str) -> Any:
    """Return the default of an argument that the constructor of ``cls`` takes."""
    return _defaults(cls)[argument]


def check_arguments(cls: type, init_args: Mapping[str, Any], where: str, refused: Collection[str] = ()) -> None:
    """Raise a :class:`UserError` if ``init_args`` are not what the constructor of ``cls`` takes, or are ``refused``."""
    allowed = [name for name in _defaults(cls) if name not in refused]
    check_keys(init_args, allowed, f"{where} ({cls.__name__})")
    _parse(cls, init_args, where)


def instantiate(cls: type, init_args: Mapping[str, Any], where: str, **objects: Any) -> Any:
    """Make an object, with nested ``class_path`` entries resolved as Anomalib's command line does.

    Args:
        cls: The class.
        init_args: Its arguments as read from YAML.
        where: The place in the configuration, for error messages.
        **objects: Arguments that are objects already.
    """
    arguments = _parser(cls).instantiate_classes(_parse(cls, init_args, where)).object
    return cls(**{name: arguments[name] for name in init_args}, **objects)


@cache
def _parser(cls: type) -> ArgumentParser:
    """Return a parser of what the constructor takes, also of what it passes on as ``**kwargs``."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "object", fail_untyped=False, instantiate=False)
    return parser


@cache
def _defaults(cls: type) -> dict[str, Any]:
    return dict(_parser(cls).get_defaults().object.as_dict())


def _parse(cls: type, init_args: Mapping[str, Any], where: str) -> Namespace:
    try:
        return _parser(cls).parse_object({"object": dict(init_args)})
    except Exception as error:  # jsonargparse raises several kinds, with messages of many lines
        reason = in_one_line(str(error))
        msg = f"{where}: {cls.__name__} does not take these init_args ({reason[:300]})."
        raise UserError(msg) from error
