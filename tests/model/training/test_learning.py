# SPDX-License-Identifier: Apache-2.0
"""A training learns something."""

from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from lightning.pytorch import seed_everything

from anomalib_scdae import SCDAE
from tests.loco_data import write_image

pytestmark = pytest.mark.usefixtures("narrow_networks")

STEPS = 100


def product(seed: int, scratched: bool = False) -> np.ndarray:
    """Draw a grey plate with a chequered label, and a fainter scratch where none belongs."""
    rows, columns = np.mgrid[:256, :256]
    plate = np.full((256, 256), 128)
    plate[32:112, 40:216] = np.where((rows // 8 + columns // 8) % 2, 250, 10)[32:112, 40:216]
    if scratched:
        plate[168:216, 60:196] = np.where((rows + columns) // 6 % 2, 165, 95)[168:216, 60:196]
    noise = np.random.default_rng(seed).integers(-4, 5, (256, 256, 3))
    return (plate[..., None] + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def plates(tmp_path: Path) -> MVTecLOCO:
    part = tmp_path / "data/plate"
    for split, seeds in {"train": range(6), "validation": range(10, 14), "test": range(20, 26)}.items():
        for seed in seeds:
            write_image(part / split / "good" / f"{seed:03}.png", product(seed))
    for seed in (30, 31, 32):
        write_image(part / "test/structural_anomalies" / f"{seed}.png", product(seed, scratched=True))
        mask = np.zeros((256, 256), dtype=np.uint8)
        mask[168:216, 60:196] = 255
        write_image(part / "ground_truth/structural_anomalies" / f"{seed}/000.png", mask)
    return MVTecLOCO(part.parent, "plate", train_batch_size=1, eval_batch_size=3, num_workers=0)


@pytest.mark.slow
def test_a_faint_scratch_scores_above_every_normal_image_once_the_label_is_learnt(
    plates: MVTecLOCO, model_arguments: dict, tmp_path: Path
) -> None:
    """By the maximum of the map alone, which is learnt; at the start the label, in every image, surprises more."""
    margins = {}
    for steps in (1, STEPS):
        seed_everything(0)
        model = SCDAE(schedule="fast", context_weight=0, **model_arguments)
        engine = Engine(max_steps=steps, accelerator="cpu", logger=False, default_root_dir=tmp_path)
        engine.fit(model, datamodule=plates)
        model.eval()
        with torch.inference_mode():
            batches = [(model.model(batch.image).pred_score, batch.gt_label) for batch in plates.test_dataloader()]
        scores, labels = (torch.cat([part.flatten() for part in parts]) for parts in zip(*batches, strict=True))
        spread = scores[labels == 0].max() - scores[labels == 0].min()
        margins[steps] = float((scores[labels == 1].min() - scores[labels == 0].max()) / spread)
    assert margins[STEPS] > 1 > margins[1]
