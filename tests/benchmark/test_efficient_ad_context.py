# SPDX-License-Identifier: Apache-2.0
"""EfficientAD's score with the context score added, as SCDAE adds it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine

from anomalib_scdae.benchmark.baselines import EfficientAdMended, EfficientAdWithContext
from anomalib_scdae.benchmark.cell.build import load_weights, save_weights
from anomalib_scdae.benchmark.cell.maps import parts_of
from anomalib_scdae.benchmark.cell.run import take_over
from anomalib_scdae.benchmark.cells import DECISIVE, CellFolder
from anomalib_scdae.errors import UserError
from anomalib_scdae.gallery.branch_maps import COMBINED, CONTEXT
from tests.benchmark.cells import make_cell
from tests.conftest import draw_image, draw_mask

pytestmark = pytest.mark.usefixtures("narrow_networks")


def draw_part(folder: Path) -> MVTecLOCO:
    """Draw a category with enough images for the context score."""
    part = folder / "loco/part"
    for name, count, first in (("train/good", 6, 0), ("validation/good", 5, 10), ("test/good", 1, 20)):
        for seed in range(count):
            draw_image(part / name / f"{seed:03}.png", first + seed)
    draw_image(part / "test/logical_anomalies/000.png", 30, spot=True)
    draw_mask(part / "ground_truth/logical_anomalies/000/000.png")
    return MVTecLOCO(root=part.parent, category="part", train_batch_size=1, eval_batch_size=2, num_workers=0)


@pytest.mark.slow
def test_weights_that_were_trained_without_it_get_it_in_a_validation(model_arguments: dict, tmp_path: Path) -> None:
    data = draw_part(tmp_path)
    options = {"default_root_dir": tmp_path, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    plain = EfficientAdMended(**model_arguments, visualizer=False, post_processor=False)
    Engine(max_steps=1, **options).fit(plain, datamodule=data)
    source, target = (CellFolder(tmp_path, make_cell(name)) for name in ("plain", "with"))
    source.begin()
    save_weights(plain, source.weights)
    source.write_training({"training": {}})
    source.write_result({"status": "finished"})
    made_by = {name: getattr(source.cell, name) for name in ("id", *DECISIVE) if name != "weights_of"}
    target.cell = replace(target.cell, weights_of=made_by)
    model = EfficientAdWithContext(**model_arguments, visualizer=False, post_processor=False)
    take_over(target, model, "hash")
    load_weights(model, target.weights)
    assert not model.context_score.is_fitted
    engine = Engine(**options)
    engine.validate(model, datamodule=data)
    assert model.context_score.is_fitted
    assert model.context_score.scale > 0
    fitted = model.context_score.mean.clone()
    model.fit_context(data.train_dataloader())
    torch.testing.assert_close(model.context_score.mean, fitted)
    torch.testing.assert_close(model.model.ae.state_dict(), plain.model.ae.state_dict())


@pytest.mark.slow
def test_it_is_fitted_in_training_and_joined_in_the_test(model_arguments: dict, tmp_path: Path) -> None:
    data = draw_part(tmp_path)
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


def test_it_has_no_latency_and_no_export_as_these_would_be_without_its_score(model_arguments: dict) -> None:
    with pytest.raises(UserError, match="`latency: false`"):
        EfficientAdWithContext(**model_arguments)(torch.rand(1, 3, 256, 256))
