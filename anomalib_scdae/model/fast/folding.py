# SPDX-License-Identifier: Apache-2.0
"""SCDAE as it is evaluated and exported: the same function of the images for less work.

What training needs apart, inference may put together, since between these steps nothing is non-linear:

- The teacher's normalisation goes into its last convolution, and the student's last convolution is subtracted from it:
  one convolution of both networks' features gives ``T - S'``.
- The decoder's last convolution (3 x 3, 64 to C channels) and SRM's first (3 x 3, C to C) become one of 5 x 5 from 64
  to C channels, for less than half of the work. Only the outermost pixels differ, since SRM pads the decoder's output
  with zeros; they are computed as before.
- CRM's two 1 x 1 convolutions become one, and one with the decoder's last: 64 channels instead of C are read.
- The context score reads averages of the teacher's features, which follow from averages of what its last convolution
  sees.
- SRM, CRM and SFM end in a factor and a term per channel, of which one pass over the features makes the difference; its
  mean square is the square of its length, which takes another pass and no third.

Nothing here is trained or saved: a :class:`FoldedSCDAE` is made from the weights, and belongs to them.
"""

import copy
from typing import Any, NamedTuple, cast

import torch
from anomalib.data import InferenceBatch
from torch import nn
from torch.nn import functional as F

from anomalib_scdae.model.context_score import full_precision, window_means
from anomalib_scdae.model.crm import ChannelReunionModule
from anomalib_scdae.model.distances import DistanceModel, Distances
from anomalib_scdae.model.double_precision import doubled
from anomalib_scdae.model.networks import Branch, pdn_convolutions
from anomalib_scdae.model.srm import SpatialReunionModule

#: An SCDAEModel; its class stands above this module.
Foldable = Any


class Affine(NamedTuple):
    """Features times a factor plus a term, both per image and channel: what SRM, CRM and SFM amount to.

    Factors and terms are worked out as vectors: as maps of one pixel, OpenVINO would put them into the pass over the
    features, and turn the features' layout into theirs.
    """

    features: torch.Tensor  # (B, C, h, w)
    scale: torch.Tensor | None = None  # (B, C); none: 1
    shift: torch.Tensor | None = None  # (B, C); none: 0

    def value(self, plus: torch.Tensor | None = None) -> torch.Tensor:
        """Return the features themselves, ``(B, C, h, w)``, with something added if that is asked for."""
        result = self.features if self.scale is None else self.scale[..., None, None] * self.features
        result = result if plus is None else result + plus
        return result if self.shift is None else result + self.shift[..., None, None]

    def mean(self) -> torch.Tensor:
        """Return the average over all positions, ``(B, C)``."""
        average = self.features.float().mean(dim=(-2, -1))
        average = average if self.scale is None else self.scale * average
        return average if self.shift is None else average + self.shift

    def times(self, weight: torch.Tensor) -> "Affine":
        """Return it with every channel multiplied by ``weight``, ``(B, C)``."""
        scale = weight if self.scale is None else weight * self.scale
        return Affine(self.features, scale, None if self.shift is None else weight * self.shift)

    def plus(self, term: torch.Tensor) -> "Affine":
        """Return it with ``term``, ``(B, C)``, added at every position."""
        return Affine(self.features, self.scale, term if self.shift is None else self.shift + term)


class FoldedBranch(nn.Module):
    """One autoencoder with its modules.

    Args:
        branch: The branch that it is made from.
    """

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.last = branch.autoencoder.decoder.deconv8
        self.trunk = without(branch.autoencoder, "decoder.deconv8")
        self.context = branch.context
        first = self.context[0] if len(self.context) else None
        #: What the first module computes of the decoder's output, computed of the decoder's last features instead.
        self.composed: nn.Conv2d | None = None
        if isinstance(first, SpatialReunionModule):
            self.composed = compose(self.last, first.conv)
        elif isinstance(first, ChannelReunionModule):
            self.composed = compose(self.last, cast("nn.Conv2d", first.weight_convs[0]))

    def forward(self, images: torch.Tensor) -> Affine:
        """Map images ``(B, 3, H, W)`` to ``O_k``, as the decoder's output and what is made of it."""
        decoded = self.trunk(images, images.shape[-2:])
        output = Affine(self.last(decoded))
        for index, module in enumerate(self.context):
            features = output.value()
            known = self.composed(decoded) if self.composed is not None and index == 0 else None
            if isinstance(module, SpatialReunionModule):
                convolved = None if known is None else framed(known, features, module.conv)
                output = output.plus(module.summary(features, convolved).flatten(1))
            else:
                output = output.times(cast("ChannelReunionModule", module).factors(features, known))
        return output


