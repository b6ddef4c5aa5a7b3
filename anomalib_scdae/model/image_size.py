# SPDX-License-Identifier: Apache-2.0
"""The size of the images that the networks see."""

from collections.abc import Sequence

import torch

from anomalib_scdae.errors import UserError

#: The encoder's last convolution needs 8 x 8 positions after five halvings.
MIN_IMAGE_SIZE = 256


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Read ``image_size``: one number for a square, or height and width.

    Raises:
        UserError: If it is neither.
    """
    sides = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        msg = f"image_size must be one number or [height, width]; it is {image_size!r}."
        raise UserError(msg)
    return sides[0], sides[1]


def check_image_size(size: Sequence[int]) -> None:
    """Raise a :class:`UserError` if an image of ``size`` (height, width) is too small for the autoencoder."""
    # A graph that is being exported has sizes without a value; they were checked when it was traced eagerly.
    if torch.compiler.is_compiling():
        return
    if min(size) < MIN_IMAGE_SIZE:
        msg = (
            f"An image size of {size[0]} x {size[1]} is too small: the autoencoder needs at least {MIN_IMAGE_SIZE} x "
            f"{MIN_IMAGE_SIZE}, so set image_size (--model.image_size) to {MIN_IMAGE_SIZE} or more."
        )
        raise UserError(msg)
