# SPDX-License-Identifier: Apache-2.0
"""SCDAE's networks wired together (paper, section 1.1)."""

import inspect
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from anomalib.data import InferenceBatch
from torch import nn

from anomalib_scdae.errors import UserError, check_at_least_one, check_choice, check_not_negative
from anomalib_scdae.model.aggregation import Aggregation
from anomalib_scdae.model.anomaly_map import AnomalyMapMerger
from anomalib_scdae.model.augmentation import augment
from anomalib_scdae.model.context_score import ContextScore, cell_means
from anomalib_scdae.model.crm import ChannelReunionModule, CRMGate
from anomalib_scdae.model.distances import DistanceModel, Distances
from anomalib_scdae.model.fast.compact import CompactSCDAE
from anomalib_scdae.model.fast.compaction import Compaction
from anomalib_scdae.model.fast.folding import FoldedSCDAE
from anomalib_scdae.model.fast.hard_distances import largest_distances
from anomalib_scdae.model.image_size import check_image_size
from anomalib_scdae.model.loss import HARD_QUANTILE, CosineScale, SCDAELoss, hard_count
from anomalib_scdae.model.networks import Branch, ModelSize, Student, patch_description_network
from anomalib_scdae.model.sfm import FusionGate, SelectiveFusionModule
from anomalib_scdae.model.srm import SpatialReunionModule

#: What an argument stood for before it existed.
ABSENT_BEFORE = {"context_weight": 0.0, "compact": False}


class GlobalFeatures(NamedTuple):
    """What the branches make of a batch: ``O_k`` before and ``Y_k`` after fusion, each ``(B, C, h, w)``."""

    outputs: list[torch.Tensor]
    fused: list[torch.Tensor]


