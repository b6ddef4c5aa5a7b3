# SPDX-License-Identifier: Apache-2.0
"""The ``anomalib-scdae`` command: only what ``anomalib`` itself cannot do.

Training, testing, predicting and exporting stay with ``anomalib ... --model SCDAE``. Each sub-command here is a
typed function; jsonargparse turns its signature and docstring into options, help and YAML configuration, the
way Anomalib's own command line works.
"""

import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

from jsonargparse import ArgumentParser

from anomalib_scdae import __version__, plugin
from anomalib_scdae.errors import UserError
from anomalib_scdae.sentences import in_one_line, of_disk, of_parser


class Command(NamedTuple):
    """A sub-command: where its function is, and the line that ``--help`` shows for it."""

    target: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """Import the function; until then a sub-command costs nothing."""
        module, function = self.target.split(":")
        with warnings.catch_warnings():
            # What libraries have to say of each other's names is nothing that a user could do something about.
            warnings.simplefilter("ignore", FutureWarning)
            loaded = getattr(import_module(module), function)
        plugin.install()  # serves what this import has imported of Anomalib, which could not be served meanwhile
        return loaded


COMMANDS: dict[str, Command] = {
    "benchmark": Command(
        "anomalib_scdae.benchmark.main:benchmark",
        "Train and test models side by side, and write tables and a report.",
    ),
    "compact": Command(
        "anomalib_scdae.model.deploy.compact_checkpoint:compact",
        "Make a trained SCDAE compact: faster predictions and exports, nearly the same scores.",
    ),
    "distill": Command("anomalib_scdae.distill.command:distill", "Distil a teacher from a pretrained backbone."),
    "evaluate": Command(
        "anomalib_scdae.metrics.evaluate:evaluate",
        "Image AUROC and AU-sPRO per anomaly type from anomaly maps on disk, as the benchmark's authors compute them.",
    ),
    "synthesize": Command(
        "anomalib_scdae.data.synthetic.synthesize:synthesize",
        "Render SyntheticLOCO: five products with logical anomalies, in the layout of MVTec LOCO.",
    ),
    "teachers": Command("anomalib_scdae.distill.card:teachers", "List the teachers at hand with their provenance."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``anomalib-scdae`` with ``arguments`` (default: the process's own) and return the exit status.

    Whatever goes wrong, the last line that is printed is one sentence that says what.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _build_parser(chosen=arguments[0] if arguments else None)
    try:
        config = parser.parse_args(arguments)
    except (OSError, UnicodeError) as error:  # of a --config
        parser.error(f"the file of --config cannot be read ({error})")
    try:
        options = parser.instantiate_classes(config)[config.command].as_dict()
        options.pop("config", None)
        COMMANDS[config.command].load()(**options)
    except UserError as error:
        failure = str(error)
    except OSError as error:
        failure = of_disk(error)
    except Exception as error:  # noqa: BLE001 - it is told in full, and then in one sentence
        traceback.print_exc()
        failure = f"{type(error).__name__}: {in_one_line(str(error))} This should not happen: please report all of it."
    else:
        return 0
    print(f"anomalib-scdae {config.command}: {failure}", file=sys.stderr)
    return 1


class _Parser(ArgumentParser):
    """A parser that tells what is wrong in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the sentence and exit with status 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        print(f"{program}: {of_parser(message)}; {program} --help lists the options.", file=sys.stderr)
        self.exit(2)


def _build_parser(chosen: str | None) -> ArgumentParser:
    """Build the parser; only the ``chosen`` sub-command is imported and gets its options."""
    parser = _Parser(
        prog="anomalib-scdae",
        version=__version__,
        description="What SCDAE needs beside `anomalib train|test|predict|export --model SCDAE`.",
    )
    subcommands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        subparser = _Parser(description=command.summary)
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
