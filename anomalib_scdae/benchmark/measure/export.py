# SPDX-License-Identifier: Apache-2.0
"""Exports of any Anomalib model to OpenVINO: FP32, FP16 and INT8."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataModule
from anomalib.deploy.export import CompressionType
from anomalib.models import AnomalibModule
from torchvision.transforms.v2.functional import resize

logger = logging.getLogger(__name__)

FORMATS = ("fp32", "fp16", "int8")


class Failure(str):
    """Why something could not be measured, in one sentence."""

    __slots__ = ()

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Take the line of an exception that says why: the first one, or OpenVINO's last one."""
        lines = str(error).strip().splitlines() or [""]
        line = lines[-1] if lines[0].startswith("Exception from src") else lines[0]
        return cls(f"{type(error).__name__}: {line}".removesuffix(": "))


def attempt(function: Callable[[], Any]) -> Any:
    """Return what ``function`` returns, or the :class:`Failure`: one format must not cost the others."""
    try:
        return function()
    except Exception as error:
        logger.warning("Could not be measured.", exc_info=True)
        return Failure.of(error)


def export_openvino(
    model: AnomalibModule,
    folder: Path,
    *,
    image_size: tuple[int, int],
    datamodule: AnomalibDataModule,
    calibration_images: int,
) -> dict[str, Path | Failure]:
    """Export ``model`` in each of :data:`FORMATS` with a fixed input size.

    What an earlier call has left in ``folder`` for the same weights is used again.

    Args:
        model: A trained model, on the CPU.
        folder: Gets a folder for each format, with an OpenVINO model in it.
        image_size: Height and width of the input.
        datamodule: Its normal training images calibrate INT8.
        calibration_images: How many of them at most.

    Returns:
        The ``.xml`` file of each format, or why there is none.
    """
    key = {"weights": _fingerprint(model), "image_size": list(image_size), "calibration_images": calibration_images}
    record = folder / "export.json"
    if not record.exists() or json.loads(record.read_text()) != key:
        record.unlink(missing_ok=True)
        for path in folder.glob("*/**/*.xml"):
            path.unlink()
    exported: dict[str, Path | Failure] = {}
    full = exported["fp32"] = attempt(lambda: _full_precision(model, folder / "fp32", image_size))
    if isinstance(full, Failure):
        return dict.fromkeys(FORMATS, full)
    exported["fp16"] = attempt(lambda: _half_precision(full, folder / "fp16"))
    exported["int8"] = attempt(
        lambda: _quantised(model, full, folder / "int8", image_size, datamodule, calibration_images)
    )
    record.write_text(json.dumps(key))
    return exported


def size_on_disk(model: Path) -> int:
    """Return the bytes of an OpenVINO model: its ``.xml`` and its ``.bin``."""
    return sum(path.stat().st_size for path in (model, model.with_suffix(".bin")))


def _fingerprint(model: AnomalibModule) -> str:
    """Hash the weights and statistics."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for name, value in model.state_dict().items():
        if torch.is_tensor(value):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _present(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.rglob("*.xml")) if path.with_suffix(".bin").exists()), None)


def _full_precision(model: AnomalibModule, folder: Path, image_size: tuple[int, int]) -> Path:
    return _present(folder) or model.to_openvino(folder, input_size=image_size)


def _half_precision(full: Path, folder: Path) -> Path:
    """Compress the weights; this is all that Anomalib's FP16 export does differently."""
    import openvino as ov

    path = folder / "model.xml"
    if _present(folder) is None:
        ov.save_model(ov.Core().read_model(full), path, compress_to_fp16=True)
    return path


def _quantised(
    model: AnomalibModule,
    full: Path,
    folder: Path,
    image_size: tuple[int, int],
    datamodule: AnomalibDataModule,
    calibration_images: int,
) -> Path:
    """Quantise after training, the model's own way if it has one."""
    if present := _present(folder):
        return present
    if _knows_how_to_quantise(model):
        return model.to_openvino(
            folder, input_size=image_size, compression_type=CompressionType.INT8_PTQ, datamodule=datamodule
        )
    import nncf
    import openvino as ov

    images = list(calibration_set(datamodule, image_size, calibration_images))
    quantised = nncf.quantize(ov.Core().read_model(full), nncf.Dataset(images), subset_size=len(images))
    ov.save_model(quantised, folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"


def _knows_how_to_quantise(model: AnomalibModule) -> bool:
    """Tell whether the class replaces Anomalib's quantisation, which fails with images of another size."""
    names = ("to_openvino", "_compress_ov_model", "_post_training_quantization_ov")
    return any(getattr(type(model), name) is not getattr(AnomalibModule, name) for name in names)


def calibration_set(datamodule: AnomalibDataModule, image_size: tuple[int, int], limit: int) -> Iterator[torch.Tensor]:
    """Read normal training images, evenly spread over the training set.

    They are resized and nothing else: an exported model holds the rest of the pre-processing.

    Yields:
        Images ``(1, 3, H, W)`` in [0, 1].
    """
    datamodule.setup("fit")
    dataset = datamodule.train_data
    for index in range(0, len(dataset), max(1, -(-len(dataset) // limit))):
        item: Any = dataset[index]
        if not item.gt_label:
            yield resize(item.image[None], list(image_size), antialias=True)
