# SPDX-License-Identifier: Apache-2.0
"""What is left of a run that a fault has ended: the name of the file at fault, and the weights."""

import struct
from itertools import chain
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import check_image, in_threads
from anomalib_scdae.metrics.data_sets import datasets_of, image_paths
from anomalib_scdae.sentences import in_one_line

#: Errors that an image may have caused: of those that Pillow raises, the ones that hardly anything else does.
OF_FILES = (OSError, SyntaxError, EOFError, struct.error)


class Rescue(Callback):
    """Names an image that cannot be read any more, and saves the weights of a training that ends with an error."""

    def __init__(self) -> None:
        self._first_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note from where on there is something to lose."""
        del pl_module
        self._first_step = trainer.global_step

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the weights, and give the error its cause: a sentence with the file's name."""
        pl_module.on_train_end()  # lets go of what only a training needs; Lightning leaves that out
        if isinstance(exception, KeyboardInterrupt):
            return  # interrupted by the user, who does not want to wait
        if trainer.state.fn == TrainerFn.FITTING:
            self._save(trainer, pl_module, in_haste=not isinstance(exception, Exception))
        if isinstance(exception, OF_FILES):
            exception.__cause__ = _unreadable_image(trainer) or exception.__cause__

    def _save(self, trainer: Trainer, pl_module: Any, in_haste: bool) -> None:
        """Save the weights, calibrated as well as can be; in haste, where the process is told to end, not at all."""
        step, saving = trainer.global_step, trainer.checkpoint_callback
        folder = getattr(saving, "dirpath", None)
        # In several processes the others would have to take part, which know nothing of the error.
        if step <= self._first_step or folder is None or trainer.world_size > 1:
            return
        if any(getattr(other, "_last_global_step_saved", -1) == step for other in trainer.checkpoint_callbacks):
            return
        path = Path(folder) / f"interrupted-step={step}.ckpt"
        calibration, reason = pl_module.calibration, "there was no time" if in_haste else ""
        # Training images stand in where those of validation cannot be read; where neither can, nothing is calibrated.
        ways = ((False, False), (True, False), (True, True))
        for stand_in, left_out in ways[-1:] if in_haste else ways:
            calibration.without_validation, calibration.left_out = stand_in, left_out
            try:
                trainer.save_checkpoint(path)
            except Exception as error:  # noqa: BLE001 - the error that has ended the training is the one to tell
                reason = in_one_line(str(error)).rstrip(".") or type(error).__name__
            else:
                without = f" without thresholds of their own ({reason})" if left_out else ""
                rank_zero_warn(
                    f"The weights of step {step} are kept in {path}{without}, from where --ckpt_path goes on."
                )
                return
            finally:
                calibration.left_out = False
        rank_zero_warn(f"The weights of step {step} could not be kept in {path} ({reason}): earlier checkpoints stay.")


def _unreadable_image(trainer: Trainer) -> UserError | None:
    loaders = (trainer.train_dataloader, trainer.val_dataloaders, trainer.test_dataloaders, trainer.predict_dataloaders)
    datasets = chain.from_iterable(map(datasets_of, loaders))
    try:
        in_threads(check_image, dict.fromkeys(path for dataset in datasets for path in image_paths(dataset)))
    except UserError as error:
        return error
    return None
