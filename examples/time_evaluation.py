# SPDX-License-Identifier: Apache-2.0
"""Time and memory of AU-sPRO on a category of full size, on made-up images.

Writes a category in the layout of MVTec LOCO AD and random anomaly maps to a temporary folder (about 2.5 GB at the
default size), then measures ``anomalib-scdae evaluate`` and the metric as a test would feed it, each in a process of
its own:

    python examples/time_evaluation.py
    python examples/time_evaluation.py --images 30 --height 640 --width 800
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile

TYPES = ("good", "logical_anomalies", "structural_anomalies")
CONFIG = '[{"defect_name": "any", "pixel_value": 255, "saturation_threshold": 0.5, "relative_saturation": true}]'


def main() -> None:
    """Make the data and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--height", type=int, default=1280)
    parser.add_argument("--width", type=int, default=1600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), options.images, (options.height, options.width))
        for task in (run_command, run_metric):
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(task, folder))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


def make_data(folder: Path, images: int, shape: tuple[int, int]) -> None:
    """Write images (never read but for their headers), two masks to each anomalous one, and smooth random maps."""
    random = np.random.default_rng(0)
    category = folder / "data" / "category"
    blank = np.zeros(shape, np.uint8)
    for index in range(images):
        kind = TYPES[index % 3]
        small = random.gamma(2.0, size=(56, 56)).astype(np.float32)
        anomaly_map = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR)
        write_png(category / "test" / kind / f"{index:03}.png", blank)
        for channel in range(2 if kind != "good" else 0):
            mask = blank.copy()
            top, left = (int(random.integers(0, side // 2)) for side in shape)
            mask[top : top + shape[0] // 4, left : left + shape[1] // 4] = 255
            anomaly_map[mask > 0] += 1
            write_png(category / "ground_truth" / kind / f"{index:03}" / f"{channel:03}.png", mask)
        file = folder / "maps" / "category" / "test" / kind / f"{index:03}.tiff"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, anomaly_map)
    (category / "defects_config.json").write_text(CONFIG)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def measure(task, folder: str) -> None:  # noqa: ANN001
    """Print seconds and peak memory of ``task``, after its imports."""
    run = task(Path(folder))
    before = time.perf_counter(), time.process_time()
    run()
    wall, processor = time.perf_counter() - before[0], time.process_time() - before[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{task.__name__}: {wall:.1f} s ({processor:.1f} s of processor time), peak memory {peak:.2f} GiB", flush=True
    )


def run_command(folder: Path):  # noqa: ANN201
    """``anomalib-scdae evaluate`` on the maps on disk."""
    from anomalib_scdae.metrics.evaluate import evaluate

    return lambda: evaluate(dataset=folder / "data", category="category", maps=folder / "maps")


def run_metric(folder: Path):  # noqa: ANN201
    """The metric, with maps of 256 x 256 as a model gives them."""
    import torch
    from anomalib.data import ImageBatch

    from anomalib_scdae.metrics import AUsPRO

    def run() -> None:
        metric = AUsPRO()
        generator = torch.Generator().manual_seed(0)
        for path in sorted((folder / "data" / "category").glob("test/*/*.png")):
            anomaly_map = torch.rand(1, 256, 256, generator=generator)
            label = torch.tensor([int(path.parent.name != "good")])
            image = torch.zeros(1, 3, 256, 256)
            metric.update(ImageBatch(image=image, image_path=[str(path)], gt_label=label, anomaly_map=anomaly_map))
        metric.compute()

    return run


if __name__ == "__main__":
    main()
