# SPDX-License-Identifier: Apache-2.0
"""SCDAE as a model of Anomalib."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from anomalib import LearningType
from anomalib.data import AnomalibDataModule, Batch
from anomalib.metrics import Evaluator
from anomalib.models.components import AnomalibModule
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import Visualizer
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torchvision.transforms.v2 import Resize

from anomalib_scdae.errors import check_choice, check_not_negative
from anomalib_scdae.metrics import loco_evaluator
from anomalib_scdae.model.checkpoints import SCDAECheckpoints
from anomalib_scdae.model.deploy.export import FoldedExport
from anomalib_scdae.model.deploy.post_processing import MonotonePostProcessor
from anomalib_scdae.model.deploy.pre_processing import ExactPreProcessor, exact, transformed
from anomalib_scdae.model.image_size import check_image_size, height_and_width
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.calibration import Calibration
from anomalib_scdae.model.training.checkpoint_file import guard_checkpoints
from anomalib_scdae.model.training.checks import check_pool_size, check_precision, check_trained, check_training
from anomalib_scdae.model.training.data_set import check_before_training, set_up
from anomalib_scdae.model.training.exact_resume import ExactResume
from anomalib_scdae.model.training.finite_loss import FiniteLoss
from anomalib_scdae.model.training.image_cache import ImageCache
from anomalib_scdae.model.training.inputs import TrainingInputs
from anomalib_scdae.model.training.optimizer_state import lay_out_like_parameters
from anomalib_scdae.model.training.progress import ProgressSentences
from anomalib_scdae.model.training.rescue import Rescue
from anomalib_scdae.model.training.schedule import SCHEDULES, ScheduleName
from anomalib_scdae.model.training.step_time import StepTimeNotice
from anomalib_scdae.model.training.teacher_cache import TeacherCache
from anomalib_scdae.model.training.teacher_statistics import fit_statistics, share_with_averages, training_image_size
from anomalib_scdae.model.training.training_files import TrainingFiles
from anomalib_scdae.model.training.training_set import gives_images_as_read, images_of, training_dataset


class SCDAE(FoldedExport, SCDAECheckpoints, AnomalibModule):  # type: ignore[misc]  # as Anomalib's own export is
    """Spatial-channel dual autoencoders on EfficientAD (Liang & Chen, 2024).

    Finds logical anomalies (a missing screw) as well as structural ones (a scratch). Trains with any batch size and any
    image size from 256 x 256 on; with ``branches=[[]]``, ``cosine_weight=0`` and ``context_weight=0`` it is
    EfficientAD.

    Args:
        image_size: Height and width that images are resized to; one number for a square.
        teacher: ``efficientad`` for the published weights, ``bundled`` for those in this package, the path of a
            ``.safetensors`` or ``.pth`` file, or ``auto``: the published ones if they are present or reachable, else
            the bundled ones.
        penalty_images: ``imagenette``, ``bundled``, a folder of natural images, or ``auto``: Imagenette if it is
            present, else the bundled ones.
        schedule: ``paper`` trains by the paper: 70,000 steps (unless the trainer has a limit of its own) at a learning
            rate of 1e-4, a tenth of it for the last 5 %. ``fast`` trains at ten times that rate, which falls evenly to
            almost nothing over the last 60 % of the steps, or of the time (``trainer.max_time``).
        lr: Learning rate of Adam; by default the schedule's.
        weight_decay: Weight decay of Adam.
        cache_gib: Memory, in GiB, for images of training and validation that are read and resized once, and for what
            the teacher says about those of training; each is kept only if all of it fits. 0 keeps nothing.
        compile: Whether to compile the training step with ``torch.compile``: some minutes at the start for faster
            steps.
        pre_processor: Anomalib's pre-processor, or whether to use the default one. Must not normalise.
        post_processor: Anomalib's post-processor, or whether to use the default one.
        evaluator: Anomalib's evaluator, or whether to use the default one.
        visualizer: Anomalib's visualizer, or whether to use the default one.
        **networks: What :class:`~.torch_model.SCDAEModel` takes: ``branches``, ``fusion``, ``cosine_weight``,
            ``context_weight``, ``model_size`` and the rest.

    Raises:
        UserError: If an argument does not make sense; in one sentence.

    Example:
        >>> from anomalib.data import MVTecLOCO
        >>> from anomalib.engine import Engine
        >>> from anomalib_scdae import SCDAE
        >>> Engine(max_steps=1000).train(SCDAE(), datamodule=MVTecLOCO(train_batch_size=1))  # doctest: +SKIP
    """

    model: SCDAEModel
    pre_processor: PreProcessor | None
    post_processor: PostProcessor | None
    evaluator: Evaluator | None

    def __init__(
        self,
        image_size: int | list[int] = 256,
        teacher: str = "auto",
        penalty_images: str = "auto",
        schedule: ScheduleName = "paper",
        lr: float | None = None,
        weight_decay: float = 1e-5,
        cache_gib: float = 2.0,
        compile: bool = False,  # noqa: A002 - the name that users know
        pre_processor: PreProcessor | bool = True,
        post_processor: PostProcessor | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
        **networks: Any,
    ) -> None:
        size = height_and_width(image_size)
        check_image_size(size)
        check_choice("schedule", schedule, ScheduleName)
        self.schedule = SCHEDULES[schedule]
        rate = self.schedule.lr if lr is None else lr  # not `lr`: whether it was given is a hyper-parameter
        for name, value in {"lr": rate, "weight_decay": weight_decay, "cache_gib": cache_gib}.items():
            check_not_negative(name, value)
        with torch.inference_mode(mode=False):  # tensors that are made there can never be trained
            super().__init__(
                pre_processor=self.configure_pre_processor(size) if pre_processor is True else exact(pre_processor),
                post_processor=post_processor,
                evaluator=evaluator,
                visualizer=visualizer,
            )
            self.model = SCDAEModel(**networks).to(memory_format=torch.channels_last)
        self.lr, self.weight_decay, self.compile_losses = rate, weight_decay, compile
        self.hparams.update(self.model.options)
        self.inputs = TrainingInputs(str(teacher), str(penalty_images))
        self.calibration, self.resume, self.image_cache = Calibration(), ExactResume(), ImageCache(cache_gib)
        self.finite_loss, self.training_files = FiniteLoss(), TrainingFiles()
        self._teacher_cache: TeacherCache | None = None
        self._trained_from: Path | None = None

    # -- what Anomalib asks of a model ------------------------------------------------------------------------------

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Arguments that override the user's: a validation before training would calibrate untrained weights."""
        return {"num_sanity_val_steps": 0}

    @property
    def learning_type(self) -> LearningType:
        """Trained on normal images only."""
        return LearningType.ONE_CLASS

    @staticmethod
    def configure_pre_processor(image_size: tuple[int, int] | None = None) -> PreProcessor:
        """Resize only: the networks normalise their input by themselves.

        Not in a composition, of which Anomalib's tiled ensemble, that resizes by itself, would leave an empty one.
        """
        return ExactPreProcessor(Resize(image_size or (256, 256), antialias=True))

    def configure_post_processor(self) -> PostProcessor:
        """Return a post-processor that never maps two different scores to one."""
        return MonotonePostProcessor()

    @staticmethod
    def configure_evaluator() -> Evaluator:
        """Return the usual figures, and image AUROC and AU-sPRO per anomaly type, all from raw scores and maps."""
        return loco_evaluator()

    def configure_callbacks(self) -> Sequence[Callback]:
        """Add our callbacks; calibration must come before the post-processor and the evaluator."""
        components = super().configure_callbacks()
        components = [components] if isinstance(components, Callback) else components
        ours = [self.image_cache, self.training_files, self.finite_loss, self.calibration, self.resume]
        return [*ours, StepTimeNotice(), ProgressSentences(), Rescue(), *components]

    # -- training ---------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Tell what is wrong with the folders of a data set, now that it is downloaded."""
        set_up(self.trainer.datamodule, self.trainer.state.fn)

    def setup(self, stage: str) -> None:
        """Refuse what could not end well, before anything is loaded."""
        guard_checkpoints(self.trainer, SCDAE)
        check_precision(self.trainer)
        if stage == TrainerFn.FITTING:
            self._trained_from = None  # until a checkpoint is loaded
            check_training(self.trainer)
            check_before_training(self.trainer.datamodule)
        datamodule = self.trainer.datamodule
        if isinstance(datamodule, AnomalibDataModule) and not hasattr(datamodule, "val_data"):
            # Asked for it, Anomalib's datamodules would fail; calibration falls back on training images.
            self.trainer.limit_val_batches = 0

    def on_train_start(self) -> None:
        """Load the inputs, and compute the teacher's statistics unless a checkpoint has brought them."""
        start = time.perf_counter()
        self.model.train()  # Lightning leaves the mode as it is: a model that has just predicted would not train
        self.inputs.load_teacher(self.model)
        size = training_image_size(self.trainer, self.transformed)
        check_pool_size(self.model, size)
        source = self.inputs.open_penalty_images(size, self.resume.seed, resumed=bool(self.trainer.ckpt_path))
        rank_zero_info(f"SCDAE: teacher {self.inputs.resolved['teacher']}; penalty images {source}.")
        room = self.image_cache.room(self.trainer)
        dataset = training_dataset(self.trainer) if gives_images_as_read(self.trainer) else None
        cache = TeacherCache.fitting(self.model, size, dataset, self.pre_processor, room)
        if "penalty_images" not in self.inputs.resolved or not self.trainer.ckpt_path:  # not those of what is resumed
            fit_statistics(self.model, self.trainer, self.transformed, cache)
            share_with_averages(self.trainer, self)
        precise = TeacherCache.is_precise(self.model.teacher_mean, self.model.teacher_std)
        self._teacher_cache = cache if precise else None
        # Only now: a training that fails on an unreadable image must compute the statistics when it is tried again.
        self.inputs.resolved["penalty_images"] = source
        if self.compile_losses:
            self.model.compile_losses()
        lay_out_like_parameters(self.optimizers(use_pl_optimizer=False))  # type: ignore[arg-type]
        self.start_learning(since=start)
        self.apply_learning_rate()

    def training_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Compute the loss of a batch and log it term by term."""
        del batch_idx
        images, trainer = images_of(batch), self.trainer
        count, step = len(images), trainer.fit_loop.epoch_loop.total_batch_idx
        penalty_images = self.inputs.read_penalty_images(step, count, trainer.global_rank, trainer.world_size)
        teacher = self._teacher_cache.of(batch) if self._teacher_cache is not None else None
        terms = self.model(
            images,
            penalty_images.to(self.device, non_blocking=True),
            teacher,
            self.schedule.hard_quantile(self.share_done(trainer.global_step)),
            self.schedule.augmented,
        )
        loss = torch.stack(list(terms.values())).sum()
        self.log_dict({f"train_{name}": term.detach() for name, term in terms.items()}, batch_size=count)
        # Under EfficientAd's names, which people monitor: train_loss_step, and the epoch's mean as train_loss_epoch.
        self.log("train_loss", loss.detach(), on_step=True, on_epoch=True, prog_bar=True, batch_size=count)
        return loss

    def on_train_end(self) -> None:
        """Stop preparing penalty images, and forget the teacher's features."""
        self.inputs.close()
        self._teacher_cache = None

    def validation_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Keep the distances for the calibration, which computes scores and maps when the pass is over."""
        del batch_idx
        return self.calibration.add(batch, self.model.distances(images_of(batch)))

    def on_validation_start(self) -> None:
        """Refuse weights that nothing was trained with, which a validation of its own would calibrate."""
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            check_trained(self.model)

    def on_test_start(self) -> None:
        """Refuse figures that would mean nothing."""
        check_trained(self.model)
        self.calibration.warn_if_outdated(self)
        self.calibration.ensure_compact(self.trainer, self)

    def on_predict_start(self) -> None:
        """Refuse scores that would mean nothing."""
        self.on_test_start()

    def transformed(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the pre-processor's transform, if there is one, as Anomalib does before each step."""
        return transformed(self.pre_processor, images)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a training run when the module is exported whole."""
        return {**super().__getstate__(), "_teacher_cache": None, "_unlimited": None}
