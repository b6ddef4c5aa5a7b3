# SPDX-License-Identifier: Apache-2.0
"""One sentence for a checkpoint that is missing, damaged or another model's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from anomalib.utils.serialization import anomalib_safe_globals
from lightning.pytorch import Trainer

from anomalib_scdae.errors import UserError

#: Entries of a state dict that all of SCDAE's have and no other model's of Anomalib.
OUR_ENTRIES = ("model.teacher_mean", "model.anomaly_map.lower")

_REMEDY = "pass a .ckpt file that a training of SCDAE has written"


@contextmanager
def reading_checkpoint(path: str | Path) -> Iterator[None]:
    """Make whatever goes wrong inside, where ``path`` is read, a :class:`UserError` that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"There is no checkpoint {path}: {_REMEDY}."
        raise UserError(msg) from error
    except OSError as error:
        msg = f"The checkpoint {path} cannot be read ({error.strerror or error}): {_REMEDY}."
        raise UserError(msg) from error
    except Exception as error:  # torch raises many types, and its words advise to run the file's code
        msg = f"{path} is no checkpoint, or a damaged one: {_REMEDY}."
        raise UserError(msg) from error


def check_checkpoint(checkpoint: Any, path: str | Path) -> None:
    """Raise a :class:`UserError` unless ``checkpoint``, what the file ``path`` holds, is one of SCDAE."""
    state = checkpoint.get("state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not all(name in state for name in OUR_ENTRIES):
        kind = "a checkpoint of another model" if isinstance(state, Mapping) and state else "no checkpoint of SCDAE"
        msg = f"{path} is {kind}: {_REMEDY}."
        raise UserError(msg)


def check_checkpoint_file(path: Any) -> None:
    """Raise a :class:`UserError` unless the file ``path`` is a checkpoint of SCDAE; no code in it is run.

    Open files and remote addresses are left to whoever reads them.
    """
    if not isinstance(path, str | Path) or "://" in str(path):
        return
    with reading_checkpoint(path), anomalib_safe_globals():
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    check_checkpoint(checkpoint, path)


def check_what_is_read(trainer: Trainer, kind: type) -> None:
    """Make ``trainer`` check the checkpoints that it reads while its model is a ``kind``; again is harmless.

    Lightning reads a checkpoint before it calls any hook that gets to see it, and tells no hook before that which file
    it will be. The plugin that reads keeps its class, which Anomalib asks for.
    """
    plugin = trainer.strategy.checkpoint_io
    load = plugin.load_checkpoint
    if getattr(load, "checks", False):
        return

    def checked(path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(trainer.lightning_module, kind):
            return load(path, *args, **kwargs)
        with reading_checkpoint(path):
            checkpoint = load(path, *args, **kwargs)
        check_checkpoint(checkpoint, path)
        return checkpoint

    checked.checks = True  # type: ignore[attr-defined]
    plugin.load_checkpoint = checked  # type: ignore[method-assign]
