# SPDX-License-Identifier: Apache-2.0
"""What Anomalib's data sets say of their images and masks: in their tables, for a batch may not pass it on.

Batches have the fields of their first image: one that begins with a normal image names no masks at all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from anomalib.data.utils import LabelName
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import CombinedLoader

from anomalib_scdae.image_files import has_image_suffix


def is_image_path(path: Any) -> bool:
    """Tell by the suffix whether an entry of a data set's table is the path of an image file, hidden or not."""
    return isinstance(path, str | Path) and has_image_suffix(Path(path))


def datasets_of(loaders: Any) -> list[Any]:
    """Return the datasets of one loader, of several, or of none; a loader may be any iterable, which names none."""
    found = [getattr(loader, "dataset", None) for loader in CombinedLoader(loaders).flattened] if loaders else []
    return [dataset for dataset in found if dataset is not None]


def image_paths(dataset: Any) -> list[Path]:
    """Return the image files that ``dataset``, one of Anomalib's, reads; none of one that has no such list.

    Films, and folders of their pictures, are no image files.
    """
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, pd.DataFrame) and "image_path" in samples:
        paths = samples.image_path
    else:
        paths = getattr(dataset, "image_filenames", ())
    return [Path(path) for path in paths if is_image_path(path)]


def named_masks(dataset: Any) -> Iterator[tuple[Path, Path]]:
    """Yield the abnormal images of ``dataset``, one of Anomalib's, that have a mask, each with one of its masks."""
    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, pd.DataFrame) or not {"image_path", "mask_path", "label_index"} <= set(samples):
        return
    for row in samples[samples.label_index == LabelName.ABNORMAL].itertuples():
        mask: Any = next(iter(row.mask_path), None) if isinstance(row.mask_path, list) else row.mask_path
        if is_image_path(row.image_path) and is_image_path(mask):
            yield Path(row.image_path), Path(mask)


def masks_of_test(trainer: Trainer) -> dict[Path, Path]:
    """Return one mask of each image that the running test of ``trainer`` has one of, as its data sets name them."""
    return {image: mask for data in datasets_of(trainer.test_dataloaders) for image, mask in named_masks(data)}
