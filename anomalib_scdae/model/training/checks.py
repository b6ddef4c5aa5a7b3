# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the set-up of a training or of what follows it, told before any long work."""

import torch
from anomalib.data.transforms.utils import extract_transforms_by_type
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.utilities import rank_zero_warn
from torchvision.transforms.v2 import Normalize

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.anomaly_map import NORMALISED_UPPER
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.precision import bf16_speed

#: Below this speed relative to float32, bf16 is advised against; measured beside other programs, 1 may be 0.9.
CLEARLY_SLOWER = 0.85


def check_training(trainer: Trainer) -> None:
    """Raise a :class:`UserError` if a training could not end well."""
    limits = ("max_steps", "max_epochs", "limit_train_batches")
    for name in limits:
        if getattr(trainer, name) == 0:
            msg = f"Nothing would be trained with {name} 0: give --trainer.{name} another value."
            raise UserError(msg)
    pre_processor = getattr(trainer.lightning_module, "pre_processor", None)
    if pre_processor is not None and extract_transforms_by_type(pre_processor.transform, Normalize):
        msg = "The pre-processor holds a Normalize, but SCDAE's networks normalise by themselves: remove it."
        raise UserError(msg)
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.precision == "bf16-mixed":
        _warn_where_bf16_is_slow()
    if trainer.world_size > 1 and getattr(trainer, "datamodule", None) is None:
        msg = (
            "Training in several processes needs a datamodule instead of loaders, so that each process can "
            "compute the statistics of the whole set: pass datamodule=..., or use one device."
        )
        raise UserError(msg)


def check_precision(trainer: Trainer) -> None:
    """Raise a :class:`UserError` if the weights would be brought into another precision than float32."""
    if str(trainer.precision).endswith("-true") and trainer.precision != "32-true":
        msg = (
            f"SCDAE does not work in {trainer.precision}, since losses and statistics need float32: use "
            "--trainer.precision bf16-mixed or 16-mixed, or leave the precision out."
        )
        raise UserError(msg)


def _warn_where_bf16_is_slow() -> None:
    """Warn on a processor that has no fast instructions for bf16; with those of some, it is slow all the same."""
    speed = bf16_speed(torch.device("cpu"))
    if speed < CLEARLY_SLOWER:
        rank_zero_warn(
            f"bf16 takes this processor {1 / max(speed, 0.01):.1f} times as long as float32: leave the precision out "
            "(--trainer.precision 32)."
        )


def check_pool_size(networks: SCDAEModel, image_size: tuple[int, int]) -> None:
    """Raise a :class:`UserError` if SRM would pool more positions than the features of such images have."""
    options = networks.options
    if not any("srm" in modules for modules in options["branches"]):
        return
    height, width = networks.feature_size(image_size)
    if options["pool_size"] > min(height, width):
        msg = (
            f"pool_size is {options['pool_size']}, and the features of images of {image_size[0]} x {image_size[1]} "
            f"have {height} x {width} positions: give a smaller one (--model.pool_size)."
        )
        raise UserError(msg)


def is_trained(networks: SCDAEModel) -> bool:
    """Return whether the quantiles of ``networks`` are known, which every training ends with."""
    merger = networks.anomaly_map
    return bool((merger.lower != 0).any() or (merger.upper != NORMALISED_UPPER).any())


def check_trained(networks: SCDAEModel) -> None:
    """Raise a :class:`UserError` if ``networks`` have never been trained."""
    if not is_trained(networks):
        msg = (
            "This SCDAE was never trained, so its scores would mean nothing: pass the checkpoint of a training "
            "(--ckpt_path), or train it first."
        )
        raise UserError(msg)


def check_exportable(networks: SCDAEModel) -> None:
    """Raise a :class:`UserError` if a compact model was asked for and not fitted; warn if nothing was ever trained."""
    if not is_trained(networks):
        rank_zero_warn(
            "EXPORTING AN UNTRAINED MODEL: this SCDAE was never trained, so the exported model's scores will mean "
            "nothing; pass the checkpoint of a training (--ckpt_path), or train it first."
        )
    elif networks.compaction is not None and not networks.is_compact:
        msg = (
            "compact: true needs normal images for weights that were trained without it: run `anomalib-scdae compact` "
            "with their checkpoint and the training data, and export the checkpoint that it writes."
        )
        raise UserError(msg)
