# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint of SCDAE holds beside its weights, and what is taken from one."""

from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.image_size import height_and_width
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.calibration import Calibration
from anomalib_scdae.model.training.checkpoint_file import check_checkpoint_file
from anomalib_scdae.model.training.finite_loss import FiniteLoss
from anomalib_scdae.model.training.inputs import TrainingInputs
from anomalib_scdae.model.training.scheduled_training import ScheduledTraining, tell_adopted
from anomalib_scdae.model.training.training_files import TrainingFiles

Loaded = TypeVar("Loaded", bound="SCDAECheckpoints")


class SCDAECheckpoints(ScheduledTraining):
    """Saving and loading of SCDAE: the statistics belong to the weights, and the checkpoint knows the options.

    No AnomalibModule by itself, or Anomalib would list it among its models.

    Attributes:
        inputs: What the teacher and the penalty images turned out to be.
        calibration: Quantiles and thresholds of the weights.
        finite_loss: Refuses weights that are not numbers.
        training_files: Which images the weights were trained with.
    """

    model: SCDAEModel
    inputs: TrainingInputs
    calibration: Calibration
    finite_loss: FiniteLoss
    training_files: TrainingFiles
    _trained_from: Path | None

    @classmethod
    def load_from_checkpoint(cls: type[Loaded], checkpoint_path: Any, *args: Any, **kwargs: Any) -> Loaded:
        """Load a model from a checkpoint as Anomalib does.

        Raises:
            UserError: If the file is missing, damaged or not one of SCDAE's.
        """
        check_checkpoint_file(checkpoint_path)
        with torch.inference_mode(mode=False):
            return cast("Loaded", super().load_from_checkpoint(checkpoint_path, *args, **kwargs))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make sure that the statistics belong to the weights, and note what the inputs turned out to be."""
        super().on_save_checkpoint(checkpoint)
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.finite_loss.check(self.trainer, self)
            self.calibration.complete(self.trainer, self, checkpoint["state_dict"])
        checkpoint["scdae_inputs"] = dict(self.inputs.resolved)
        checkpoint["scdae_training_files"] = self.training_files.hashes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the architecture from the checkpoint, so that test, predict and export need no option repeated."""
        super().on_load_checkpoint(checkpoint)
        self.inputs.resolved = dict(checkpoint.get("scdae_inputs", {}))
        trained_with, self.training_files.hashes = (
            self.training_files.hashes,
            checkpoint.get("scdae_training_files", []),
        )
        saved = checkpoint.get("hyper_parameters", {})
        self._adopt_architecture(saved)
        self._adopt_image_size(saved)
        if self._trainer is None:
            return
        trainer: Any = self.trainer
        if trainer.state.fn == TrainerFn.FITTING:
            if "optimizer_states" not in checkpoint:
                msg = (
                    f"{trainer.ckpt_path} holds weights alone, as `anomalib-scdae compact` writes them, from which no "
                    "training can go on: pass the checkpoint that the training has written, with --model.compact true "
                    "for a compact model."
                )
                raise UserError(msg)
            self._trained_from = _resolved(trainer.ckpt_path)
            self.adopt_training(saved)
            images = str(saved.get("penalty_images", "auto"))
            if self.inputs.adopt_penalty_images(images):
                tell_adopted({"penalty_images": images})
                self.hparams["penalty_images"] = images
        elif trainer.state.fn == TrainerFn.TESTING and self._trained_from == _resolved(trainer.ckpt_path) is not None:
            self._keep_trained_weights(checkpoint)
            self.training_files.hashes = trained_with
            self._trained_from = None  # whoever tests that checkpoint once more means it
        if trainer.datamodule is not None and trainer.state.fn is not None:
            # The checkpoint's pre-processor may resize to another size than the one the datasets were set up with.
            trainer.datamodule.setup(trainer.state.fn)

    def _adopt_architecture(self, saved: dict[str, Any]) -> None:
        """Rebuild the networks if the checkpoint's options differ from this instance's."""
        options = SCDAEModel.options_of_checkpoint(saved)
        if self.hparams["compact"]:  # asked for here, of weights of any kind
            options.pop("compact", None)
        different = {name: value for name, value in options.items() if value != self.hparams[name]}
        if not different:
            return
        tell_adopted(different)
        rebuilt = SCDAEModel(**{**self.model.options, **options})
        self.model = rebuilt.to(memory_format=torch.channels_last).to(self.device)
        self.hparams.update(self.model.options)

    def _adopt_image_size(self, saved: dict[str, Any]) -> None:
        """Say where another size was asked for than the checkpoint's pre-processor resizes to."""
        name = "image_size"
        if name in saved and height_and_width(saved[name]) != height_and_width(self.hparams[name]):
            tell_adopted({name: saved[name]})
            self.hparams[name] = saved[name]

    def _keep_trained_weights(self, checkpoint: dict[str, Any]) -> None:
        """Test what training has just made: `anomalib train --ckpt_path` would load the old checkpoint once more."""
        checkpoint["state_dict"] = self.state_dict()
        checkpoint["callbacks"] = {}  # the post-processor is a callback too, and would get its old thresholds back
        rank_zero_warn(
            "Testing the weights that training has just made, not the checkpoint it started from "
            f"({self._trained_from}); for the figures of the latter, test it once more (`anomalib test`)."
        )


def _resolved(path: str | Path | None) -> Path | None:
    return Path(path).resolve() if path else None
