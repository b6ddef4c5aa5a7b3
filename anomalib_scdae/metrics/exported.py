# SPDX-License-Identifier: Apache-2.0
"""Anomaly maps and scores of an exported model, in the layout that the evaluation reads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from rich.progress import track

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing
from anomalib_scdae.image_files import image_shape, opened
from anomalib_scdae.metrics.anomaly_types import GOOD, anomaly_type
from anomalib_scdae.metrics.map_files import map_file
from anomalib_scdae.metrics.score_files import SCORES_NAME, Prediction, part_file, remove_parts, write_predictions

#: OpenVINO's names of the types that it can compute in.
Precision = Literal["f32", "bf16", "f16"]

#: The outputs of Anomalib's exported models that hold the map and, where it is not the map's maximum, the score.
MAP_OUTPUT, SCORE_OUTPUT, LABEL_OUTPUT = "anomaly_map", "pred_score", "pred_label"


class Outputs(NamedTuple):
    """What an exported model says of an image: its map ``(h, w)``, its score and its label, if the model has them."""

    anomaly_map: NDArray[np.float32]
    score: float | None
    label: int | None


def write_predictions_of(model: Path, images: Sequence[Path], folder: Path, precision: Precision = "f32") -> None:
    """Write the maps that an exported model gives for ``images``, each at its image's own size, and the scores.

    Args:
        model: Model that Anomalib has exported: ``model.xml`` (OpenVINO) or ``model.onnx``.
        images: Images ``.../<type>/<image>.png``.
        folder: Folder of the category's maps; see :func:`~anomalib_scdae.metrics.map_files.map_file`. ``scores.csv``
            is written there; one of an earlier run is removed if the model gives no scores.
        precision: What OpenVINO computes in: ``f32``, ``bf16`` or ``f16``. Left to itself it takes bf16 where the
            processor has it.

    Raises:
        UserError: If the model cannot be loaded or gives no anomaly maps, or an image cannot be read.
    """
    import torch

    from anomalib_scdae.metrics.au_spro import resize_map

    infer = load_exported(model, precision)
    (folder / SCORES_NAME).unlink(missing_ok=True)  # never beside maps of another model
    folder.mkdir(parents=True, exist_ok=True)
    part_file(folder).touch()  # until all maps are of this model
    rows = []
    for path in track(images, description=f"running {model.name}"):
        outputs, name = infer(path), anomaly_type(path)
        with replacing(map_file(folder, path)) as file:
            tifffile.imwrite(file, resize_map(torch.from_numpy(outputs.anomaly_map), image_shape(path)))
        if outputs.score is not None:
            rows.append(Prediction(str(path), name, outputs.score, int(name != GOOD), outputs.label))
    if rows:
        write_predictions(folder / SCORES_NAME, rows)
    remove_parts(folder)


def load_exported(model: Path, precision: Precision = "f32") -> Callable[[Path], Outputs]:
    """Load an exported model and return the function that gives its outputs for an image.

    Raises:
        UserError: As :func:`write_predictions_of`.
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
    names = {name for output in compiled.outputs for name in output.get_names()}
    if MAP_OUTPUT not in names:
        msg = f"{model} has no output {MAP_OUTPUT}: only models that localise anomalies can be evaluated."
        raise UserError(msg)
    size = _fixed_size(compiled)

    def infer(path: Path) -> Outputs:
        with opened(path):
            image: Any = read_image(path, as_tensor=True)
        if size is not None:
            image = resize(image, size, antialias=True)
        found = compiled(image[None].numpy())
        anomaly_map = found[MAP_OUTPUT]
        return Outputs(
            anomaly_map.reshape(anomaly_map.shape[-2:]).astype(np.float32),
            float(found[SCORE_OUTPUT].item()) if SCORE_OUTPUT in names else None,
            int(found[LABEL_OUTPUT].item()) if LABEL_OUTPUT in names else None,
        )

    return infer


def _fixed_size(compiled: Any) -> list[int] | None:
    """Return the height and width that the model was exported for, or None if it takes any."""
    height, width = list(compiled.input(0).partial_shape)[-2:]
    return [height.get_length(), width.get_length()] if height.is_static and width.is_static else None
