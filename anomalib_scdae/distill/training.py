# SPDX-License-Identifier: Apache-2.0
"""Training of a PDN teacher: the network's start, validation, and a run that survives a kill.

The method is that of the EfficientAD paper's appendix. What differs, so that a machine without a GPU can do it: views
and their features serve several steps (`RollingCache`), the PDN is trained on crops, Muon takes the place of Adam, and
nothing is padded, so that no target lies in a border that the models, which pad nothing either, never see.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torchmetrics.regression import R2Score

from anomalib_scdae.distill.backbone import FeatureTargets
from anomalib_scdae.distill.dataset import MARGIN, RollingCache, whole_view
from anomalib_scdae.distill.optimizer import MuonAdam
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing
from anomalib_scdae.inputs.pdn import ModelSize, patch_description_network


@dataclass(frozen=True)
class DistillationOptions:
    """What a run's weights depend on; a resumed run must agree in all but ``steps``. ``data`` is a hash of the rest."""

    data: str
    size: ModelSize
    out_channels: int
    steps: int
    batch: int
    crop: int
    learning_rate: float
    weight_decay: float
    average: float
    cache_views: int
    fresh_views: int
    bf16: bool
    seed: int


def build_network(size: ModelSize, out_channels: int) -> nn.Module:
    """Make a PDN with He initialisation: without normalisation layers, PyTorch's own start lets the signal fade."""
    network = patch_description_network(size, out_channels)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.constant_(cast("Tensor", module.bias), 0.0)
    return network


