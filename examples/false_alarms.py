# SPDX-License-Identifier: Apache-2.0
"""How often good images are refused once light, camera position or compression have changed a little.

    python examples/false_alarms.py model.ckpt VALIDATION_IMAGES GOOD_TEST_IMAGES
    python examples/false_alarms.py results/study/cells/NAME VALIDATION_IMAGES GOOD_TEST_IMAGES --anomalous FOLDER

For the paper's score (the maximum of the anomaly map), for the context score alone and for both together: the share of
good test images above the highest score of the validation images, as they are and after each change; and the image
AUROC of anomalous ones against them, both changed alike. The model is a checkpoint of SCDAE, or a cell of a benchmark,
which may also be EfficientAD: its score is the first.
"""

import io
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from anomalib.data.utils import get_image_filenames, read_image
from anomalib.models import AnomalibModule
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from anomalib_scdae import SCDAE
from anomalib_scdae.benchmark.cell.build import load_trained
from anomalib_scdae.metrics.anomaly_types import GOOD, auroc_per_type
from anomalib_scdae.model.deploy.pre_processing import transformed

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
def scores(model: AnomalibModule, files: list[Path], change: Change) -> dict[str, torch.Tensor]:
    """Return every image's scores, by name."""
    found: dict[str, list[torch.Tensor]] = {"map": [], "context": [], "both": []}
    for file in files:
        image = transformed(model.pre_processor, change(read_image(file, as_tensor=True))[None])
        if not isinstance(model, SCDAE):
            found["map"].append(model.model(image).pred_score.squeeze())
            continue
        distances = model.model.distances(image)
        found["map"].append(model.model.anomaly_map(distances.maps, image.shape[-2:]).amax())
        if distances.context is not None:
            found["context"].append(distances.context.squeeze())
            found["both"].append(model.model.prediction(distances, image.shape[-2:]).pred_score.squeeze())
    return {name: torch.stack(values) for name, values in found.items() if values}


def load(path: Path) -> AnomalibModule:
    """Load a checkpoint of SCDAE, or what a cell of a benchmark has trained."""
    if path.suffix == ".ckpt":
        return SCDAE.load_from_checkpoint(path, map_location="cpu").eval()
    return load_trained(path if path.is_dir() else path.parent)


def auroc(good: torch.Tensor, anomalous: torch.Tensor) -> float:
    """Return the share of pairs in which the anomalous image scores higher, in %; equal scores count half."""
    types = np.repeat([GOOD, "anomalous"], [len(good), len(anomalous)])
    return 100 * auroc_per_type(torch.cat([good, anomalous]).numpy(), types)["anomalous"]


def main() -> None:
    """Print a row for each change."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a checkpoint of SCDAE, or the folder of a benchmark's cell")
    parser.add_argument("validation", type=Path, help="folder of good images that set the threshold")
    parser.add_argument("good", type=Path, help="folder of other good images")
    parser.add_argument("--anomalous", type=Path, help="folder of anomalous images, for image AUROC")
    parser.add_argument("--limit", type=int, default=60, help="how many of each folder are read")
    options = parser.parse_args()
    model = load(options.model)
    folders = (options.validation, options.good, options.anomalous)
    validation, good, anomalous = (sorted(get_image_filenames(f))[: options.limit] if f else [] for f in folders)
    for folder, files in ((options.validation, validation), (options.good, good)):
        if not files:
            parser.error(f"{folder} holds no images")
    thresholds = {name: values.max() for name, values in scores(model, validation, CHANGES["as they are"]).items()}
    headings = [*thresholds, *(f"AUROC {name}" for name in thresholds if anomalous)]
    print(f"{'false alarms':24}" + "".join(f"{name:>15}" for name in headings))
    for name, change in CHANGES.items():
        found = scores(model, good, change)
        figures = [100 * (found[part] > threshold).float().mean().item() for part, threshold in thresholds.items()]
        if anomalous:
            wrong = scores(model, anomalous, change)
            figures += [auroc(found[part], wrong[part]) for part in thresholds]
        print(f"{name:24}" + "".join(f"{figure:14.1f}%" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
