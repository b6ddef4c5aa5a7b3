# SPDX-License-Identifier: Apache-2.0
"""SCDAE as a model of Anomalib."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from anomalib import LearningType, TaskType
from anomalib.data import AnomalibDataModule, Batch
from anomalib.data.transforms.utils import extract_transforms_by_type
from anomalib.deploy import CompressionType, ExportType
from anomalib.metrics import Evaluator
from anomalib.models.components import AnomalibModule
from anomalib.models.components.base.export_mixin.utils import create_export_root
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import Visualizer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torchmetrics import Metric
from torchvision.transforms.v2 import Compose, Normalize, Resize

from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs.penalty import PenaltyReader, load_penalty_images
from anomalib_scdae.inputs.teacher import load_teacher
from anomalib_scdae.metrics import loco_evaluator
from anomalib_scdae.model.aggregation import Aggregation
from anomalib_scdae.model.crm import CRMGate
from anomalib_scdae.model.deploy.int8 import check_quantizable, quantize
from anomalib_scdae.model.deploy.post_processing import MonotonePostProcessor
from anomalib_scdae.model.deploy.pre_processing import ExactPreProcessor
from anomalib_scdae.model.image_size import check_image_size, height_and_width
from anomalib_scdae.model.loss import CosineScale
from anomalib_scdae.model.networks import ModelSize
from anomalib_scdae.model.sfm import FusionGate
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.calibration import Calibration, images_of, training_dataset
from anomalib_scdae.model.training.channel_statistics import channel_mean_std
from anomalib_scdae.model.training.exact_resume import ExactResume
from anomalib_scdae.model.training.image_cache import CachedImages, always_gives_the_same_images, is_repeatable
from anomalib_scdae.model.training.step_time import StepTimeNotice
from anomalib_scdae.model.training.teacher_cache import TeacherCache

#: The paper's training length, in steps of one image (section 2.1).
PAPER_STEPS = 70_000

#: A datamodule's datasets that are read again and again, the one that is read most first.
CACHED_DATASETS = ("train_data", "val_data")

#: Constructor arguments that decide which parameters the model has and what they mean.
ARCHITECTURE = (
    "branches",
    "fusion",
    "cosine_weight",
    "cosine_scale",
    "model_size",
    "teacher_out_channels",
    "padding",
    "pad_maps",
    "local_weight",
    "pool_size",
    "aggregation",
    "crm_gate",
    "fusion_gate",
    "identity_init",
)


class SCDAE(AnomalibModule):
    """Spatial-channel dual autoencoders on EfficientAD (Liang & Chen, 2024).

    Finds logical anomalies (a missing screw) as well as structural ones (a scratch). Trains with any batch size and any
    image size from 256 x 256 on; with ``branches=[[]]`` and ``cosine_weight=0`` it is EfficientAD.

    Args:
        branches: One entry per autoencoder: the modules that its output passes, in order, out of ``srm`` and ``crm``.
        fusion: Whether the selective fusion module (SFM) weighs the branches against each other.
        cosine_weight: Weight lambda of the cosine term in the CSF loss (equation 17); 0 leaves it out.
        cosine_scale: What that term is weighed against: ``norm`` (squared norms, as in the equations, so by lambda / C)
            or ``mean`` (their means over the channels, so by lambda).
        model_size: Size of the patch description network: ``small`` or ``medium``.
        image_size: Height and width that images are resized to; one number for a square.
        teacher: ``efficientad`` for the published weights, ``bundled`` for those in this package, the path of a
            ``.safetensors`` or ``.pth`` file, or ``auto``: the published ones if they are present or reachable, else
            the bundled ones.
        penalty_images: ``imagenette``, ``bundled``, a folder of natural images, or ``auto``: Imagenette if it is
            present, else the bundled ones.
        teacher_out_channels: Feature channels ``C`` of the teacher.
        lr: Learning rate of Adam; a tenth of it for the last 5 % of the steps.
        weight_decay: Weight decay of Adam.
        padding: Whether the networks pad their convolutions.
        pad_maps: Whether to frame the anomaly maps with zeros where an unpadded network has lost its border.
        local_weight: Weight of the local map (teacher against student) in the anomaly map, from 0 to 1; the global
            ones share the rest. Less than EfficientAD's half finds more logical and fewer structural anomalies.
        pool_size: Pooling factor r of SRM (equations 1 and 2).
        aggregation: How SRM and CRM sum over the positions: ``sum`` (the equations as they stand), ``mean`` or
            ``softmax``.
        crm_gate: How CRM's channel ratings act: ``plain`` (X2 I), ``residual`` ((1 + X2) I) or ``rescaled`` (2 X2 I).
        fusion_gate: How SFM's weights act: ``plain`` (N_k O_k) or ``rescaled`` (so that equal weights change nothing).
        identity_init: Whether SRM, CRM and SFM start as the identity, so that training starts from EfficientAD.
        cache_gib: Memory, in GiB, for images of training and validation that are read and resized once, and for what
            the teacher says about those of training; each is kept only if all of it fits. 0 keeps nothing.
        compile: Whether to compile the training step with ``torch.compile``: some minutes at the start for faster
            steps.
        pre_processor: Anomalib's pre-processor, or whether to use the default one. Must not normalise.
        post_processor: Anomalib's post-processor, or whether to use the default one.
        evaluator: Anomalib's evaluator, or whether to use the default one.
        visualizer: Anomalib's visualizer, or whether to use the default one.

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
        branches: list[list[str]] = [["srm"], ["crm"]],  # noqa: B006 - never changed; a tuple would not print as YAML
        fusion: bool = True,
        cosine_weight: float = 0.5,
        cosine_scale: CosineScale = "norm",
        model_size: ModelSize = "small",
        image_size: int | list[int] = 256,
        teacher: str = "auto",
        penalty_images: str = "auto",
        teacher_out_channels: int = 384,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        padding: bool = False,
        pad_maps: bool = True,
        local_weight: float = 0.5,
        pool_size: int = 4,
        aggregation: Aggregation = "mean",
        crm_gate: CRMGate = "rescaled",
        fusion_gate: FusionGate = "rescaled",
        identity_init: bool = True,
        cache_gib: float = 2.0,
        compile: bool = False,  # noqa: A002 - the name that users know
        pre_processor: PreProcessor | bool = True,
        post_processor: PostProcessor | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        size = height_and_width(image_size)
        check_image_size(size)
        super().__init__(
            pre_processor=self.configure_pre_processor(size) if pre_processor is True else pre_processor,
            post_processor=post_processor,
            evaluator=evaluator,
            visualizer=visualizer,
        )
        self.teacher_source, self.penalty_source = str(teacher), str(penalty_images)
        self.lr, self.weight_decay = lr, weight_decay
        self.model = self._build_model(self.hparams)
        self.calibration = Calibration()
        self.resume = ExactResume()
        #: What ``teacher`` and ``penalty_images`` turned out to be; empty until training has started.
        self.resolved_inputs: dict[str, str] = {}
        self._trained_from: Path | None = None
        self._penalty_reader: PenaltyReader | None = None
        self.cache_gib, self.compile_losses = cache_gib, compile
        self._teacher_cache: TeacherCache | None = None
        self._losses: Callable[..., dict[str, torch.Tensor]] | None = None

    @staticmethod
    def _build_model(options: Any) -> SCDAEModel:
        """Build the networks from hyper-parameters, of this instance or of a checkpoint.

        Channels last is how convolutions want their memory: otherwise, in bf16 on a CPU, a third of a step goes into
        copying it there and back. Only the weights need be laid out so; what they are applied to follows.
        """
        arguments = {name: options[name] for name in ARCHITECTURE if name in options}
        model = SCDAEModel(channels=arguments.pop("teacher_out_channels"), **arguments)
        return model.to(memory_format=torch.channels_last)

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
        """Resize only: the networks normalise their input by themselves."""
        return ExactPreProcessor(Compose([Resize(image_size or (256, 256), antialias=True)]))

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
        return [self.calibration, self.resume, StepTimeNotice(), *components]

    # -- training ---------------------------------------------------------------------------------------------------

    @LightningModule.trainer.setter  # type: ignore[attr-defined]
    def trainer(self, trainer: Trainer | None) -> None:
        """Attach the trainer, and give it the paper's number of steps if the user gave neither steps, epochs nor time.

        A hook would come too late: Lightning replaces a missing limit by 1000 epochs before it calls the first one.
        """
        LightningModule.trainer.fset(self, trainer)  # type: ignore[attr-defined]
        if (
            trainer is not None
            and trainer.state.fn == TrainerFn.FITTING
            and trainer.max_epochs is None
            and trainer.max_steps == -1
            and not any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        ):
            trainer.fit_loop.epoch_loop.max_steps = PAPER_STEPS
            rank_zero_info(
                f"Neither max_steps nor max_epochs is given: training for the paper's {PAPER_STEPS:,} steps "
                "(--trainer.max_steps changes that)."
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, with a tenth of the learning rate after 95 % of the steps (section 2.1 and EfficientAD)."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        # One pass over the memory instead of a dozen. Lightning cannot clip the gradients of a fused optimizer in fp16.
        fused = self.device.type in ("cpu", "cuda") and not self.trainer.gradient_clip_val
        optimizer = torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=fused)
        steps = self.trainer.estimated_stepping_batches
        milestone = int(0.95 * (steps if steps != float("inf") else PAPER_STEPS))
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[max(1, milestone)], gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def setup(self, stage: str) -> None:
        """Refuse what could not end well, before anything is loaded."""
        if stage != TrainerFn.FITTING:
            return
        if self.pre_processor is not None and extract_transforms_by_type(self.pre_processor.transform, Normalize):
            msg = "The pre-processor holds a Normalize, but SCDAE's networks normalise by themselves: remove it."
            raise UserError(msg)
        if self.trainer.datamodule is not None and not hasattr(self.trainer.datamodule, "val_data"):
            # Asked for it, Anomalib's datamodules would fail; calibration falls back on training images.
            self.trainer.limit_val_batches = 0
        if self.trainer.world_size > 1 and self.trainer.datamodule is None:
            msg = (
                "Training in several processes needs a datamodule instead of loaders, so that each process can "
                "compute the statistics of the whole set: pass datamodule=..., or use one device."
            )
            raise UserError(msg)

    def on_fit_start(self) -> None:
        """Load the teacher, unless a checkpoint has brought it, and make room for the images."""
        self._cache_images()
        if "teacher" in self.resolved_inputs:
            return
        options = self.hparams
        teacher = load_teacher(self.teacher_source, options["model_size"], options["teacher_out_channels"])
        self.model.teacher.load_state_dict(teacher.state_dict)
        self.resolved_inputs = {"teacher": teacher.source, "teacher_sha256": teacher.sha256}

    def on_train_start(self) -> None:
        """Prepare the penalty images and the teacher's statistics."""
        self.model.train()  # Lightning leaves the mode as it is: a model that has just predicted would not train
        size = self._training_image_size()
        penalty_images = load_penalty_images(self.penalty_source, size, seed=self.resume.seed)
        self._penalty_reader = PenaltyReader(penalty_images)
        rank_zero_info(f"SCDAE: teacher {self.resolved_inputs['teacher']}; penalty images {penalty_images.source}.")
        if "penalty_images" not in self.resolved_inputs:  # neither trained before nor taken from a checkpoint
            mean, std = channel_mean_std(self._teacher_features_of_training_set())
            self.model.teacher_mean.copy_(mean)
            self.model.teacher_std.copy_(std)
        # Only now: a training that fails on an unreadable image must compute the statistics when it is tried again.
        self.resolved_inputs["penalty_images"] = penalty_images.source
        self._prepare_fast_paths(size)

    def _cache_images(self) -> None:
        """Keep the images of training and validation in memory, if they are the same in every epoch and fit."""
        datamodule = self.trainer.datamodule
        if datamodule is None:
            return
        _restore_datasets(datamodule)
        workers = getattr(datamodule, "num_workers", 0)
        for name in CACHED_DATASETS:
            room = self.cache_gib * 2**30 - _cached_bytes(datamodule)
            with isolate_rng():
                cached = CachedImages.wrap(getattr(datamodule, name, None), room, workers)
            if cached is not None:
                setattr(datamodule, name, cached)

    def _prepare_fast_paths(self, size: tuple[int, int]) -> None:
        """Set up the teacher's cache, if all fits, and the compiled losses, if wanted."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)  # noqa: S101 - for the type checker
        _lay_out_like_parameters(optimizer)
        self._losses = _compiled(self.model.losses, self.device) if self.compile_losses else self.model.losses
        dataset = training_dataset(self.trainer)
        features = self._teacher_features(torch.zeros(1, 3, *size, device=self.device)).numel() * 2 * len(dataset)
        transform = self.pre_processor.transform if self.pre_processor is not None else None
        same = always_gives_the_same_images(dataset) and is_repeatable(transform)
        fits = _cached_bytes(self.trainer.datamodule) + features <= self.cache_gib * 2**30
        self._teacher_cache = TeacherCache(self._teacher_features) if same and fits else None

    def _teacher_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the normalised features in full precision."""
        with torch.autocast(self.device.type, enabled=False):
            return self.model.teacher_features(images.float())

    def transformed(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the pre-processor's transform, if there is one, as Anomalib does before each step."""
        if self.pre_processor is None or self.pre_processor.transform is None:
            return images
        return self.pre_processor.transform(images)

    def _training_image_size(self) -> tuple[int, int]:
        """Return the height and width that the networks will see."""
        with isolate_rng():
            item: Any = training_dataset(self.trainer)[0]
        height, width = self.transformed(item.image[None]).shape[-2:]
        check_image_size((height, width))
        return height, width

    @torch.no_grad()
    def _teacher_features_of_training_set(self) -> Iterator[torch.Tensor]:
        """Run the teacher over the whole training set, in float32; also finds unreadable images before training."""
        datamodule = self.trainer.datamodule
        loader = datamodule.train_dataloader() if datamodule is not None else self.trainer.train_dataloader
        with isolate_rng(), torch.autocast(self.device.type, enabled=False):
            try:
                for batch in loader:
                    yield self.model.teacher(self.transformed(batch.image.to(self.device)).float())
            except OSError as error:
                msg = f"A training image cannot be read ({error}): repair it or remove it from the training folder."
                raise UserError(msg) from error

    def training_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Compute the loss of a batch and log it term by term."""
        del batch_idx
        images = images_of(batch)
        terms = self.model(images, self._next_penalty_images(len(images)), self._known_teacher(batch), self._losses)
        loss = torch.stack(list(terms.values())).sum()
        self.log_dict({f"train_{name}": term.detach() for name, term in terms.items()}, batch_size=len(images))
        self.log("train_loss", loss.detach(), prog_bar=True, batch_size=len(images))
        return loss

    def _known_teacher(self, batch: Batch) -> torch.Tensor | None:
        """Return the teacher's features of the clean images from the cache, if there is one."""
        paths = getattr(batch, "image_path", None)
        if self._teacher_cache is None or paths is None:
            return None
        return self._teacher_cache([str(path) for path in paths], images_of(batch))

    def _next_penalty_images(self, count: int) -> torch.Tensor:
        """Return the step's penalty images; which ones depends on the step and the process only."""
        assert self._penalty_reader is not None  # noqa: S101 - for the type checker; on_train_start has made it
        step, world_size = self.trainer.fit_loop.epoch_loop.total_batch_idx, self.trainer.world_size
        first = (step * world_size + self.trainer.global_rank) * count
        return self._penalty_reader.read(first, count, stride=world_size * count).to(self.device, non_blocking=True)

    def on_train_end(self) -> None:
        """Stop preparing penalty images, and forget the teacher's features."""
        if self._penalty_reader is not None:
            self._penalty_reader.close()
        self._teacher_cache = self._losses = None

    def on_fit_end(self) -> None:
        """Give the datamodule its own datasets back."""
        if self.trainer.datamodule is not None:
            _restore_datasets(self.trainer.datamodule)

    def validation_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Keep the raw maps for the calibration; what the batch gets here is provisional until the pass is over."""
        del batch_idx
        images = images_of(batch)
        maps = self.model.raw_maps(images)
        self.calibration.add(batch, maps)
        anomaly_map = self.model.anomaly_map(maps, images.shape[-2:])
        return batch.update(pred_score=anomaly_map.amax(dim=(-2, -1)), anomaly_map=anomaly_map)

    # -- export -----------------------------------------------------------------------------------------------------

    def to_onnx(self, *args: Any, **kwargs: Any) -> Path:  # type: ignore[override]
        """Export to ONNX as Anomalib does, in the opset that torch writes.

        Anomalib's default of 14 makes the exporter convert the graph back, which fails with a traceback that looks like
        an error, and leaves the graph as it was.
        """
        kwargs.setdefault("opset_version", 18)
        model = self.model
        # A graph is traced from modules that are registered, which the folded model otherwise is not.
        self.model = cast("SCDAEModel", model.folded())
        try:
            return super().to_onnx(*args, **kwargs)
        finally:
            self.model = model

    def to_openvino(
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        compression_type: CompressionType | None = None,
        datamodule: AnomalibDataModule | None = None,
        metric: Metric | None = None,
        task: TaskType | None = None,
        max_drop: float = 0.01,
        ov_kwargs: dict[str, Any] | None = None,
        onnx_kwargs: dict[str, Any] | None = None,
    ) -> Path:
        """Export to OpenVINO as Anomalib does; INT8 as :func:`~anomalib_scdae.model.deploy.int8.quantize` says.

        Anomalib's own calibration fails with a fixed input size, and its ``INT8_ACQ`` watches the test images.
        """
        check_quantizable(compression_type, datamodule, max_drop)
        options: dict[str, Any] = {"ov_kwargs": ov_kwargs, "onnx_kwargs": onnx_kwargs}
        if compression_type in {None, CompressionType.FP16}:
            return super().to_openvino(export_root, model_file_name, input_size, compression_type, **options)
        import openvino

        with TemporaryDirectory() as folder:
            path = super().to_openvino(folder, model_file_name, input_size, **options)
            model = openvino.Core().read_model(path)
            quantized = quantize(model, CompressionType(compression_type), datamodule, metric, max_drop)
            target = create_export_root(export_root, ExportType.OPENVINO) / path.name
            openvino.save_model(quantized, target, compress_to_fp16=False)
        return target

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make sure that the statistics belong to the weights, and note what the inputs turned out to be."""
        super().on_save_checkpoint(checkpoint)
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.calibration.ensure(self.trainer, self)
            # The state was collected before this hook; only buffers can have changed since.
            saved = checkpoint["state_dict"]
            saved.update({name: value for name, value in self.state_dict().items() if name in saved})
        checkpoint["scdae_inputs"] = dict(self.resolved_inputs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the architecture from the checkpoint, so that test, predict and export need no option repeated."""
        super().on_load_checkpoint(checkpoint)
        self.resolved_inputs = dict(checkpoint.get("scdae_inputs", {}))
        self._adopt_architecture(checkpoint.get("hyper_parameters", {}))
        if self._trainer is None:
            return
        trainer = self.trainer
        if trainer.state.fn == TrainerFn.FITTING:
            self._trained_from = _resolved(trainer.ckpt_path)
        elif trainer.state.fn == TrainerFn.TESTING and self._trained_from == _resolved(trainer.ckpt_path) is not None:
            self._keep_trained_weights(checkpoint)
        if trainer.datamodule is not None and trainer.state.fn is not None:
            # The checkpoint's pre-processor may resize to another size than the one the datasets were set up with.
            trainer.datamodule.setup(trainer.state.fn)

    def _adopt_architecture(self, saved: dict[str, Any]) -> None:
        """Rebuild the networks if the checkpoint's options differ from this instance's."""
        different = [name for name in ARCHITECTURE if name in saved and saved[name] != self.hparams[name]]
        if not different:
            return
        rank_zero_info("From the checkpoint: " + ", ".join(f"{name}={saved[name]!r}" for name in different) + ".")
        self.hparams.update({name: saved[name] for name in different})
        self.model = self._build_model(self.hparams).to(self.device)

    def _keep_trained_weights(self, checkpoint: dict[str, Any]) -> None:
        """Test what training has just made: `anomalib train --ckpt_path` would load the old checkpoint once more."""
        checkpoint["state_dict"] = self.state_dict()
        checkpoint["callbacks"] = {}  # the post-processor is a callback too, and would get its old thresholds back
        rank_zero_warn(
            "Testing the weights that training has just made, not the checkpoint it started from "
            f"({self._trained_from}); for the figures of the latter, run `anomalib test` with it."
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a training run when the module is exported whole."""
        return {**self.__dict__, "_penalty_reader": None, "_teacher_cache": None, "_losses": None}


def _resolved(path: str | Path | None) -> Path | None:
    return Path(path).resolve() if path else None


def _cached_datasets(datamodule: Any) -> dict[str, CachedImages]:
    """Return a datamodule's datasets that have a cache, by name."""
    datasets = {name: getattr(datamodule, name, None) for name in CACHED_DATASETS}
    return {name: dataset for name, dataset in datasets.items() if isinstance(dataset, CachedImages)}


def _cached_bytes(datamodule: Any) -> int:
    """Return what those caches take when they are full."""
    return sum(cached.nbytes for cached in _cached_datasets(datamodule).values())


def _restore_datasets(datamodule: Any) -> None:
    """Take away the caches from a datamodule's images."""
    for name, cached in _cached_datasets(datamodule).items():
        setattr(datamodule, name, cached.original)


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Lay out a restored optimizer's state in memory as its parameters are, which fused Adam takes for granted."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.dim():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _compiled(losses: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Compile the training losses, without graph breaks."""
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl"))):
        msg = "compile=True needs a C++ compiler on a CPU, and none is found: install g++, or leave compile off."
        raise UserError(msg)
    return torch.compile(losses, fullgraph=True, dynamic=False)
