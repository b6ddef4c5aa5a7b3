# SPDX-License-Identifier: Apache-2.0
"""The ``anomalib-scdae`` command: only what ``anomalib`` itself cannot do.

Training, testing, predicting and exporting stay with ``anomalib ... --model SCDAE``. Each sub-command here is a
typed function; jsonargparse turns its signature and docstring into options, help and YAML configuration, the
way Anomalib's own command line works.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser

from anomalib_scdae import __version__
from anomalib_scdae.errors import UserError


class Command(NamedTuple):
    """A sub-command: where its function is, and the line that ``--help`` shows for it."""

    target: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """Import the function; until then a sub-command costs nothing."""
        module, function = self.target.split(":")
        return getattr(import_module(module), function)


COMMANDS: dict[str, Command] = {
    "benchmark": Command(
        "anomalib_scdae.benchmark.command:benchmark",
        "Train and test models side by side, and write tables and a report.",
    ),
    "distill": Command("anomalib_scdae.distill.command:distill", "Distil a teacher from a pretrained backbone."),
    "evaluate": Command(
        "anomalib_scdae.metrics.evaluate:evaluate",
        "Image AUROC and AU-sPRO per anomaly type from anomaly maps on disk, as the benchmark's authors compute them.",
    ),
    "synthesize": Command(
        "anomalib_scdae.data.synthetic.command:synthesize",
        "Render SyntheticLOCO: five products with logical anomalies, in the layout of MVTec LOCO.",
    ),
    "teachers": Command("anomalib_scdae.distill.card:teachers", "List the teachers at hand with their provenance."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``anomalib-scdae`` with ``arguments`` (default: the process's own) and return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _build_parser(chosen=arguments[0] if arguments else None)
    config = parser.instantiate_classes(parser.parse_args(arguments))
    options = config[config.command].as_dict()
    options.pop("config", None)
    try:
        COMMANDS[config.command].load()(**options)
    except UserError as error:
        print(f"anomalib-scdae {config.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _build_parser(chosen: str | None) -> ArgumentParser:
    """Build the parser; only the ``chosen`` sub-command is imported and gets its options."""
    parser = ArgumentParser(
        prog="anomalib-scdae",
        version=__version__,
        description="What SCDAE needs beside `anomalib train|test|predict|export --model SCDAE`.",
    )
    subcommands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        subparser = ArgumentParser(description=command.summary)
        if name == chosen:
            subparser.add_argument("--config", action="config", help="YAML file with this command's options.")
            subparser.add_function_arguments(command.load(), as_group=False)
            _let_switches_stand_alone(subparser)
        subcommands.add_subcommand(name, subparser, help=command.summary)
    return parser


def _let_switches_stand_alone(parser: ArgumentParser) -> None:
    """Accept ``--resume`` for ``--resume true``, as everywhere but in jsonargparse."""
    for action in parser._actions:
        if isinstance(action.default, bool):
            action.nargs, action.const = "?", True
