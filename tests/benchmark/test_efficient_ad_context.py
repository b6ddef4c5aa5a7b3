# SPDX-License-Identifier: Apache-2.0
"""EfficientAD's score with the context score added, as SCDAE adds it."""

from pathlib import Path

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine

from anomalib_scdae.benchmark.baselines import EfficientAdWithContext
from anomalib_scdae.benchmark.cell.maps import parts_of
from anomalib_scdae.gallery.branch_maps import COMBINED, CONTEXT
from tests.conftest import draw_image, draw_mask

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.mark.slow
def test_it_is_fitted_in_training_and_joined_in_the_test(model_arguments: dict, tmp_path: Path) -> None:
    part = tmp_path / "loco/part"
    for folder, count, first in (("train/good", 6, 0), ("validation/good", 5, 10), ("test/good", 1, 20)):
        for seed in range(count):
            draw_image(part / folder / f"{seed:03}.png", first + seed)
    draw_image(part / "test/logical_anomalies/000.png", 30, spot=True)
    draw_mask(part / "ground_truth/logical_anomalies/000/000.png")
    data = MVTecLOCO(root=part.parent, category="part", train_batch_size=1, eval_batch_size=2, num_workers=0)
    model = EfficientAdWithContext(**model_arguments, visualizer=False, post_processor=False)
    engine = Engine(max_steps=1, default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False)
    engine.fit(model, datamodule=data)
    engine.validate(model, datamodule=data)
    assert model.context_score.is_fitted
    assert model.context_score.scale > 0
    with parts_of(model) as parts:
        batches = engine.predict(model, dataloaders=data.test_dataloader())
        scores = parts().scores
    found = batches[-1].pred_score.flatten()
    torch.testing.assert_close(found, model.context_score.join(scores[COMBINED], scores[CONTEXT]))
    maxima = batches[-1].anomaly_map.flatten(1).amax(dim=1)
    torch.testing.assert_close(scores[COMBINED], maxima)
    assert not torch.isclose(found, maxima).any()