class SCDAEModel(DistanceModel):
    """Teacher, student, parallel autoencoders with global context, their fusion, the loss and the map merger.

    In training mode, :meth:`forward` returns the loss terms; in evaluation mode, scores and anomaly maps.
    With ``branches=[[]]``, ``cosine_weight=0`` and ``context_weight=0`` the model is EfficientAD.

    Args:
        branches: One entry per autoencoder: the modules that its output passes, in order, out of ``"srm"`` and
            ``"crm"``. ``[["srm"], ["crm"]]`` is SCDAE, ``[["crm", "srm"]]`` the series variant of Fig. 8.
        fusion: Whether SFM weighs the branches against each other. Without effect for a single branch.
        cosine_weight: ``lambda`` of equation 17; 0 leaves the cosine term out.
        cosine_scale: What the cosine term is weighed against; see :class:`~anomalib_scdae.model.loss.SCDAELoss`.
        model_size: Size of the PDN of teacher and student; the paper does not state it.
        teacher_out_channels: Feature channels ``C``.
        padding: Whether the PDN and the decoder pad their convolutions.
        pad_maps: Whether to frame the maps with zeros where an unpadded PDN has lost its border; a padded one has not.
        local_weight: Weight of the local map in the anomaly map; the global ones share the rest.
        pool_size: ``r`` of equations 1 and 2.
        aggregation: How SRM and CRM sum over the positions (equations 6 and 9).
        crm_gate: How CRM's ratings act on its input.
        fusion_gate: How SFM's weights act on the branches.
        identity_init: Start SRM, CRM and SFM as the identity (where their gates allow it), so that training starts
            from EfficientAD.
        context_weight: Weight of the context score in the image's score, see
            :class:`~anomalib_scdae.model.context_score.ContextScore`; 0 leaves it out, as the paper does.
        compact: Whether to predict and export with less arithmetic, once
            :class:`~anomalib_scdae.model.fast.compaction.Compaction` is fitted: maps are then nearly the same. Training
            is not changed.
    """

    def __init__(
        self,
        branches: list[list[str]] = [["srm"], ["crm"]],  # noqa: B006 - never changed; a tuple would not print as YAML
        fusion: bool = True,
        cosine_weight: float = 0.5,
        cosine_scale: CosineScale = "norm",
        model_size: ModelSize = "small",
        teacher_out_channels: int = 384,
        padding: bool = False,
        pad_maps: bool = True,
        local_weight: float = 0.5,
        pool_size: int = 4,
        aggregation: Aggregation = "mean",
        crm_gate: CRMGate = "rescaled",
        fusion_gate: FusionGate = "rescaled",
        identity_init: bool = True,
        context_weight: float = 1.0,
        compact: bool = False,
    ) -> None:
        super().__init__()
        #: Every argument by name, for checkpoints.
        self.options = {name: value for name, value in locals().items() if name in _defaults()}
        channels = teacher_out_channels
        _check_branches(branches)
        check_at_least_one("teacher_out_channels", teacher_out_channels)
        check_at_least_one("pool_size", pool_size)
        check_not_negative("cosine_weight", cosine_weight)
        check_choice("cosine_scale", cosine_scale, CosineScale)
        check_choice("aggregation", aggregation, Aggregation)
        check_choice("crm_gate", crm_gate, CRMGate)
        check_choice("fusion_gate", fusion_gate, FusionGate)
        self.model_size, self.channels = model_size, channels
        self.teacher = patch_description_network(model_size, channels, padding).requires_grad_(requires_grad=False)
        self.student = Student(model_size, channels, padding)

        def module(name: str) -> nn.Module:
            if name == "srm":
                return SpatialReunionModule(channels, pool_size, aggregation, identity_init)
            return ChannelReunionModule(channels, aggregation=aggregation, gate=crm_gate, identity_init=identity_init)

        self.branches = nn.ModuleList(Branch(channels, [module(n) for n in names], padding) for names in branches)
        self.fusion = (
            SelectiveFusionModule(channels, len(branches), gate=fusion_gate, identity_init=identity_init)
            if fusion and len(branches) > 1
            else None
        )
        self.loss = SCDAELoss(cosine_weight, cosine_scale)
        self.anomaly_map = AnomalyMapMerger(len(branches), pad_maps and not padding, local_weight)
        self.context_score = ContextScore(channels, context_weight) if context_weight else None
        self.compaction = Compaction(channels, len(branches)) if compact else None
        self.teacher_mean: torch.Tensor
        self.teacher_std: torch.Tensor
        #: The folded model and the state it belongs to; in a tuple, so that it is no part of this module.
        self._folded: tuple[tuple[tuple[int, int, int], ...], FoldedSCDAE] | None = None
        self._compiled: Callable[..., dict[str, torch.Tensor]] | None = None
        self.register_buffer("teacher_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("teacher_std", torch.ones(1, channels, 1, 1))

    @classmethod
    def options_of_checkpoint(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a checkpoint's hyper-parameters that are arguments of this class.

        A checkpoint from before an argument existed was made without what it stands for.
        """
        known = {name: value for name, value in saved.items() if name in _defaults()}
        return {**ABSENT_BEFORE, **known} if known else {}

    def forward(
        self,
        images: torch.Tensor,
        penalty_images: torch.Tensor | None = None,
        teacher: torch.Tensor | None = None,
        hard_quantile: float = HARD_QUANTILE,
        augmented: bool = True,
    ) -> dict[str, torch.Tensor] | InferenceBatch:
        """Compute the loss terms (training mode) or the predictions (evaluation mode).

        Args:
            images: RGB images in [0, 1], ``(B, 3, H, W)``, not normalised: the networks do that.
            penalty_images: Natural images ``(B', 3, H, W)`` for equation 12; only read in training mode.
            teacher: What :meth:`teacher_features` gives for ``images``, if known; only read in training mode.
            hard_quantile: Which distances the hard loss keeps; only read in training mode. Compiled losses keep the
                paper's.
            augmented: Whether the autoencoders see augmented images; only read in training mode.
        """
        check_image_size(images.shape[-2:])
        if self.training:
            self.forget_folded()  # the step that follows may not raise the weights' version: fused optimizers do not
            if penalty_images is None:
                msg = "Training needs penalty images: pass penalty_images, of the same size as the images."
                raise UserError(msg)
            seen = augment(images) if augmented else None
            if self._compiled is not None:  # for the paper's quantile alone: each other one would be compiled anew
                return self._compiled(images, seen, penalty_images, teacher)
            return self.losses(images, seen, penalty_images, teacher, hard_quantile)
        return self.prediction(self.distances(images), images.shape[-2:])

    @torch.no_grad()
    def calibrate(self, normal: Sequence[tuple[Distances, tuple[int, int]]], seen: bool = False) -> None:
        """Take from normal images what maps are normalised with, and what the context score is measured against.

        Args:
            normal: Distances of normal images, with their image size.
            seen: Whether these are training images.
        """
        self.anomaly_map.fit([(distances.maps, image_size) for distances, image_size in normal])
        if self.context_score is None:
            return
        device = self.teacher_mean.device
        scores = [self.anomaly_map(d.maps.to(device), size).amax(dim=(-2, -1)).flatten().cpu() for d, size in normal]
        context = [d.context.flatten().cpu() for d, _ in normal if d.context is not None]
        self.context_score.standardise(torch.cat(scores), torch.cat(context), seen)

    def losses(
        self,
        images: torch.Tensor,
        augmented: torch.Tensor | None,
        penalty_images: torch.Tensor,
        teacher: torch.Tensor | None = None,
        hard_quantile: float = HARD_QUANTILE,
    ) -> dict[str, torch.Tensor]:
        """Compute the loss terms of equation 19; see :class:`~anomalib_scdae.model.loss.SCDAELoss`.

        Only what a term reads is computed: ``S'`` of clean and penalty images, ``S''`` of augmented ones; and of the
        hard term's gradient only that of the distances it keeps.

        Args:
            images: Clean images, ``(B, 3, H, W)``.
            augmented: The same images, augmented; None for the clean ones once more, which then pass the teacher and
                the student's trunk only once.
            penalty_images: Natural images, ``(B', 3, H, W)``.
            teacher: What :meth:`teacher_features` gives for ``images``, if that is known already.
            hard_quantile: The paper's ``p_hard``: the hard term keeps the distances from this quantile on.
        """
        seen = [images] if augmented is None else [images, augmented]
        teachers = self._teacher_features(seen, teacher)
        trunk = self.student.trunk(torch.cat([*seen, penalty_images]))
        *trunks, penalty = trunk.split([len(batch) for batch in (*seen, penalty_images)])
        teacher_half, autoencoder_half = self.student.halves()
        features = self.global_features(seen[-1])
        return self.loss(
            largest_distances(trunks[0], *teacher_half, teachers[0], hard_count(teachers[0][0].numel(), hard_quantile)),
            teacher_half(penalty),
            teachers[-1],
            autoencoder_half(trunks[-1]),
            features.outputs,
            features.fused,
        )

    def _teacher_features(self, seen: list[torch.Tensor], first: torch.Tensor | None) -> list[torch.Tensor]:
        """Return :meth:`teacher_features` of every batch of one size, of which the first's may be known."""
        if first is None:
            return list(self.teacher_features(torch.cat(seen)).split(len(seen[0])))
        return [first, *(self.teacher_features(batch) for batch in seen[1:])]

    def compile_losses(self) -> None:
        """Compile :meth:`losses`, without graph breaks, for the training steps that follow.

        Raises:
            UserError: If a compiler is needed and none is installed.
        """
        on_cpu = next(self.parameters()).device.type == "cpu"
        if on_cpu and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl"))):
            msg = "compile=True needs a C++ compiler on a CPU, and none is found: install g++, or leave compile off."
            raise UserError(msg)
        self._compiled = torch.compile(self.losses, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def teacher_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``T``, normalised per channel, ``(B, C, h, w)`` in float32."""
        return self.normalised(self.teacher(images))

    def feature_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the features of such images; nothing is computed, and no random number drawn."""
        with torch.device("meta"):
            network = patch_description_network(self.model_size, 1, self.options["padding"])
        height, width = network(torch.empty(1, 3, *image_size, device="meta")).shape[-2:]
        return height, width

    def normalised(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise the teacher's features ``(B, C, h, w)`` per channel, in float32."""
        return (features.float() - self.teacher_mean) / self.teacher_std

    def global_features(self, images: torch.Tensor) -> GlobalFeatures:
        """Run the branches and fuse them."""
        outputs = [branch(images) for branch in self.branches]
        return GlobalFeatures(outputs, self.fusion(outputs) if self.fusion is not None else outputs)

    def distances(self, images: torch.Tensor) -> Distances:
        """Return how far images ``(B, 3, H, W)`` are from normal, before anything is normalised.

        Equation 11 for the local map ``(T - S')^2``; ``(Y_k - S'')^2`` for the global ones. In evaluation mode and
        without gradients of the weights, the folded model computes them; a compact model's are always the compact ones,
        with gradients of the images but not of the weights.
        """
        learns = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters())
        # What belongs to the present weights cannot be asked of those of a graph that is being made.
        if self.training or ((learns or torch.compiler.is_compiling()) and not self.is_compact):
            return self.plain_distances(images)
        return self.folded().distances(images)

    @property
    def is_compact(self) -> bool:
        """Whether predictions are those of a compact model, which takes its fit."""
        return self.compaction is not None and bool(self.compaction.is_fitted)

    def fit_compaction(self, batches: Iterable[torch.Tensor]) -> None:
        """Make the model compact, with what normal images ``(B, 3, H, W)`` say about the present weights."""
        if self.compaction is None:
            msg = "Only a model with compact=True can be made compact."
            raise UserError(msg)
        self.forget_folded()
        with torch.inference_mode(mode=False):
            self.compaction.fit(FoldedSCDAE(self), batches)
        self.forget_folded()

    def folded(self) -> FoldedSCDAE:
        """Return the model for inference that belongs to the present weights; made anew only when they change."""
        # In-place changes raise a tensor's version; moving or loading a model may put another tensor in its place.
        state = tuple((id(t), t.data_ptr(), t._version) for t in itertools.chain(self.parameters(), self.buffers()))
        if self._folded is None or self._folded[0] != state:
            with torch.inference_mode(mode=False):  # what is made there could not be exported later
                self._folded = (state, CompactSCDAE(self) if self.is_compact else FoldedSCDAE(self))
        return self._folded[1]

    def forget_folded(self) -> None:
        """Forget the folded model, where the weights may change without a trace, as by a write to their ``data``."""
        self._folded = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is made from the weights out of copies and files."""
        return {**self.__dict__, "_folded": None, "_compiled": None}

    def plain_distances(self, images: torch.Tensor) -> Distances:
        """Compute :meth:`distances` as the equations have it."""
        student_local, student_global = self.student(images)
        teacher = self.teacher_features(images)
        pairs = [(teacher, student_local)]
        pairs += [(fused, student_global) for fused in self.global_features(images).fused]
        maps = torch.cat([(a.float() - b.float()).square().mean(dim=1, keepdim=True) for a, b in pairs], dim=1)
        context = None if self.context_score is None else self.context_score(cell_means(teacher))
        return Distances(maps, context)

    @torch.no_grad()
    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return every branch's map, normalised and enlarged, ``(B, M, H, W)``: the local map, then one per branch."""
        check_image_size(images.shape[-2:])
        return self.anomaly_map.separate(self.distances(images).maps, images.shape[-2:])

    @torch.no_grad()
    def context_map(self, images: torch.Tensor) -> torch.Tensor | None:
        """Return what each position adds to the context score's distance, enlarged, ``(B, 1, H, W)``, if any."""
        if self.context_score is None or not self.context_score.is_fitted:
            return None
        picture = self.context_score.picture(self.teacher_features(images))
        return self.anomaly_map.enlarge(self.anomaly_map.pad(picture), images.shape[-2:])


def _defaults() -> dict[str, Any]:
    """Return the arguments of :class:`SCDAEModel` with their defaults."""
    parameters = inspect.signature(SCDAEModel.__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "self"}


def _check_branches(branches: Sequence[Sequence[str]]) -> None:
    example = "for example [[srm], [crm]]"
    if isinstance(branches, str) or not branches or any(isinstance(names, str) for names in branches):
        msg = f"branches must hold one list of modules per autoencoder, {example}; it is {branches!r}."
        raise UserError(msg)
    unknown = sorted({str(name) for names in branches for name in names} - {"srm", "crm"})
    if unknown:
        msg = f"branches names the unknown module {', '.join(unknown)}: use srm and crm, {example}."
        raise UserError(msg)
