# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a data set, of all its splits, told before anything is trained or tested with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from anomalib.data import AnomalibDataset, MVTecLOCO
from anomalib.data.utils import LabelName
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.errors import UserError, check_at_least_one, check_not_negative
from anomalib_scdae.image_files import check_image, in_threads, is_image
from anomalib_scdae.metrics.anomaly_types import GOOD, anomaly_type
from anomalib_scdae.metrics.ground_truth import GroundTruthReader, check_mask_sizes, mask_files
from anomalib_scdae.model.training.training_files import image_paths
from anomalib_scdae.sentences import in_one_line

#: What Anomalib's reader of MVTec LOCO AD takes for an image.
PNG_SUFFIXES = (".png", ".PNG")
SPLITS = ("train_data", "val_data", "test_data")


def set_up(datamodule: Any, stage: TrainerFn) -> None:
    """Set a datamodule up before the trainer does, to tell in one sentence what Anomalib's own make of a wrong folder.

    Others' datamodules are left to the trainer: their errors are their own.

    Raises:
        UserError: If an image of MVTec LOCO's layout has no mask, or the datamodule cannot be set up.
    """
    if not type(datamodule).__module__.startswith(("anomalib.", "anomalib_scdae.")):
        return
    for name in ("train_batch_size", "eval_batch_size"):
        check_at_least_one(name, getattr(datamodule, name, 1))
    check_not_negative("num_workers", getattr(datamodule, "num_workers", 0))
    if isinstance(datamodule, MVTecLOCO):
        _check_loco(Path(datamodule.root) / datamodule.category)
    try:
        datamodule.setup(stage)
    except UserError:
        raise
    except Exception as error:  # pandas' errors too, which name neither file nor folder
        root = getattr(datamodule, "root", None)
        msg = (
            f"{type(datamodule).__name__} cannot make a data set of {root or 'its folders'}, as images or masks are "
            f"missing, or too few to be split ({in_one_line(str(error)).rstrip('.')}): compare the folders with what "
            "its documentation asks for."
        )
        raise UserError(msg) from error


def _check_loco(category: Path) -> None:
    """Look at what Anomalib's reader of MVTec LOCO AD fails on or passes over, which reads PNG files only."""
    images = [path for split in ("train", "validation", "test") for path in category.glob(f"{split}/*/*")]
    read = [path for path in images if path.suffix in PNG_SUFFIXES]
    passed_over = [path for path in images if is_image(path) and path.suffix not in PNG_SUFFIXES]
    if passed_over:
        rank_zero_warn(
            f"{len(passed_over)} images of {category} are passed over, such as {passed_over[0]}: in MVTec LOCO AD's "
            "layout Anomalib reads PNG files only; convert them, or use the Folder datamodule."
        )
    anomalous = [path for path in read if path.parts[-3] == "test" and path.parent.name != GOOD]
    without = sorted(path for path in anomalous if not mask_files(path))
    if without:
        folder = category / "ground_truth" / without[0].parent.name / without[0].stem
        msg = (
            f"{without[0]} has no mask, and {len(without) - 1} more images have none: put PNG masks into {folder}, or "
            "use the Folder datamodule, which needs none."
        )
        raise UserError(msg)


def check_before_training(datamodule: Any) -> None:
    """Read what training, validation and test will read, where a datamodule says what that is.

    Files are not unpacked where their checksums tell as much.

    Raises:
        UserError: If there is nothing to train with, an image or a mask cannot be read, or a mask is of another size
            than its image; with the file's name.
    """
    datasets = {name: getattr(datamodule, name, None) for name in SPLITS}
    trained = datasets["train_data"]
    if isinstance(trained, AnomalibDataset) and len(trained) == 0:
        root = getattr(datamodule, "root", None)
        msg = f"There is no image to train with{f' in {root}' if root else ''}: put normal images into its folder."
        raise UserError(msg)
    abnormal = {image: mask for dataset in datasets.values() for image, mask in _masks(dataset)}
    channels = {image: mask_files(image, mask) for image, mask in abnormal.items()}
    images = [path for dataset in datasets.values() for path in image_paths(dataset)]
    in_threads(check_image, dict.fromkeys([*images, *(mask for masks in channels.values() for mask in masks)]))
    truths, left_out = GroundTruthReader(), dict[str, str]()

    def check_masks(image: Path) -> None:
        check_mask_sizes(image, channels[image])
        try:
            truths.read(image, abnormal[image])
        except UserError as error:
            left_out.setdefault(anomaly_type(image), str(error))

    in_threads(check_masks, abnormal)
    for kind, reason in sorted(left_out.items()):
        rank_zero_warn(f"AU-sPRO of {kind} will be left out of the test: {reason}")


def _masks(dataset: Any) -> Iterator[tuple[Path, Path]]:
    """Yield the abnormal images of a dataset that have a mask, each with one of its masks."""
    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, pd.DataFrame) or "mask_path" not in samples:
        return
    for row in samples[samples.label_index == LabelName.ABNORMAL].itertuples():
        mask = row.mask_path[0] if isinstance(row.mask_path, list) else row.mask_path
        if isinstance(mask, str | Path) and str(mask):
            yield Path(row.image_path), Path(mask)
