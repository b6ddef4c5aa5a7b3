# SPDX-License-Identifier: Apache-2.0
"""Show what each branch of a trained SCDAE finds in an image: the local map, one map per autoencoder, and their sum.

    python examples/maps_of_an_image.py results/SCDAE/.../model.ckpt image.png --output maps.png

The number in each title is the map's maximum; nine in ten pixels of normal images lie below 0.
"""

from pathlib import Path

import torch
from jsonargparse import auto_cli
from matplotlib import pyplot as plt
from torchvision.io import ImageReadMode, decode_image

from anomalib_scdae import SCDAE


def main(checkpoint: Path, image: Path, output: Path = Path("maps.png")) -> None:
    """Write the maps of one image side by side.

    Args:
        checkpoint: A checkpoint of SCDAE, any variant.
        image: The image.
        output: The picture to write.
    """
    model = SCDAE.load_from_checkpoint(checkpoint, map_location="cpu").eval()
    pixels = decode_image(str(image), ImageReadMode.RGB)[None] / 255
    resized = model.pre_processor.transform(pixels)
    with torch.no_grad():
        maps = model.model.maps(resized)[0]  # the local map, then one per autoencoder, each (H, W)
        prediction = model.model(resized)  # as it is before the post-processor

    names = ["local", *("+".join(branch) or "plain" for branch in model.hparams.branches), "combined"]
    pictures = [picture.numpy() for picture in (*maps, prediction.anomaly_map[0, 0])]
    _, axes = plt.subplots(1, 1 + len(pictures), figsize=(3 * (1 + len(pictures)), 3.4), layout="constrained")
    axes[0].imshow(resized[0].permute(1, 2, 0).numpy())
    axes[0].set_title(image.name)
    for axis, name, picture in zip(axes[1:], names, pictures, strict=True):
        # One scale for all, so that the maps can be compared.
        axis.imshow(picture, vmin=0, vmax=max(p.max() for p in pictures))
        axis.set_title(f"{name}: {picture.max():.2f}")
    for axis in axes:
        axis.axis("off")
    plt.savefig(output)
    print("Wrote", output)


if __name__ == "__main__":
    auto_cli(main)
