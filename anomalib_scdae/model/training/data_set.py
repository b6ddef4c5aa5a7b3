# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a data set, of all its splits, told before anything is trained or tested with it."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataset, MVTecLOCO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from anomalib_scdae.errors import UserError, check_at_least_one, check_not_negative
from anomalib_scdae.image_files import check_depth, check_image, image_shape, in_threads, is_image
from anomalib_scdae.metrics.anomaly_types import GOOD, anomaly_type
from anomalib_scdae.metrics.data_sets import image_paths, named_masks
from anomalib_scdae.metrics.ground_truth import GroundTruthReader, mask_files, mask_shape, size_of
from anomalib_scdae.model.training.training_set import is_read_by_anomalib
from anomalib_scdae.sentences import in_one_line, is_of_disk

#: What Anomalib's reader of MVTec LOCO AD takes for an image.
PNG_SUFFIXES = (".png", ".PNG")
#: From how many images on reading them takes long enough to say so.
MANY_IMAGES = 2000
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
    except (UserError, ImportError, MemoryError):
        raise
    except Exception as error:  # pandas' errors too, which name neither file nor folder
        if isinstance(error, OSError) and not is_of_disk(error):
            raise
        root = getattr(datamodule, "root", None)
        reason = in_one_line(str(error)).rstrip(".") or type(error).__name__
        msg = (
            f"{type(datamodule).__name__} cannot make a data set of {root or 'its folders'} ({reason}): compare the "
            "folders, and how many images they hold, with what its documentation asks for."
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


@rank_zero_only
def check_before_training(datamodule: Any) -> None:
    """Read what training, validation and test will read, where a datamodule says what that is: in the first process.

    Files are not unpacked where their checksums tell as much, but the masks of the test are.

    Raises:
        UserError: If there is nothing to train with, an image or a mask cannot be read, an image has values that 8 bits
            do not hold, the masks of one image differ in size, or one is of another size than its image and nothing
            resizes them; with the file's name.
    """
    datasets = {name: getattr(datamodule, name, None) for name in SPLITS}
    trained = datasets["train_data"]
    if isinstance(trained, AnomalibDataset) and len(trained) == 0:
        root = getattr(datamodule, "root", None)
        msg = f"There is no image to train with{f' in {root}' if root else ''}: put normal images into its folder."
        raise UserError(msg)
    masks = {name: dict(named_masks(dataset)) for name, dataset in datasets.items()}
    channels = {image: mask_files(image, mask) for named in masks.values() for image, mask in named.items()}
    images = dict.fromkeys(path for dataset in datasets.values() for path in image_paths(dataset))
    if len(images) > MANY_IMAGES:
        rank_zero_info(f"Reading {len(images)} images once to see that all can be read.")
    in_threads(check_image, dict.fromkeys([*images, *chain.from_iterable(channels.values())]))
    # Other code than Anomalib's may know what to do with more than 8 bits.
    read = filter(is_read_by_anomalib, datasets.values())
    in_threads(check_depth, dict.fromkeys(path for dataset in read for path in image_paths(dataset)))
    for name, dataset in datasets.items():
        _check_sizes({image: channels[image] for image in masks[name] if channels[image]}, resized=_is_resized(dataset))
    _tell_what_is_left_out(masks["test_data"])


def _is_resized(dataset: Any) -> bool:
    """Tell whether something is done to images and masks: Anomalib moves a model's Resize to its data sets."""
    return getattr(dataset, "augmentations", None) is not None


def _check_sizes(channels: Mapping[Path, list[Path]], resized: bool) -> None:
    """Look at the sizes of images and of their masks, ``{image: masks}``, as their headers say."""

    def stretched(image: Path) -> str | None:
        shape, mask = image_shape(image), mask_shape(channels[image])
        if shape == mask:
            return None
        sizes = f"{channels[image][0]} is {size_of(mask)}, its image {image} is {size_of(shape)}"
        if not resized:
            msg = f"{sizes}, and nothing resizes them: give it the image's size."
            raise UserError(msg)
        return None if _same_aspect(shape, mask) else sizes

    found = [sizes for sizes in in_threads(stretched, channels) if sizes is not None]
    if found:
        rank_zero_warn(
            f"The masks of {len(found)} images have another aspect than these and are stretched onto them; figures of "
            f"localisation are wrong unless they show the whole image: {found[0]}."
        )


def _same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Tell whether two sizes can be those of one picture, each side rounded to whole pixels in either direction."""
    small, large = sorted((first, second))
    return abs(small[0] * large[1] - small[1] * large[0]) < sum(large)


def _tell_what_is_left_out(masks: Mapping[Path, Path]) -> None:
    """Warn where the masks of the test, ``{image: mask}``, cannot be used for AU-sPRO."""
    truths, left_out = GroundTruthReader(), dict[str, str]()

    def check(image: Path) -> None:
        try:
            truths.check(image, masks[image])
        except UserError as error:
            left_out.setdefault(anomaly_type(image), str(error))

    in_threads(check, masks)
    for kind, reason in sorted(left_out.items()):
        rank_zero_warn(f"AU-sPRO of {kind} will be left out of the test: {reason}")
