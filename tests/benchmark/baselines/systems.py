# SPDX-License-Identifier: Apache-2.0
"""The field's systems, small enough for tests, and one way to train and test any of them."""

from pathlib import Path
from typing import Any

import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import AnomalibDataModule, MVTecLOCO
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import seed_everything
from torchvision.transforms.v2 import Resize

from anomalib_scdae.benchmark import baselines

#: Side of the images that the small systems see.
SIDE = 64

#: A residual network as small as timm has one.
BACKBONE = "test_resnet"

SMALL: dict[str, dict[str, Any]] = {
    "Spade": {"neighbours": 2},
    "Sinbad": {"larger_side": 64, "crop_side": 32, "projections": 8, "pixel_projections": 3, "pixel_repetitions": 3},
    "Gcad": {"photographs": "bundled", "descriptor_steps": 1},  # conftest.py has photographs that take less time
    "DskdReconstruction": {},
    "Dadf": {"width": 8, "depth": 2, "heads": 2, "flow_steps": 2, "reconstruction_share": 0.5},
}


def make(name: str, **changes: Any) -> AnomalibModule:
    """A small system with random weights; the same ones at every call."""
    seed_everything(0, verbose=False)
    arguments = {"backbone": BACKBONE, "pre_trained": False, **SMALL[name], **changes}
    return getattr(baselines, name)(pre_processor=PreProcessor(Resize((SIDE, SIDE), antialias=True)), **arguments)


def engine(folder: Path, **trainer: Any) -> Engine:
    return Engine(
        callbacks=[ModelCheckpoint(save_top_k=0)],  # files of hundreds of megabytes, which no test reads
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        **{"max_epochs": 1, **trainer},
    )


def loco(root: Path, batch_size: int = 2) -> AnomalibDataModule:
    return MVTecLOCO(root=root, category="part", train_batch_size=batch_size, eval_batch_size=batch_size, num_workers=0)


def trained(name: str, data: AnomalibDataModule, folder: Path, **changes: Any) -> AnomalibModule:
    """A small system that has been trained for an epoch, in evaluation mode."""
    model = make(name, visualizer=False, **changes)
    engine(folder).fit(model, datamodule=data)
    return model.eval()


def outputs(model: AnomalibModule, data: AnomalibDataModule) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw scores ``(n,)`` and maps ``(n, 1, H, W)`` of the test images, in the set's order."""
    transform = model.pre_processor.transform
    found = []
    for batch in data.test_dataloader():
        with torch.no_grad():
            found.append(model.model.eval()(transform(batch.image)))
    return torch.cat([one.pred_score for one in found]), torch.cat([one.anomaly_map for one in found])
