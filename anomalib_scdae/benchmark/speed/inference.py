# SPDX-License-Identifier: Apache-2.0
"""Speed of prediction: PyTorch and OpenVINO."""

from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from anomalib.data import AnomalibDataModule, MVTecLOCO
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.cell.build import load_weights
from anomalib_scdae.benchmark.measure.arithmetic import inference_macs
from anomalib_scdae.benchmark.measure.deployment import deploy, example_images, time_deployments, torch_prediction
from anomalib_scdae.benchmark.measure.timing import interleave, stopwatch
from anomalib_scdae.benchmark.process import Failure
from anomalib_scdae.benchmark.speed.data import CATEGORY
from anomalib_scdae.benchmark.speed.targets import Extent
from anomalib_scdae.benchmark.speed.turns import MODELS, default_model, weights_of
from anomalib_scdae.model.lightning_model import SCDAE
from anomalib_scdae.model.training.calibration import COMPACTION_IMAGES
from anomalib_scdae.model.training.training_set import images_of

IMAGE_SIZE = (256, 256)
BATCHES = (1, 8)

#: What is compared of OpenVINO: format of SCDAE and format of EfficientAd.
OPENVINO = {
    "openvino_fp32": ("fp32", "fp32"),
    "openvino_int8_to_fp32": ("int8", "fp32"),
    "openvino_int8": ("int8", "int8"),
}
#: What a compact SCDAE is compared in, beside PyTorch.
COMPACT_FORMATS = ("fp32", "int8")
COMPACT = "SCDAE, compact"


class Predictions(NamedTuple):
    """What predictions cost.

    Attributes:
        macs: Multiply-accumulate operations of one image, by model; the compact SCDAE's too.
        compaction: How large what SRM, CRM and SFM change between images is, see
            :class:`~anomalib_scdae.model.fast.compaction.Compaction`, and whether they were left out for it.
        seconds: By key, see :data:`~.targets.TARGETS`; a column for each model.
        failures: Why formats are missing there.
    """

    macs: dict[str, int]
    seconds: dict[str, pd.DataFrame]
    failures: dict[str, str]
    compaction: dict[str, float | bool]


def time_predictions(
    trained: Path, penalty_images: Path, data: Path, folder: Path, device: str, threads: int, extent: Extent
) -> Predictions:
    """Time predictions of both models and of a compact SCDAE in turn, with the weights that trainings have left.

    Args:
        trained: Folder of the trainings.
        penalty_images: As for the trainings.
        data: Root of a dataset, for the calibration of INT8.
        folder: Gets the exports.
        device: Where PyTorch is timed; OpenVINO is timed on the CPU.
        threads: Of PyTorch and OpenVINO.
        extent: How much is measured.
    """
    torch.set_num_threads(threads)
    datamodule = MVTecLOCO(root=data, category=CATEGORY, num_workers=0)
    models: dict[str, AnomalibModule] = {name: default_model(name, penalty_images) for name in MODELS}
    for name, model in models.items():
        load_weights(model, weights_of(trained, name))
    models[COMPACT] = compact = _compacted(weights_of(trained, MODELS[0]), datamodule)
    for model in models.values():
        model.to(device)
    macs = {name: inference_macs(model, example_images(1, IMAGE_SIZE).to(device)) for name, model in models.items()}
    seconds = {}
    for batch in BATCHES:
        images = example_images(batch, IMAGE_SIZE).to(device)
        watches = {name: stopwatch(torch_prediction(model, images)) for name, model in models.items()}
        rounds = max(1, extent.inference_rounds // min(batch, 2))
        timed = interleave(watches, rounds, extent.warm_up)
        seconds[f"torch_fp32_batch{batch}"] = timed[list(MODELS)]
        seconds[f"torch_fp32_batch{batch}_compact"] = _compared(timed, COMPACT, MODELS[1])
    deployed = {
        name: deploy(model, datamodule, folder / name, IMAGE_SIZE, extent.calibration_images, "cpu")
        for name, model in models.items()
    }
    timed = time_deployments(deployed, extent.inference_rounds, extent.warm_up)
    for key, formats in OPENVINO.items():
        seconds[key] = _compared(timed, *(f"{m}/openvino_{f}" for m, f in zip(MODELS, formats, strict=True)))
    for kind in COMPACT_FORMATS:
        columns = (f"{name}/openvino_{kind}" for name in (COMPACT, MODELS[1]))
        seconds[f"openvino_{kind}_compact"] = _compared(timed, *columns)
    failures = {
        f"{name}/{kind}": predict.sentence
        for name, deployment in deployed.items()
        for kind, predict in deployment.predict.items()
        if isinstance(predict, Failure)
    }
    compaction = compact.model.compaction
    assert compaction is not None  # noqa: S101 - for the type checker
    found = {"change": float(compaction.change), "constant": bool(compaction.constant)}
    return Predictions(macs, {key: frame for key, frame in seconds.items() if not frame.empty}, failures, found)


def _compared(timed: pd.DataFrame, ours: str, theirs: str) -> pd.DataFrame:
    """Return two columns of ``timed`` under the names of the models; an empty frame if one is missing."""
    if not {ours, theirs} <= set(timed):
        return pd.DataFrame()
    return timed[[ours, theirs]].set_axis(list(MODELS), axis="columns")


def _compacted(weights: Path, datamodule: AnomalibDataModule) -> SCDAE:
    """Return SCDAE with ``weights``, made compact with the images that it was trained with."""
    model = SCDAE(teacher="bundled", penalty_images="bundled", compact=True)
    load_weights(model, weights)
    model.eval()
    datamodule.setup("fit")
    images = (model.transformed(images_of(batch)) for batch in datamodule.train_dataloader())
    model.model.fit_compaction(islice(images, COMPACTION_IMAGES))
    return model
