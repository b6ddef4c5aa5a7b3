# SPDX-License-Identifier: Apache-2.0
"""One sentence for a checkpoint that is missing, damaged, another model's or cannot be written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from anomalib.utils.serialization import anomalib_safe_globals
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing

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


def check_checkpoint_file(path: Any) -> Mapping[str, Any]:
    """Return what the file ``path`` holds, nothing for open files and remote addresses; no code in it is run.

    Raises:
        UserError: Unless it is a checkpoint of SCDAE.
    """
    if not isinstance(path, str | Path) or "://" in str(path):
        return {}
    with reading_checkpoint(path), anomalib_safe_globals():
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    check_checkpoint(checkpoint, path)
    return checkpoint


def guard_checkpoints(trainer: Trainer, kind: type) -> None:
    """Make ``trainer`` check the checkpoints that it reads, and write them whole or not at all, for models of ``kind``.

    Lightning reads a checkpoint before it calls any hook that gets to see it, and tells no hook before that which file
    it will be; where temporary files lie on another disk, it overwrites the checkpoint before piece by piece. The
    plugin that reads and writes keeps its class, which Anomalib asks for. Calling this again is harmless.
    """
    plugin = trainer.strategy.checkpoint_io
    load, save = plugin.load_checkpoint, plugin.save_checkpoint
    if getattr(load, "checks", False):
        return

    def checked(path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(trainer.lightning_module, kind):
            return load(path, *args, **kwargs)
        with reading_checkpoint(path):
            checkpoint = load(path, *args, **kwargs)
        check_checkpoint(checkpoint, path)
        return checkpoint

    def whole(checkpoint: dict[str, Any], path: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(trainer.lightning_module, kind) or "://" in str(path):
            save(checkpoint, path, *args, **kwargs)
            return
        with writing_checkpoint(path), replacing(Path(path)) as file:
            save(checkpoint, file, *args, **kwargs)

    checked.checks = True  # type: ignore[attr-defined]
    plugin.load_checkpoint = checked  # type: ignore[method-assign]
    if isinstance(plugin, TorchCheckpointIO):  # others may not have written anything yet when they return
        plugin.save_checkpoint = whole  # type: ignore[method-assign]


@contextmanager
def writing_checkpoint(path: str | Path) -> Iterator[None]:
    """Make an error of the disk inside, where ``path`` is written, a :class:`UserError` that names the file."""
    try:
        yield
    except OSError as error:
        msg = (
            f"The checkpoint {path} cannot be written ({error.strerror or error}): make room, or choose another folder "
            "with --default_root_dir; earlier checkpoints are kept."
        )
        raise UserError(msg) from error
