# SPDX-License-Identifier: Apache-2.0
"""Makes Anomalib know SCDAE without the user importing anything.

Anomalib has no plugin entry point: it finds a model by bare name only among the classes that are already imported.
So ``anomalib_scdae_hook.pth``, which the installation puts into site-packages, imports this module when the interpreter
starts. It then does next to nothing: it places one import finder that waits for Anomalib's registries to be
imported, and adds our classes to each of them right after; and for the module of the ``anomalib`` command, whose
``main`` then tells our own errors in one sentence. A program that never imports Anomalib never gets further.
Nothing that fails in here reaches the program that imports Anomalib: it is logged, and SCDAE is then not known by name.

Setting the environment variable ``ANOMALIB_SCDAE_NO_HOOK`` to anything but nothing switches the ``.pth`` file off.
``import anomalib_scdae`` places the finder too, so that it is then the one line that is needed.
"""

import sys

# As `typing` has it. This module and the package's __init__ import nothing that the interpreter has not loaded by
# then: `typing` would cost every start several milliseconds, `importlib` half of one.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: Anomalib's registries, and which of our classes each gets: {registry: {class name: our module}}.
REGISTRIES = {
    "anomalib.models": {"SCDAE": "anomalib_scdae.model.lightning_model"},
    "anomalib.data": {"SyntheticLOCO": "anomalib_scdae.data.synthetic_loco"},
}

#: The module of the ``anomalib`` command.
COMMAND = "anomalib.cli.cli"


def register(registry: "ModuleType") -> None:
    """Put our classes into ``registry``, a module of Anomalib that is completely imported.

    Importing a class is what makes ``list_models``, ``get_model("SCDAE")`` and the command line's bare names find it
    (they look through the subclasses in memory); the attribute serves ``class_path: SCDAE`` in configurations, and
    ``ALLOWED_MODULES`` serves ``class_path: anomalib_scdae.SCDAE``.
    """
    from importlib import import_module

    if hasattr(registry, "ALLOWED_MODULES"):
        registry.ALLOWED_MODULES.add("anomalib_scdae")
    for name, home in REGISTRIES[registry.__name__].items():
        if home not in sys.modules and _one_of_ours_is_initializing():
            continue  # it imports Anomalib, and `home` would import it half made; we come back when `home` is imported
        module = import_module(home)
        # Whoever imports our module first imports Anomalib through it: the class then exists only when our module is
        # complete, and the finder, which waits for our modules too, comes back.
        if hasattr(module, name) or not _is_initializing(module):
            setattr(registry, name, getattr(module, name))


def tell_user_errors(command: "ModuleType") -> None:
    """Make ``command``, the module of the ``anomalib`` command, tell our own errors in one sentence."""
    from anomalib_scdae import command_line

    command_line.tell_user_errors(command)


def _serve_safely(module: "ModuleType") -> None:
    """Serve a module of Anomalib; on any failure log a warning instead of breaking the import that we ride on."""
    is_command = module.__name__ == COMMAND
    try:
        tell_user_errors(module) if is_command else register(module)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in here is not the importing program's business
        import logging  # rather than `warnings`, which would raise under `python -W error`

        logging.getLogger(__name__).warning(
            "anomalib-scdae could not add its %s to %s (%s: %s). Set ANOMALIB_SCDAE_NO_HOOK=1 to switch this off.",
            "error messages" if is_command else "classes",
            module.__name__,
            type(error).__name__,
            error,
        )


class _RegistrationFinder:
    """A meta-path finder that lets Python import Anomalib's registries as ever, then registers our classes."""

    @classmethod
    def find_spec(
        cls, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return the spec that the finders behind this one give, with our step behind the module's execution.

        None for every module but Anomalib's registries and command, and ours that hold the classes.
        """
        homes = {home for classes in REGISTRIES.values() for home in classes.values()}
        if name not in {COMMAND, *REGISTRIES, *homes}:
            return None
        finders = iter(tuple(sys.meta_path))
        for finder in finders:
            if finder is cls:
                break
        for finder in finders:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                _run_after_execution(spec.loader)
                return spec
        return None


def _run_after_execution(loader: "Any") -> None:
    """Make ``loader``, an instance for one module of a registry or ours, do our step after executing it."""
    if isinstance(loader, type) or not hasattr(loader, "exec_module"):
        return  # a loader that serves other modules too, or none that executes
    execute = loader.exec_module

    def exec_module(module: "ModuleType") -> None:
        _execute_quietly(execute, module) if module.__name__ == COMMAND else execute(module)
        if module.__name__ in {COMMAND, *REGISTRIES}:
            _serve_safely(module)
        if module.__name__ not in REGISTRIES:
            install()  # serves a registry that one of our modules was importing, which was then left alone

    loader.exec_module = exec_module


def _execute_quietly(execute: "Any", module: "ModuleType") -> None:
    """Import the command without what libraries tell each other of names that will go, unless warnings are asked for.

    It fills the first screen, and its reader can do nothing about it. A program that imports Anomalib sees all of it.
    """
    if sys.warnoptions:
        execute(module)
        return
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        execute(module)


def install() -> None:
    """Wait for Anomalib's registries, and serve those that are imported already; calling it again is harmless."""
    if _RegistrationFinder not in sys.meta_path:
        sys.meta_path.insert(0, _RegistrationFinder)
    for name, classes in REGISTRIES.items():
        registry = sys.modules.get(name)
        # A registry that is still being imported has our step ahead of it.
        if registry is not None and not _is_initializing(registry) and not all(hasattr(registry, c) for c in classes):
            _serve_safely(registry)
    command = sys.modules.get(COMMAND)
    if command is not None and not _is_initializing(command):
        _serve_safely(command)


def _one_of_ours_is_initializing() -> bool:
    """Whether one of our modules is being imported, except those after whose execution we come back."""
    package = __name__.partition(".")[0]
    homes = {home for classes in REGISTRIES.values() for home in classes.values()}
    return any(
        name.startswith(f"{package}.") and name not in {__name__, *homes} and _is_initializing(module)
        for name, module in tuple(sys.modules.items())
    )


def _is_initializing(module: "ModuleType") -> bool:
    """Whether Python is still executing ``module``."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)
