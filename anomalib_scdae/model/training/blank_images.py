# SPDX-License-Identifier: Apache-2.0
"""Finds out that training images are white or black to the networks, whatever people see in them."""

from pathlib import Path

import torch
from anomalib.data import Batch

from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import TO_8_BITS, opened
from anomalib_scdae.model.training.training_set import paths_of

#: Share of a training set's values that may not be one and the same.
BLANK_SHARE = 0.999

#: How far from 0 or 1 a value may be that resizing has made of nothing else.
_TOLERANCE = 1e-4


class BlankImages:
    """Looks at every training image once.

    Images of 12 bits in PNG files of 16 are 1.0 everywhere to Anomalib's reader, float TIFF files 0.0: a training would
    go through with them, and so would the test.
    """

    def __init__(self) -> None:
        self._count = 0
        #: Values at 0, values at 1, and images that are not of one colour.
        self._found = torch.zeros(3, dtype=torch.int64)
        self._example: Path | None = None

    def add(self, batch: Batch, images: torch.Tensor) -> None:
        """Look at ``images``, what the networks see of ``batch``: ``(B, 3, H, W)`` in [0, 1]."""
        varied = (images.amax(dim=(-2, -1)) - images.amin(dim=(-2, -1)) > _TOLERANCE).any(dim=1)
        found = [(images <= _TOLERANCE).sum(), (images >= 1 - _TOLERANCE).sum(), varied.sum()]
        self._found = self._found.to(images.device) + torch.stack(found)
        self._count += images.numel()
        paths = paths_of(batch)
        if self._example is None and paths:
            self._example = Path(paths[0])

    def check(self) -> None:
        """Raise a :class:`UserError` if there is nothing to see in the images."""
        black, white, varied = self._found.tolist()
        for value, count in {"black (0.0)": black, "white (1.0)": white}.items():
            if count >= BLANK_SHARE * self._count:
                msg = f"The training images are {value} to the networks{self._such_as()}: {TO_8_BITS}."
                raise UserError(msg)
        if varied == 0:
            msg = f"Every training image is of one colour to the networks{self._such_as()}: {TO_8_BITS}."
            raise UserError(msg)

    def _such_as(self) -> str:
        if self._example is None:
            return ""
        with opened(self._example) as image:
            return f", as {self._example}, whose mode is {image.mode} in Pillow's words"
