# SPDX-License-Identifier: Apache-2.0
"""What the teacher says about the training images, taken in one pass before the first step."""

from collections.abc import Callable, Iterable, Iterator

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from anomalib_scdae.model.context_score import cell_means
from anomalib_scdae.model.double_precision import doubled
from anomalib_scdae.model.image_size import check_image_size
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.blank_images import BlankImages
from anomalib_scdae.model.training.teacher_cache import TeacherCache
from anomalib_scdae.model.training.training_set import first_training_batch, images_of, training_batches

Transform = Callable[[torch.Tensor], torch.Tensor]


def training_image_size(trainer: Trainer, transform: Transform) -> tuple[int, int]:
    """Return the height and width that the networks will see, from the first batch that training reads."""
    height, width = transform(images_of(first_training_batch(trainer))).shape[-2:]
    check_image_size((height, width))
    return height, width


def fit_statistics(
    model: SCDAEModel, trainer: Trainer, transform: Transform, cache: TeacherCache | None = None
) -> None:
    """Give ``model`` the mean and deviation of the teacher's channels, and fit its context score.

    Args:
        model: Its teacher is loaded.
        trainer: Reads the training set.
        transform: What is done to the images before the networks see them.
        cache: Keeps what the teacher says, for the training.

    Raises:
        UserError: If the images are white, black or of one colour to the networks.
    """
    device = model.teacher_mean.device
    averages: list[torch.Tensor] = []
    blank = BlankImages()

    def features() -> Iterator[torch.Tensor]:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            for batch in training_batches(trainer):
                images = transform(images_of(batch).to(device)).float()
                blank.add(batch, images)
                described = model.teacher(images) if cache is None else cache.described(batch, images)
                if model.context_score is not None:
                    averages.append(cell_means(described).cpu())
                yield described

    mean, std = channel_mean_std(features())
    blank.check()
    model.teacher_mean.copy_(mean)
    model.teacher_std.copy_(std)
    if model.context_score is not None:
        by_channel = torch.cat(averages).unflatten(1, (model.channels, -1))
        normalised = (by_channel - mean.flatten()[:, None].cpu()) / std.flatten()[:, None].cpu()
        model.context_score.fit(normalised.flatten(1))


def share_with_averages(trainer: Trainer, pl_module: LightningModule) -> None:
    """Give teacher and statistics to the averages that callbacks keep: they were copied before these were known.

    The context score has as many directions as there are images, so that a later copy of its buffers would not fit.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:  # Lightning has no other way
            callback._average_model.module.load_state_dict(pl_module.state_dict())


@torch.no_grad()
def channel_mean_std(features: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mean and the population standard deviation of every channel, over all images and positions.

    Sums are kept in float64 and combined as deviations from the means, so that a large mean costs no digits.

    Args:
        features: Pieces of shape ``(B, C, h, w)``.

    Returns:
        Mean and standard deviation, ``(1, C, 1, 1)`` in float32. A channel that does not vary gets the deviation 1, so
        that dividing by it is safe.

    Raises:
        ValueError: If there are no features.
    """
    count, mean, squares = 0, torch.tensor(0.0), torch.tensor(0.0)
    for piece in features:
        values = doubled(piece).transpose(0, 1).flatten(1)
        piece_mean = values.mean(dim=1)
        piece_squares = (values - piece_mean[:, None]).square().sum(dim=1)
        new = values.shape[1]
        shift = piece_mean - mean.to(piece_mean)
        squares = squares.to(piece_mean) + piece_squares + shift.square() * (count * new / (count + new))
        mean = mean.to(piece_mean) + shift * (new / (count + new))
        count += new
    if count == 0:
        msg = "Statistics need at least one image."
        raise ValueError(msg)
    std = (squares / count).sqrt()
    # Rounding leaves a trace of variance in a constant channel; relative to its mean it is below float32's digits.
    std = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, torch.ones_like(std))
    return mean.float()[None, :, None, None], std.float()[None, :, None, None]
