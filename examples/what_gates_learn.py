# SPDX-License-Identifier: Apache-2.0
"""What SRM's summary and the gates of CRM and SFM have learnt: are they still the identity, do they look at the image?

    python examples/what_gates_learn.py model.ckpt IMAGES
    python examples/what_gates_learn.py results/study/cells/NAME IMAGES

A row for each module. SRM adds a summary to every position, here in % of the features' root mean square; CRM and SFM
multiply each channel by a factor, here as its distance from 1 in %. ``change`` is the root mean square over images and
channels, 0 where a module is the identity; ``between images`` is what of it differs from image to image (the deviation
over the images, root mean square over the channels): where it is small beside the change, it is a constant.
Beside it stands how much a module's input, averaged over the positions, differs from image to image: a gate can hardly
differ by more.
"""

from argparse import ArgumentParser
from pathlib import Path

import torch
from anomalib.data.utils import get_image_filenames, read_image
from anomalib.models import AnomalibModule
from torch import nn

from anomalib_scdae import SCDAE
from anomalib_scdae.benchmark.cell.build import load_trained
from anomalib_scdae.model.crm import ChannelReunionModule
from anomalib_scdae.model.deploy.pre_processing import transformed
from anomalib_scdae.model.sfm import SelectiveFusionModule
from anomalib_scdae.model.srm import SpatialReunionModule

COLUMNS = ("mean", "change", "between images", "lowest", "highest")


def what_a_module_does(module: nn.Module, inputs: object) -> dict[str, torch.Tensor]:
    """Return what a module adds to features or multiplies them with, less the identity, ``(B, C)`` by name.

    Args:
        module: SRM, CRM or SFM.
        inputs: What it is given: features ``(B, C, H, W)``, for SFM those of every branch.
    """
    if isinstance(module, SpatialReunionModule | ChannelReunionModule):
        features: torch.Tensor = inputs
        size = features.square().mean().sqrt()
        is_srm = isinstance(module, SpatialReunionModule)
        done = {"SRM": module.summary(features).flatten(1) / size} if is_srm else {"CRM": module.factors(features) - 1}
        return {**done, f"input of {next(iter(done))}": features.mean(dim=(-2, -1)) / size}
    average = torch.stack(list(inputs)).sum(dim=0).mean(dim=(-2, -1))
    return {f"SFM, branch {number}": factor - 1 for number, factor in enumerate(module.factors(average), start=1)}


@torch.inference_mode()
def gates(model: SCDAE, files: list[Path]) -> dict[str, torch.Tensor]:
    """Return what every module does to every image, ``(N, C)``, by the module's name."""
    found: dict[str, list[torch.Tensor]] = {}

    def look(name: str, module: nn.Module, arguments: tuple[object, ...]) -> None:
        for part, values in what_a_module_does(module, arguments[0]).items():
            found.setdefault(f"{part} ({name})", []).append(values)

    kinds = (SpatialReunionModule, ChannelReunionModule, SelectiveFusionModule)
    modules = {name: module for name, module in model.model.named_modules() if isinstance(module, kinds)}
    hooks = [
        module.register_forward_pre_hook(lambda module, arguments, name=name: look(name, module, arguments))
        for name, module in modules.items()
    ]
    for file in files:
        model.model.global_features(transformed(model.pre_processor, read_image(file, as_tensor=True)[None]))
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(values) for name, values in found.items()}


def summary(values: torch.Tensor) -> dict[str, float]:
    """Return the columns for a module's values, ``(N, C)``, in %."""
    between = values.std(dim=0).square().mean().sqrt() if len(values) > 1 else torch.tensor(float("nan"))
    figures = (values.mean(), values.square().mean().sqrt(), between, values.min(), values.max())
    return dict(zip(COLUMNS, (100 * figure.item() for figure in figures), strict=True))


def load(path: Path) -> AnomalibModule:
    """Load a checkpoint of SCDAE, or what a cell of a benchmark has trained."""
    return load_trained(path) if path.is_dir() else SCDAE.load_from_checkpoint(path, map_location="cpu").eval()


def main() -> None:
    """Print a row for each module."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a checkpoint of SCDAE, or the folder of a benchmark's cell")
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("--limit", type=int, default=100, help="how many images are read")
    options = parser.parse_args()
    files = sorted(get_image_filenames(options.images))[: options.limit]
    model = load(options.model)
    found = gates(model, files) if isinstance(model, SCDAE) else {}
    if not found:
        parser.error(f"{options.model} has neither SRM, CRM nor SFM: name a model that has.")
    print(f"{f'{len(files)} images':38}" + "".join(f"{name:>16}" for name in COLUMNS))
    for name, values in found.items():
        print(f"{name:38}" + "".join(f"{figure:15.2f}%" for figure in summary(values).values()))


if __name__ == "__main__":
    main()
