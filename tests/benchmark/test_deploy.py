# SPDX-License-Identifier: Apache-2.0
"""The second step of a cell: a finished model is built again, and measured against a baseline nobody has trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.cell import run
from anomalib_scdae.benchmark.cell.build import build_model, load_weights, save_weights
from anomalib_scdae.benchmark.cell.run import build_baseline, measure_deployed
from anomalib_scdae.benchmark.cells import CellFolder
from anomalib_scdae.benchmark.measure import export
from anomalib_scdae.benchmark.measure.deployment import openvino_prediction
from tests.benchmark.cells import make_cell

EFFICIENT_AD = {"class_path": "EfficientAdMended", "init_args": {"teacher": "bundled", "penalty_images": "bundled"}}
SHIPPED = {**EFFICIENT_AD, "class_path": "EfficientAdAsShipped"}
PADIM = {"class_path": "Padim", "init_args": {"backbone": "resnet18", "pre_trained": False}}


@pytest.mark.parametrize("model", [EFFICIENT_AD, SHIPPED], ids=lambda model: model["class_path"])
def test_an_untrained_baseline_predicts_numbers(model: dict) -> None:
    baseline = build_baseline(make_cell(latency={"baseline": model}))
    assert baseline is not None
    assert all(value.isfinite().all() for value in baseline.state_dict().values() if value.is_floating_point())
    with torch.inference_mode():
        prediction = baseline.eval()(torch.rand(1, 3, 256, 256))
    assert prediction.pred_score.isfinite().all()
    assert prediction.anomaly_map.isfinite().all()


def test_a_baseline_that_cannot_predict_untrained_is_none() -> None:
    assert build_baseline(make_cell(latency={"baseline": PADIM}, image_size=64)) is None


@pytest.mark.slow
def test_openvino_compiles_the_untrained_baseline(tmp_path: Path) -> None:
    baseline = build_baseline(make_cell(latency={"baseline": EFFICIENT_AD}))
    assert baseline is not None
    path = baseline.eval().to_openvino(tmp_path, input_size=(256, 256))
    openvino_prediction(path, torch.rand(1, 3, 256, 256))()


def test_kept_weights_hold_statistics_and_memory_banks(tmp_path: Path) -> None:
    trained = build_model(PADIM, 64)
    trained.model.gaussian.mean = torch.rand(5, 7)
    trained.model.gaussian.inv_covariance = torch.rand(7, 5, 5)
    trained.post_processor._image_threshold.fill_(3.0)
    save_weights(trained, tmp_path / "weights.safetensors")
    again = build_model(PADIM, 64)
    load_weights(again, tmp_path / "weights.safetensors")
    expected, found = trained.state_dict(), again.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name].nan_to_num(), found[name].nan_to_num()) for name in expected)


def test_an_export_of_other_options_is_not_used_again() -> None:
    def fingerprint(change: Callable[[Any], object] = lambda model: None) -> str:
        torch.manual_seed(0)
        model = build_model(PADIM, 64)
        change(model)
        return export._fingerprint(model)

    def without_antialias(model: AnomalibModule) -> None:
        model.pre_processor.transform.transforms[0].antialias = False

    changes = [
        lambda model: setattr(model.post_processor, "enable_normalization", False),
        lambda model: setattr(model.model, "n_features", 7),
        lambda model: model.post_processor._image_threshold.fill_(3.0),
        without_antialias,
    ]
    found = [fingerprint(), *map(fingerprint, changes)]
    assert len(set(found)) == len(found)
    assert fingerprint() == found[0] == fingerprint(lambda model: model.eval())


def test_the_outcome_joins_the_result(tmp_path: Path, loco_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"class_path": "MVTecLOCO", "init_args": {"root": str(loco_root), "category": "part"}}
    cell = make_cell(model=EFFICIENT_AD, data=data, latency={"baseline": PADIM}, trainer={"accelerator": "cpu"})
    folder = CellFolder(tmp_path, cell)
    folder.begin()
    model = build_model(cell.model, 256)
    model.post_processor._image_threshold.fill_(3.0)
    save_weights(model, folder.weights)
    result = {
        "status": "finished",
        "accuracy": {"image_auroc": {"mean": 0.5}},
        "size": {"parameters": 1, "macs": 1},
        "notes": ["a"],
    }
    folder.write_result(result)
    measured = {"size": {"parameters": 2, "macs": 3}, "latency": {"torch_fp32": {"median_ms": 1.0}}}

    def measure(model: AnomalibModule, baseline: object, *_: object, **options: object) -> dict:
        assert model.post_processor.image_threshold == 3.0
        assert baseline is None
        assert options["image_size"] == (256, 256)
        return measured

    monkeypatch.setattr(run, "measure_deployment", measure)
    measure_deployed(folder)
    found = folder.result()
    assert found["accuracy"] == result["accuracy"]
    assert found["latency"] == measured["latency"]
    assert found["size"] == {"parameters": 1, "macs": 3}
    assert found["notes"] == ["a", run.NO_RATIO]
    again = CellFolder(tmp_path, replace(cell, latency={"baseline": None}))
    measure_deployed(again)
    assert again.result()["notes"] == ["a"]
