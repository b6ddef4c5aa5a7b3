# SPDX-License-Identifier: Apache-2.0
"""A data set with fewer training images, or with anomalous images among them, as people have them.

Whatever is changed for training, the test stays the same: it is the data set's without the images held out, which are
the same ones for every seed.
"""

from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import pandas as pd
from anomalib.data import AnomalibDataModule
from anomalib.data.utils import LabelName

from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.anomaly_types import anomaly_type


def change_training_images(
    datamodule: AnomalibDataModule,
    seed: int,
    train_images: int | None = None,
    mislabelled: float = 0.0,
    held_out: int | None = None,
) -> None:
    """Change what a datamodule that is set up trains with.

    Args:
        datamodule: The datamodule.
        seed: Draws images for training: with the same seed, few of them are among many.
        train_images: How many images are trained with; all by default.
        mislabelled: Share of these that are anomalous images of the test, labelled as normal.
        held_out: How many anomalous images the test does without, evenly of each type; the mislabelled are among them.
            By default as many as are mislabelled.

    Raises:
        UserError: If there are fewer images than that.
    """
    train = datamodule.train_data
    order = np.random.default_rng(seed).permutation(len(train))
    count = len(train) if train_images is None else train_images
    if count > len(train):
        msg = f"train_images is {count}, but there are only {len(train)} images to train with: give fewer, or none."
        raise UserError(msg)
    wrong = max(1, round(mislabelled * count)) if mislabelled else 0
    left_out = wrong if held_out is None else held_out
    if wrong > left_out:
        msg = f"{wrong} images are to be mislabelled, but held_out is {left_out}: it is what they are taken from."
        raise UserError(msg)
    away = _held_out(datamodule, left_out)
    moved = sorted(np.random.default_rng(seed).permutation(left_out)[:wrong])
    wrongly = datamodule.test_data.samples.iloc[[away[index] for index in moved]]
    _leave_out(datamodule, set(datamodule.test_data.samples.iloc[away]["image_path"]))
    datamodule.train_data = train.subsample(sorted(order[: count - wrong].tolist()))
    if wrong:
        _add_as_normal(datamodule.train_data, wrongly)


def _held_out(datamodule: AnomalibDataModule, count: int) -> list[int]:
    """Return the places of the test's anomalous images that are held out, of each type in turn."""
    samples = datamodule.test_data.samples.reset_index(drop=True)
    anomalous = samples[samples["label_index"] == LabelName.ABNORMAL].sort_values("image_path")
    if count > len(anomalous) / 2:
        msg = (
            f"{count} anomalous images are to be held out of {len(anomalous)} in the test, which leaves too few to "
            "test with: hold out at most half of them."
        )
        raise UserError(msg)
    by_type = anomalous.groupby(anomalous["image_path"].map(anomaly_type))
    # Drawn once and for all, since neighbours among the files are often alike.
    drawn = (np.random.default_rng(0).permutation(group.index.to_numpy()) for _, group in by_type)
    in_turn: Iterator[Any] = chain.from_iterable(zip_longest(*drawn))
    return [int(place) for place in in_turn if place is not None][:count]


def _leave_out(datamodule: AnomalibDataModule, paths: set[str]) -> None:
    """Take images out of the test, and out of a validation that has them too."""
    for name in ("test_data", "val_data"):
        dataset = getattr(datamodule, name, None)
        if dataset is not None and paths:
            kept = np.flatnonzero(~dataset.samples["image_path"].isin(paths))
            setattr(datamodule, name, dataset.subsample(kept.tolist()))


def _add_as_normal(dataset: Any, samples: pd.DataFrame) -> None:
    """Add images to a dataset of normal ones, with what the dataset says of its own."""
    own = dataset.samples
    same = {column: own[column].iloc[0] for column in own if column != "image_path" and column in samples}
    added = samples[[column for column in own if column in samples]].assign(**same)
    together = pd.concat([own, added], ignore_index=True)
    together.attrs = own.attrs
    dataset.samples = together
