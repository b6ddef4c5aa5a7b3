# SPDX-License-Identifier: Apache-2.0
"""Mistakes in a training's set-up, told before any long work."""

from anomalib.data.transforms.utils import extract_transforms_by_type
from lightning.pytorch import Trainer
from torchvision.transforms.v2 import Normalize

from anomalib_scdae.errors import UserError


def check_training(trainer: Trainer) -> None:
    """Raise a :class:`UserError` if a training could not end well."""
    pre_processor = getattr(trainer.lightning_module, "pre_processor", None)
    if pre_processor is not None and extract_transforms_by_type(pre_processor.transform, Normalize):
        msg = "The pre-processor holds a Normalize, but SCDAE's networks normalise by themselves: remove it."
        raise UserError(msg)
    if str(trainer.precision).endswith("-true") and trainer.precision != "32-true":
        msg = (
            f"SCDAE does not train in {trainer.precision}, since losses and statistics need float32: use "
            "--trainer.precision bf16-mixed or 16-mixed, or leave the precision out."
        )
        raise UserError(msg)
    if trainer.world_size > 1 and getattr(trainer, "datamodule", None) is None:
        msg = (
            "Training in several processes needs a datamodule instead of loaders, so that each process can "
            "compute the statistics of the whole set: pass datamodule=..., or use one device."
        )
        raise UserError(msg)
