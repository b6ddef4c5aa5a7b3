# SPDX-License-Identifier: Apache-2.0
"""Exports of any Anomalib model to OpenVINO: FP32, FP16 and INT8."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataModule
from anomalib.deploy.export import CompressionType
from anomalib.models import AnomalibModule
from lightning.pytorch.trainer.states import TrainerFn
from torchvision.transforms.v2.functional import resize

from anomalib_scdae import __version__
from anomalib_scdae.benchmark.cells import read_json, write_json
from anomalib_scdae.benchmark.process import Failure, in_one_sentence

logger = logging.getLogger(__name__)

FORMATS = ("fp32", "fp16", "int8")
#: Images that INT8 is calibrated with, at most.
CALIBRATION_IMAGES = 128


def attempt(function: Callable[[], Any], failed: str = "Could not be measured.") -> Any:
    """Return what ``function`` returns, or a :class:`Failure`: one format must not cost the others."""
    try:
        return function()
    except Exception as error:
        logger.warning(failed, exc_info=True)
        return Failure(in_one_sentence(error))


def export_openvino(
    model: AnomalibModule,
    folder: Path,
    *,
    image_size: tuple[int, int],
    datamodule: AnomalibDataModule,
    calibration_images: int = CALIBRATION_IMAGES,
) -> dict[str, Path | Failure]:
    """Export ``model`` in each of :data:`FORMATS` with a fixed input size.

    What an earlier call of this version has left in ``folder`` for the same model is used again.

    Args:
        model: A trained model, on the CPU.
        folder: Gets a folder for each format, with an OpenVINO model in it.
        image_size: Height and width of the input.
        datamodule: Its normal training images calibrate INT8.
        calibration_images: How many of them at most.

    Returns:
        The ``.xml`` file of each format, or why there is none.
    """
    key = {
        "model": _fingerprint(model),
        "version": __version__,
        "image_size": list(image_size),
        "calibration_images": calibration_images,
    }
    record = folder / "export.json"
    if read_json(record) != key:
        for path in (record, *folder.glob("*/**/*.xml")):
            path.unlink(missing_ok=True)
    full = attempt(lambda: _present(folder / "fp32") or model.to_openvino(folder / "fp32", input_size=image_size))
    if isinstance(full, Failure):
        return dict.fromkeys(FORMATS, full)
    make = {
        "fp16": partial(_half_precision, full),
        "int8": partial(_quantised, model, full, image_size, datamodule, calibration_images),
    }

    def export(name: str) -> Path:
        return _present(folder / name) or make[name](folder / name)

    others = {name: attempt(partial(export, name)) for name in make}
    write_json(record, key)
    return {"fp32": full, **others}


def size_on_disk(model: Path) -> int:
    """Return the bytes of an OpenVINO model: its ``.xml`` and its ``.bin``."""
    return sum(path.stat().st_size for path in (model, model.with_suffix(".bin")))


def calibration_set(datamodule: AnomalibDataModule, image_size: tuple[int, int], limit: int) -> Iterator[torch.Tensor]:
    """Read normal training images, evenly spread over the training set.

    They are resized and nothing else: an exported model holds the rest of the pre-processing.

    Yields:
        Images ``(1, 3, H, W)`` in [0, 1].
    """
    datamodule.setup(TrainerFn.FITTING)
    dataset = datamodule.train_data
    for index in range(0, len(dataset), max(1, -(-len(dataset) // limit))):
        item: Any = dataset[index]
        if not item.gt_label:
            yield resize(item.image[None], list(image_size), antialias=True)


def _fingerprint(model: AnomalibModule) -> str:
    """Hash the weights and statistics, and the options that these do not show: transforms, sizes, switches."""
    digest = hashlib.sha256(f"{type(model).__module__}.{type(model).__qualname__}".encode())
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()}".encode())
        digest.update(
            repr(
                sorted(item for item in vars(module).items() if item[0] != "training" and _is_option(item[1]))
            ).encode()
        )
    digest.update(repr(getattr(model.pre_processor, "transform", None)).encode())
    for name, value in model.state_dict().items():
        if torch.is_tensor(value):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_option(value: Any) -> bool:
    """Tell whether a module's attribute is plain, so that it reads the same in every process."""
    if isinstance(value, list | tuple):
        return all(map(_is_option, value))
    return value is None or isinstance(value, str | int | float | Enum)


def _present(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.rglob("*.xml")) if path.with_suffix(".bin").exists()), None)


def _half_precision(full: Path, folder: Path) -> Path:
    """Compress the weights; this is all that Anomalib's FP16 export does differently."""
    import openvino as ov

    ov.save_model(ov.Core().read_model(full), folder / "model.xml", compress_to_fp16=True)
    return folder / "model.xml"


def _quantised(
    model: AnomalibModule,
    full: Path,
    image_size: tuple[int, int],
    datamodule: AnomalibDataModule,
    calibration_images: int,
    folder: Path,
) -> Path:
    """Quantise after training, the model's own way if it has one: Anomalib's fails with images of another size."""
    names = ("to_openvino", "_compress_ov_model", "_post_training_quantization_ov")
    if any(getattr(type(model), name) is not getattr(AnomalibModule, name) for name in names):
        return model.to_openvino(
            folder, input_size=image_size, compression_type=CompressionType.INT8_PTQ, datamodule=datamodule
        )
    import nncf
    import openvino as ov

    images = list(calibration_set(datamodule, image_size, calibration_images))
    quantised = nncf.quantize(ov.Core().read_model(full), nncf.Dataset(images), subset_size=len(images))
    ov.save_model(quantised, folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"
