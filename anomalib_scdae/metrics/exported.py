# SPDX-License-Identifier: Apache-2.0
"""Anomaly maps of an exported model, in the layout that the evaluation reads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from rich.progress import track

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing
from anomalib_scdae.image_files import image_shape, opened
from anomalib_scdae.metrics.map_files import map_file

#: OpenVINO's names of the types that it can compute in.
Precision = Literal["f32", "bf16", "f16"]

#: The output of Anomalib's exported models that holds the map.
MAP_OUTPUT = "anomaly_map"


def write_maps(model: Path, images: Sequence[Path], folder: Path, precision: Precision = "f32") -> None:
    """Write the maps that an exported model gives for ``images``, each at its image's own size.

    Args:
        model: Model that Anomalib has exported: ``model.xml`` (OpenVINO) or ``model.onnx``.
        images: Images ``.../<type>/<image>.png``.
        folder: Folder of the category's maps; see :func:`~anomalib_scdae.metrics.map_files.map_file`.
        precision: What OpenVINO computes in: ``f32``, ``bf16`` or ``f16``. Left to itself it takes bf16 where the
            processor has it.

    Raises:
        UserError: If the model cannot be loaded or gives no anomaly maps, or an image cannot be read.
    """
    import torch

    from anomalib_scdae.metrics.au_spro import resize_map

    infer = load_exported(model, precision)
    for path in track(images, description=f"running {model.name}"):
        anomaly_map = torch.from_numpy(infer(path))
        with replacing(map_file(folder, path)) as file:
            tifffile.imwrite(file, resize_map(anomaly_map, image_shape(path)))


def load_exported(model: Path, precision: Precision = "f32") -> Callable[[Path], NDArray[np.float32]]:
    """Load an exported model and return the function that gives an image's map, ``(h, w)``.

    Raises:
        UserError: As :func:`write_maps`.
    """
    from anomalib.data.utils import read_image
    from torchvision.transforms.v2.functional import resize

    try:
        import openvino
    except ImportError as error:
        msg = 'Exported models are run by OpenVINO, which is not installed: pip install "anomalib[openvino]".'
        raise UserError(msg) from error
    if not model.is_file():
        msg = f"{model} is not there: name the model.xml or model.onnx that `anomalib export` wrote."
        raise UserError(msg)
    try:
        # Not Anomalib's OpenVINOInferencer, which writes a cache to the working directory and squeezes the outputs.
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    except RuntimeError as error:
        msg = f"OpenVINO cannot load {model} at precision {precision}: {str(error).strip().splitlines()[-1]}"
        raise UserError(msg) from error
    if MAP_OUTPUT not in {name for output in compiled.outputs for name in output.get_names()}:
        msg = f"{model} has no output {MAP_OUTPUT}: only models that localise anomalies can be evaluated."
        raise UserError(msg)
    size = _fixed_size(compiled)

    def infer(path: Path) -> NDArray[np.float32]:
        with opened(path):
            image: Any = read_image(path, as_tensor=True)
        if size is not None:
            image = resize(image, size, antialias=True)
        anomaly_map = compiled(image[None].numpy())[MAP_OUTPUT]
        return anomaly_map.reshape(anomaly_map.shape[-2:]).astype(np.float32)

    return infer


def _fixed_size(compiled: Any) -> list[int] | None:
    """Return the height and width that the model was exported for, or None if it takes any."""
    height, width = list(compiled.input(0).partial_shape)[-2:]
    return [height.get_length(), width.get_length()] if height.is_static and width.is_static else None
