# SPDX-License-Identifier: Apache-2.0
"""What a training needs beside the user's images: the teacher and the penalty images, and where they came from."""

import re
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.inputs.penalty import PenaltyReader, load_penalty_images
from anomalib_scdae.inputs.penalty.loading import imagenette
from anomalib_scdae.inputs.teacher import load_teacher
from anomalib_scdae.model.torch_model import SCDAEModel


class TrainingInputs:
    """Loads the teacher and the penalty images of one training.

    Args:
        teacher: See :class:`~anomalib_scdae.model.lightning_model.SCDAE`.
        penalty_images: See :class:`~anomalib_scdae.model.lightning_model.SCDAE`.

    Attributes:
        resolved: What ``teacher`` and ``penalty_images`` turned out to be, with the teacher's hash; empty until
            training has started. Part of a checkpoint, which then brings the teacher and its statistics.
    """

    def __init__(self, teacher: str, penalty_images: str) -> None:
        self.teacher, self.penalty_images = teacher, penalty_images
        self.resolved: dict[str, str] = {}
        self._reader: PenaltyReader | None = None

    def load_teacher(self, networks: SCDAEModel) -> None:
        """Give ``networks`` its teacher, unless a checkpoint has brought one."""
        if "teacher" in self.resolved:
            return
        teacher = load_teacher(self.teacher, networks.model_size, networks.channels)
        networks.teacher.load_state_dict(teacher.state_dict)
        self.resolved = {"teacher": teacher.source, "teacher_sha256": teacher.sha256}

    def open_penalty_images(self, image_size: tuple[int, int], seed: int, *, resumed: bool) -> str:
        """Begin to prepare penalty images of ``image_size`` (height, width), and return where they come from.

        A warning says where a training that is resumed had others.
        """
        self.close()
        images = load_penalty_images(self.penalty_images, image_size, seed=seed)
        self._reader = PenaltyReader(images)
        before = self.resolved.get("penalty_images", images.source)
        if resumed and _kind(images.source) != _kind(before):
            rank_zero_warn(
                f"The training that is resumed had other penalty images: {before}, and now {images.source}; name the "
                "former with --model.penalty_images."
            )
        return images.source

    def adopt_penalty_images(self, known: str) -> bool:
        """Take the penalty images that a resumed training had asked for, unless others are given or these are gone."""
        at_hand = known == "bundled" or Path(known).is_dir() or (known == "imagenette" and imagenette().is_present())
        if self.penalty_images != "auto" or not at_hand:
            return False
        self.penalty_images = known
        return True

    def read_penalty_images(self, step: int, count: int, rank: int, world_size: int) -> torch.Tensor:
        """Return a step's penalty images, ``(count, 3, H, W)``; which ones depends on step and process only."""
        assert self._reader is not None  # noqa: S101 - for the type checker; opened when training started
        return self._reader.read((step * world_size + rank) * count, count, stride=world_size * count)

    def close(self) -> None:
        """Stop preparing penalty images."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __getstate__(self) -> dict[str, object]:
        """Leave the threads out of copies and files."""
        return {**self.__dict__, "_reader": None}


def _kind(source: str) -> tuple[str, list[str]]:
    """Return what penalty images are and how many, without the folder, which may have moved."""
    name, _, rest = source.partition(" ")
    return (name if name in {"bundled", "imagenette"} else "folder"), re.findall(r"\d+", rest)[-1:]
