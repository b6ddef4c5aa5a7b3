# SPDX-License-Identifier: Apache-2.0
"""The normal images of validation, by which methods bring their maps to one scale."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.model.deploy.pre_processing import transformed


def normal_validation_images(module: Any) -> Iterator[torch.Tensor]:
    """Yield batches ``(B, 3, H, W)`` of normal images of validation as the networks see them; none if there are none.

    Args:
        module: A model whose trainer has been set up.
    """
    datamodule = getattr(module.trainer, "datamodule", None)
    if datamodule is None or not hasattr(datamodule, "val_data"):
        return
    with isolate_rng(), torch.no_grad():
        batches = list(datamodule.val_dataloader())
    for batch in batches:
        normal = batch.gt_label == 0
        if normal.any():
            yield transformed(module.pre_processor, batch.image[normal].to(module.device))