class AveragedConvolution(nn.Module):
    """A convolution's output, normalised and averaged over each cell of the image, without computing the output.

    Averaging is linear: what the convolution makes of the averaged windows is the average of what it makes of each.

    Args:
        convolution: Without padding and with stride 1.
        mean: Mean of each channel of its output, ``(C,)``.
        std: Deviation of each channel, ``(C,)``.
    """

    def __init__(self, convolution: nn.Conv2d, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        assert convolution.bias is not None  # noqa: S101 - for the type checker
        self.kernel = convolution.weight.shape[-1]
        self.filters = nn.Parameter(convolution.weight.detach().flatten(1) / std[:, None], requires_grad=False)
        self.bias = nn.Parameter((convolution.bias.detach() - mean) / std, requires_grad=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map the convolution's input ``(B, D, H, W)`` to what :func:`cell_means` makes of its output."""
        seen = window_means(features, self.kernel).permute(0, 2, 4, 1, 3, 5).flatten(3)
        with full_precision(features):
            return F.linear(seen, self.filters, self.bias).permute(0, 3, 1, 2).flatten(1)


class FoldedSCDAE(DistanceModel):
    """The anomaly map and the score of an SCDAE and nothing else; see the module's text.

    Args:
        model: An SCDAEModel, which is left as it is.
    """

    def __init__(self, model: Foldable) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        model.eval().requires_grad_(requires_grad=False)
        *_, last = pdn_convolutions(model.teacher)
        self.channels = channels = model.channels
        student, teacher = getattr(model.student.network, last), getattr(model.teacher, last)
        self.teacher_trunk, self.student_trunk = without(model.teacher, last), without(model.student.network, last)
        std = model.teacher_std.flatten()
        self.local_difference = like(
            student,
            torch.cat([teacher.weight / std[:, None, None, None], -student.weight[:channels]], dim=1),
            (teacher.bias - model.teacher_mean.flatten()) / std - student.bias[:channels],
        )
        # With its sign changed here, so that nothing has to be subtracted later, for which OpenVINO takes two passes.
        self.minus_student_global = like(student, -student.weight[channels:], -student.bias[channels:])
        for module in model.branches.modules():
            if isinstance(module, ChannelReunionModule):
                module.weight_convs = nn.Sequential(compose(*cast("list[nn.Conv2d]", list(module.weight_convs))))
        self.branches = nn.ModuleList(FoldedBranch(cast("Branch", branch)) for branch in model.branches)
        self.fusion, self.anomaly_map, self.context_score = model.fusion, model.anomaly_map, model.context_score
        if self.context_score is not None:
            self.teacher_averages = AveragedConvolution(teacher, model.teacher_mean.flatten(), std)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> InferenceBatch:
        """Compute score and anomaly map of RGB images in [0, 1], ``(B, 3, H, W)``."""
        return self.prediction(self.distances(images), images.shape[-2:])

    def distances(self, images: torch.Tensor) -> Distances:
        """Return how far images ``(B, 3, H, W)`` are from normal; the maps are those of the plain model."""
        differences, teacher = self.differences(images)
        lengths = torch.cat([torch.linalg.vector_norm(d, dim=1, keepdim=True) for d in differences], dim=1)
        context = None if self.context_score is None else self.context_score(self.teacher_averages(teacher))
        return Distances(lengths.square() / self.channels, context)

    def differences(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return ``T - S'``, then ``Y_k - S''`` for every branch, and what the teacher's last convolution sees."""
        if not torch.compiler.is_compiling():
            images = images.contiguous(memory_format=torch.channels_last)
        described = self.student_trunk(images)
        teacher = self.teacher_trunk(images)
        local = self.local_difference(torch.cat([teacher, described], dim=1))
        minus_student = self.minus_student_global(described).float()
        return [local.float(), *self.global_differences(images, minus_student)], teacher

    def global_differences(self, images: torch.Tensor, minus_student: torch.Tensor) -> list[torch.Tensor]:
        """Return ``Y_k - S''`` for every branch, given ``-S''``."""
        return [output.value(plus=minus_student) for output in self.outputs(images)]

    def outputs(self, images: torch.Tensor) -> list[Affine]:
        """Return ``Y_k``, what the branches make of images ``(B, 3, H, W)`` and SFM of that."""
        outputs = [branch(images) for branch in self.branches]
        if self.fusion is None:
            return outputs
        weights = self.fusion.factors(torch.stack([output.mean() for output in outputs]).sum(dim=0))
        return [output.times(weight) for weight, output in zip(weights, outputs, strict=True)]


def without(module: nn.Module, name: str) -> nn.Module:
    """Return a copy of ``module`` in which the sub-module ``name`` passes its input on; all others are shared."""
    copied = copy.copy(module)
    copied._modules = dict(module._modules)  # a shallow copy would share the registry
    first, _, rest = name.partition(".")
    setattr(copied, first, without(getattr(module, first), rest) if rest else nn.Identity())
    return copied


def like(convolution: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor, padding: int | None = None) -> nn.Conv2d:
    """Return a convolution with other weights."""
    made = nn.Conv2d(
        weight.shape[1],
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride=cast("tuple[int, int]", convolution.stride),
        padding=cast("tuple[int, int]", convolution.padding) if padding is None else padding,
        device="meta",
    )
    made.weight, made.bias = nn.Parameter(weight.detach(), False), nn.Parameter(bias.detach(), False)
    return made


def compose(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Return the convolution that equals ``second(first(x))`` where no zero that ``second`` pads with is seen.

    For 3 x 3 convolutions with a padding of 1, its output is thus smaller by one pixel on each side.
    """
    assert first.bias is not None  # noqa: S101 - for the type checker
    assert second.bias is not None  # noqa: S101 - for the type checker
    inner, outer, inner_bias, outer_bias = (
        doubled(value.detach()) for value in (first.weight, second.weight, first.bias, second.bias)
    )
    # The full convolution of both kernels, with the first one's input channels as the batch.
    weight = F.conv2d(inner.transpose(0, 1), outer.flip(-2, -1), padding=outer.shape[-1] - 1).transpose(0, 1)
    bias = outer_bias + outer.sum(dim=(-2, -1)) @ inner_bias
    return like(first, weight.to(first.weight).contiguous(), bias.to(first.weight))


def framed(inner: torch.Tensor, features: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """Complete ``inner``, the padded 3 x 3 ``convolution`` of ``features`` but for its outermost pixels.

    Args:
        inner: ``(B, C', h - 2, w - 2)``.
        features: ``(B, C, h, w)``.
        convolution: Gives the outermost pixels, from two rows or columns of ``features`` and the padding.

    Returns:
        ``(B, C', h, w)``.
    """

    def edge(part: torch.Tensor, padding: tuple[int, int, int, int]) -> torch.Tensor:
        return F.conv2d(F.pad(part, padding), convolution.weight, convolution.bias)

    left, right = edge(features[..., :2], (1, 0, 0, 0)), edge(features[..., -2:], (0, 1, 0, 0))
    top, bottom = edge(features[..., :2, :], (1, 1, 1, 0)), edge(features[..., -2:, :], (1, 1, 0, 1))
    return torch.cat([top, torch.cat([left, inner, right], dim=-1), bottom], dim=-2)