class Validation:
    """Held-out photographs, whole and in colour, with their normalised targets.

    Args:
        paths: The photographs.
        features: The backbone.
        mean: Of the training targets, ``[C]``.
        std: Likewise.
        device: Of the networks.
    """

    def __init__(
        self, paths: list[Path], features: FeatureTargets, mean: Tensor, std: Tensor, device: torch.device
    ) -> None:
        self.device = device
        self.images: list[Tensor] = []
        self.targets: list[Tensor] = []
        for path in paths:
            view = whole_view(path)
            raw = features(view.backbone[None].float() / 255)[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            self.images.append(view.teacher)
            self.targets.append(normalise(raw, mean, std).half().cpu())

    @torch.no_grad()
    def error(self, network: nn.Module) -> float:
        """Compute the normalised MSE: a channel's squared error over its variance, which is 1 - R^2; then the mean.

        Args:
            network: Maps ``[B, 3, 256, 256]`` to ``[B, C, 56, 56]``; evaluated in single precision.

        Returns:
            0 for a perfect network, 1 for one that knows no more than each channel's mean.
        """
        score = R2Score(multioutput="uniform_average").set_dtype(torch.float64)
        for image, target in zip(self.images, self.targets, strict=True):
            batch = (image[None].to(self.device).float() / 255).contiguous(memory_format=torch.channels_last)
            score.update(_cells(network(batch)), _cells(target))
        return 1 - score.compute().item()


def _cells(features: Tensor) -> Tensor:
    """Return features ``[B, C, H, W]`` as ``[B H W, C]`` on the CPU: some accelerators have no double precision."""
    return features.cpu().double().permute(0, 2, 3, 1).flatten(0, 2)


def normalise(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise features ``[B, C, H, W]`` per channel."""
    return (features - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)


class Distillation:
    """A run: the network, its running average, the optimiser, the cache, the learning curve.

    Args:
        options: What to do.
        cache: Views and targets.
        device: Where to train.
        compile_network: Whether to compile the training's forward and backward passes.

    Attributes:
        done: Number of steps taken.
        curve: Pairs of a number of steps and the validation error of the averaged network after them.
    """

    def __init__(
        self, options: DistillationOptions, cache: RollingCache, device: torch.device, compile_network: bool = False
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.network = build_network(options.size, options.out_channels).to(device)
        self.options, self.cache, self.device = options, cache, device
        self.averaged = AveragedModel(self.network, avg_fn=self._average)
        self.forward: Callable[[Tensor], Tensor] = torch.compile(self.network) if compile_network else self.network
        self.optimizer = MuonAdam(self.network, options.learning_rate, options.weight_decay, options.steps)
        self.done = 0
        self.curve: list[tuple[int, float]] = []
        self.mean = self.std = torch.zeros(0, device=device)

    def normalise_targets(self) -> None:
        """Take mean and standard deviation of the targets from the cache as it is at the start."""
        self.mean, self.std = (tensor.to(self.device) for tensor in self.cache.statistics())

    def step(self) -> Tensor:
        """Take one step and return its loss, a scalar tensor."""
        batch = self.cache.batch(self.done, self.options.batch, self.options.crop)
        images = batch.images.to(self.device).contiguous(memory_format=torch.channels_last)
        targets = normalise(batch.targets.to(self.device).float(), self.mean, self.std)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bf16):
            output = self.forward(images)
        loss = F.mse_loss(output.float(), targets)
        loss.backward()
        self.optimizer.step(self.done)
        self.averaged.update_parameters(self.network)
        self.cache.advance(self.done)
        self.done += 1
        return loss.detach()

    def _average(self, average: Tensor, parameter: Tensor, steps: Tensor | int) -> Tensor:
        """Follow the network with an exponential average, faster at the start, where the past is worthless."""
        decay = min(self.options.average, (1 + int(steps)) / (10 + int(steps)))
        return average.lerp(parameter, 1 - decay)

    def exported(self) -> dict[str, Tensor]:
        """Return the averaged weights in half precision under the names of Anomalib's PDN."""
        weights = self.averaged.module.state_dict()
        return {name: tensor.half().cpu().contiguous() for name, tensor in weights.items()}

    def validate(self, validation: Validation) -> float:
        """Measure the weights as they will be exported, rounded to half precision, and add them to the curve."""
        rounded = copy.deepcopy(self.averaged.module)
        rounded.load_state_dict(self.exported())
        error = validation.error(rounded)
        self.curve.append((self.done, error))
        return error

    def save(self, path: Path) -> None:
        """Write the checkpoint; a kill at any moment leaves the old one or the new one, whole."""
        state = {
            "options": asdict(self.options),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.done,
            "mean": self.mean,
            "std": self.std,
            "curve": self.curve,
        }
        with replacing(path) as file:
            torch.save(state, file)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of a run with the same options; only the number of steps may differ.

        Raises:
            UserError: If the file is no checkpoint, or one of another options.
        """
        state = _read_checkpoint(path, self.device)
        ours, theirs = asdict(self.options), state["options"]
        differing = [name for name in ours if name != "steps" and ours[name] != theirs.get(name)]
        if differing:
            words = {
                "data": "other images or another backbone",
                "bf16": f"--precision {'bf16' if theirs.get('bf16') else 'fp32'}",
            }
            values = ", ".join(words.get(name, f"{name} {theirs.get(name)}") for name in differing)
            msg = f"{path} was made with {values}: give the same options, or another --output for a new run."
            raise UserError(msg)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.mean, self.std = state["step"], state["mean"], state["std"]
        self.curve = [(step, error) for step, error in state["curve"]]


def _read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state = torch.load(path, device, weights_only=True)
    except Exception as error:  # a damaged file provokes many kinds
        msg = f"{path} is damaged: remove it to start again."
        raise UserError(msg) from error
    if not isinstance(state, dict) or "options" not in state:
        msg = f"{path} is no checkpoint of a distillation: give another --output."
        raise UserError(msg)
    return state


def write_weights(weights: dict[str, Tensor], path: Path, notes: dict[str, Any]) -> None:
    """Write weights as safetensors; a kill leaves the old file or the new one, whole.

    The notes go into the file's metadata as JSON under the one key ``teacher``: safetensors writes several keys in
    random order, and then the same weights would have another hash every time.
    """
    with replacing(path) as file:
        # Not `save_file`, whose files only their owner may read.
        file.write_bytes(save(weights, {"teacher": json.dumps(notes)}))
