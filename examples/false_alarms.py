# SPDX-License-Identifier: Apache-2.0
"""How often good images are refused once light, camera position or compression have changed a little.

    python examples/false_alarms.py model.ckpt VALIDATION_IMAGES GOOD_TEST_IMAGES

For the paper's score (the maximum of the anomaly map), for the context score alone and for both together: the share of
good test images above the highest score of the validation images, as they are and after each change.
"""

import io
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import torch
from anomalib.data.utils import get_image_filenames, read_image
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from anomalib_scdae import SCDAE

Change = Callable[[torch.Tensor], torch.Tensor]


def moved(image: torch.Tensor, angle: float = 0.0, shift: float = 0.0) -> torch.Tensor:
    """Turn an image by ``angle`` degrees and shift it by a share of its width; the border is continued."""
    margin = max(image.shape[-2:]) // 8
    padded = F.pad(image, [margin], padding_mode="edge")
    offset = [round(shift * image.shape[-1]), 0]
    turned = F.affine(padded, angle, offset, 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    return turned[..., margin:-margin, margin:-margin]


def compressed(image: torch.Tensor, quality: int) -> torch.Tensor:
    """Save an image as JPEG and read it again."""
    buffer = io.BytesIO()
    F.to_pil_image(image).save(buffer, "JPEG", quality=quality)
    return F.to_dtype(F.pil_to_tensor(Image.open(buffer)), torch.float32, scale=True)


def noisy(image: torch.Tensor, deviation: float) -> torch.Tensor:
    """Add noise, the same one to every image."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (image + deviation * noise).clamp(0, 1)


CHANGES: dict[str, Change] = {
    "as they are": lambda image: image,
    "5 % brighter": lambda image: (1.05 * image).clamp(0, 1),
    "5 % darker": lambda image: 0.95 * image,
    "warmer light": lambda image: (image * torch.tensor([1.03, 1.0, 0.97])[:, None, None]).clamp(0, 1),
    "shifted by 2 %": lambda image: moved(image, shift=0.02),
    "turned by 1.5 degrees": lambda image: moved(image, angle=1.5),
    "noise of 1 %": lambda image: noisy(image, 0.01),
    "JPEG, quality 80": lambda image: compressed(image, 80),
}


@torch.inference_mode()
def scores(model: SCDAE, files: list[Path], change: Change) -> dict[str, torch.Tensor]:
    """Return every image's scores, by name."""
    found: dict[str, list[torch.Tensor]] = {"map": [], "context": [], "both": []}
    for file in files:
        image = model.transformed(change(read_image(file, as_tensor=True))[None])
        distances = model.model.distances(image)
        maximum = model.model.anomaly_map(distances.maps, image.shape[-2:]).amax()
        found["map"].append(maximum)
        found["both"].append(model.model.prediction(distances, image.shape[-2:]).pred_score.squeeze())
        if distances.context is not None:
            found["context"].append(distances.context.squeeze())
    return {name: torch.stack(values) for name, values in found.items() if values}


def load(file: Path) -> SCDAE:
    """Load a checkpoint, or the weights of a benchmark's cell."""
    if file.suffix != ".safetensors":
        return SCDAE.load_from_checkpoint(file).eval()
    from safetensors.torch import load_file

    model = SCDAE()
    model.load_state_dict(load_file(file))
    return model.eval()


def main() -> None:
    """Print a row for each change."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("validation", type=Path, help="folder of good images that set the threshold")
    parser.add_argument("good", type=Path, help="folder of other good images")
    parser.add_argument("--limit", type=int, default=60, help="how many of each folder are read")
    options = parser.parse_args()
    model = load(options.checkpoint)
    validation, good = (sorted(get_image_filenames(f))[: options.limit] for f in (options.validation, options.good))
    thresholds = {name: values.max() for name, values in scores(model, validation, CHANGES["as they are"]).items()}
    print(f"{'':24}" + "".join(f"{name:>10}" for name in thresholds))
    for name, change in CHANGES.items():
        found = scores(model, good, change)
        shares = [100 * (found[part] > threshold).float().mean().item() for part, threshold in thresholds.items()]
        print(f"{name:24}" + "".join(f"{share:9.1f}%" for share in shares), flush=True)


if __name__ == "__main__":
    main()
