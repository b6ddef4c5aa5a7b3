# SPDX-License-Identifier: Apache-2.0
"""The normal images of validation, by which methods bring their maps to one scale."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.model.deploy.pre_processing import transformed


def has_normal_validation_images(module: Any) -> bool:
    """Tell whether there is any, for a model whose trainer has been set up."""
    datamodule: Any = getattr(module.trainer, "datamodule", None)
    return hasattr(datamodule, "val_data") and bool((datamodule.val_data.samples["label_index"] == 0).any())


def normal_validation_images(module: Any) -> Iterator[torch.Tensor]:
    """Yield batches ``(B, 3, H, W)`` of normal images of validation as the networks see them; none if there are none.

    To be read to its end: a generator that is closed early does not give random numbers back as they were.

    Args:
        module: A model whose trainer has been set up.
    """
    if not has_normal_validation_images(module):
        return
    with isolate_rng():
        for batch in module.trainer.datamodule.val_dataloader():
            normal = batch.gt_label == 0
            if normal.any():
                yield transformed(module.pre_processor, batch.image[normal].to(module.device))
