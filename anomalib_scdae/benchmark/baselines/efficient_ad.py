# SPDX-License-Identifier: Apache-2.0
"""Anomalib's EfficientAd with the inputs that SCDAE gets: once as it is shipped, once with its two faults mended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from anomalib.models import EfficientAd
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs.penalty import PenaltyReader, load_penalty_images
from anomalib_scdae.inputs.teacher import load_teacher
from anomalib_scdae.model.image_size import check_image_size, height_and_width
from anomalib_scdae.model.training.exact_resume import ExactResume


class EfficientAdAsShipped(EfficientAd):
    """EfficientAd of Anomalib, which takes its teacher and its penalty images from where SCDAE takes them.

    Step ``s`` gets penalty image ``s``, the one that SCDAE gets with the same seed and a batch size of 1. Training
    step, learning rate, quantiles and thresholds are Anomalib's: the schedule counts epochs where it means steps, so
    that the learning rate stays as it is, and the quantiles are those of the last validation during training.

    Args:
        teacher: See :class:`~anomalib_scdae.SCDAE`.
        penalty_images: See :class:`~anomalib_scdae.SCDAE`.
        teacher_out_channels: Feature channels of the teacher.
        model_size: ``small`` or ``medium``.
        image_size: Height and width that images are resized to; one number for a square.
        lr: Learning rate.
        weight_decay: Weight decay of Adam.
        padding: Whether the networks pad their convolutions.
        pad_maps: Whether to frame the maps with zeros where an unpadded network has lost its border.
        channels_last: Whether to keep the weights in the memory layout that SCDAE keeps them in. It changes nothing but
            rounding and time: on a CPU in bf16, a training step takes about half as long.
        anomalib_reads_penalty_images: Whether ``penalty_images`` is a folder in the layout of Imagenette, to be read by
            Anomalib's own loader, as a comparison of speed needs it.
        **components: Pre-processor, post-processor, evaluator and visualizer, as Anomalib's models take them.
    """

    #: Whether the benchmark validates the final weights before it tests them.
    validate_final_weights = False

    def __init__(
        self,
        teacher: str = "auto",
        penalty_images: str = "auto",
        teacher_out_channels: int = 384,
        model_size: str = "small",
        image_size: int | list[int] = 256,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        padding: bool = False,
        pad_maps: bool = True,
        channels_last: bool = False,
        anomalib_reads_penalty_images: bool = False,
        **components: Any,
    ) -> None:
        size = height_and_width(image_size)
        check_image_size(size)
        components.setdefault("pre_processor", self.configure_pre_processor(size))
        if anomalib_reads_penalty_images:
            components["imagenet_dir"] = Path(penalty_images)
        super().__init__(
            teacher_out_channels=teacher_out_channels,
            model_size=model_size,
            lr=lr,
            weight_decay=weight_decay,
            padding=padding,
            pad_maps=pad_maps,
            **components,
        )
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.teacher_source, self.penalty_source = teacher, penalty_images
        self.anomalib_reads_penalty_images = anomalib_reads_penalty_images
        self._penalty_reader: PenaltyReader | None = None

    def prepare_pretrained_model(self) -> None:
        """Load the teacher that SCDAE would load."""
        teacher = load_teacher(self.teacher_source, self.model_size.value, self.model.teacher_out_channels)
        self.model.teacher.load_state_dict(teacher.state_dict)

    def prepare_imagenette_data(self, image_size: tuple[int, int] | torch.Size) -> None:
        """Prepare the penalty images that SCDAE would read, in its order.

        Raises:
            UserError: If Anomalib is to read them and they are not there; it would download 1.5 GB.
        """
        if self.anomalib_reads_penalty_images:
            if not self.imagenet_dir.is_dir():
                msg = f"There are no penalty images in {self.imagenet_dir}: name a folder in the layout of Imagenette."
                raise UserError(msg)
            super().prepare_imagenette_data(image_size)
            return
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        resume = [callback for callback in callbacks if isinstance(callback, ExactResume)]
        seed = resume[0].seed if resume else 0
        size = (int(image_size[0]), int(image_size[1]))
        self._penalty_reader = PenaltyReader(load_penalty_images(self.penalty_source, size, seed=seed))
        self.imagenet_iterator = self._penalty_batches(self._penalty_reader)  # type: ignore[assignment]

    def _penalty_batches(self, reader: PenaltyReader) -> Iterator[tuple[torch.Tensor]]:
        """Give the penalty image of the present step, as often as EfficientAd asks for the next."""
        while True:
            yield (reader.read(self.trainer.fit_loop.epoch_loop.total_batch_idx, 1),)

    def on_train_start(self) -> None:
        """Set up as Anomalib does, without using up random numbers, so that a resumed training stays exact."""
        with isolate_rng():
            super().on_train_start()

    def on_train_end(self) -> None:
        """Stop preparing penalty images."""
        if self._penalty_reader is not None:
            self._penalty_reader.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a training run when the module is exported whole."""
        return {**super().__getstate__(), "_penalty_reader": None}


class EfficientAdMended(EfficientAdAsShipped):
    """The same, with a learning rate that decays after 95 % of the steps, and quantiles of the final weights.

    The decay is what EfficientAD's paper and SCDAE's describe. The benchmark validates once more after training, from
    which Anomalib takes quantiles and thresholds of the weights that are tested.
    """

    validate_final_weights = True

    def configure_optimizers(self) -> Any:
        """Let the schedule count steps."""
        optimizer = super().configure_optimizers()["optimizer"]  # type: ignore[index]
        milestone = max(1, int(0.95 * self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[milestone], gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
