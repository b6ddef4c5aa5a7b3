# SPDX-License-Identifier: Apache-2.0
"""What each branch of a trained SCDAE says about an image, for a gallery."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from anomalib.data.utils import read_image

from anomalib_scdae.image_files import opened
from anomalib_scdae.model.lightning_model import SCDAE

LOCAL, COMBINED, CONTEXT = "local", "combined", "context"


def branch_names(branches: Sequence[Sequence[str]]) -> list[str]:
    """Name SCDAE's branches by their modules, ``autoencoder`` without any; numbered where names are not unique."""
    plain = ["_".join(modules) or "autoencoder" for modules in branches]
    return [
        f"{name}_{plain[: index + 1].count(name)}" if name == "autoencoder" or plain.count(name) > 1 else name
        for index, name in enumerate(plain)
    ]


def branch_maps_of(model: SCDAE) -> Callable[[Path], Mapping[str, torch.Tensor]]:
    """Return a function for :func:`~.selection.gallery_rows` that runs a trained model on an image file.

    Args:
        model: The model; it is set to evaluation.

    Returns:
        A function from an image's path to the normalised maps by name, each ``(H, W)``: the local map, one for each
        autoencoder, and their combination; and, where the model has a context score, what each position adds to it.
    """
    names = [LOCAL, *branch_names(model.hparams["branches"]), COMBINED]

    def maps_of(image_path: Path) -> Mapping[str, torch.Tensor]:
        with opened(image_path):
            image: Any = read_image(image_path, as_tensor=True)
        model.eval()
        images = model.transformed(image[None].to(model.device))
        maps = model.model.maps(images)
        every = torch.cat([maps, model.model.anomaly_map.combine(maps)], dim=1)[0].cpu()
        context_map = model.model.context_map(images)
        context = {} if context_map is None else {CONTEXT: context_map[0, 0].cpu()}
        return {**dict(zip(names, every, strict=True)), **context}

    return maps_of
