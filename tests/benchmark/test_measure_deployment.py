# SPDX-License-Identifier: Apache-2.0
"""Size and latency of models in every format, on a model small enough to be exported in a moment."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.data.utils import read_image
from torch import nn

from anomalib_scdae.benchmark.cell.build import save_weights
from anomalib_scdae.benchmark.measure import export
from anomalib_scdae.benchmark.measure.deployment import LATENCIES, Deployment, _latency, measure_deployment
from anomalib_scdae.benchmark.measure.export import attempt, calibration_set
from anomalib_scdae.benchmark.measure.peak import measure_peaks
from anomalib_scdae.benchmark.process import Failure, in_one_sentence
from anomalib_scdae.errors import UserError
from tests.dummy_model import Brightness, BrightnessModel

SIZE = (32, 40)


class Network(Brightness):
    """Brightness behind a convolution, so that there is something to quantise."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images):
        return super().forward(self.convolution(images))


def small_model() -> BrightnessModel:
    torch.manual_seed(0)
    model = BrightnessModel(post_processor=False)  # whose thresholds are NaN without a validation
    model.model = Network()
    return model.eval()


@pytest.fixture
def datamodule(loco_root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=loco_root, category="part", num_workers=0)


# A process that has exported, quantised and run models so crashes when it forks later, as loading processes do. The
# benchmark deploys in a process of its own; here the tests that follow would not.
@pytest.mark.slow
@pytest.mark.skipif("SCDAE_TEST_SPEED" not in os.environ, reason="forking crashes afterwards: set SCDAE_TEST_SPEED=1")
def test_sizes_and_latencies_of_every_format(datamodule: MVTecLOCO, tmp_path: Path, monkeypatch) -> None:
    model, baseline = small_model(), small_model()
    weights = tmp_path / "weights.safetensors"
    save_weights(model, weights)
    options = {"image_size": SIZE, "repeats": 3, "device": "cpu", "checkpoint": weights}
    found = measure_deployment(model, baseline, datamodule, tmp_path, **options)
    assert json.loads(json.dumps(found)) == found
    assert found["size"]["parameters"] == 3 * 3 * 9 + 3
    assert found["size"]["macs"] >= 32 * 40 * 81
    assert found["size"]["openvino_fp32_bytes"] > 0
    assert found["size"]["checkpoint_bytes"] > 4 * found["size"]["parameters"]
    assert set(found["latency"]) == set(LATENCIES)
    for entry in found["latency"].values():
        assert entry["q25_ms"] <= entry["median_ms"] <= entry["q75_ms"]
        assert entry["images_per_second"] == pytest.approx(1000 / entry["median_ms"])
        assert entry["ratio"]["q25"] <= entry["ratio"]["median"] <= entry["ratio"]["q75"]
    assert "FakeQuantize" in (tmp_path / "model/int8/model.xml").read_text()

    # The second call finds the same weights, and neither exports nor calibrates.
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(BrightnessModel, "to_openvino", refuse)
    monkeypatch.setattr(export, "calibration_set", refuse)
    again = measure_deployment(model, None, datamodule, tmp_path, **options)
    assert again["size"] == found["size"]
    assert "ratio" not in again["latency"]["openvino_int8"]

    # Other weights: what lies there is no longer used, and what fails says so.
    with torch.no_grad():
        model.model.convolution.weight += 1
    failed = measure_deployment(model, None, datamodule, tmp_path, **options)
    assert failed["latency"]["openvino_fp32"]["error"].startswith("AssertionError")
    assert failed["size"]["openvino_int8_bytes"] is None
    assert failed["latency"]["torch_fp32"]["median_ms"] > 0


def test_calibration_images_are_normal_training_images_only_resized(datamodule: MVTecLOCO) -> None:
    images = list(calibration_set(datamodule, SIZE, limit=2))
    assert [tuple(image.shape) for image in images] == [(1, 3, *SIZE)] * 2
    paths = sorted((Path(datamodule.root) / "part/train/good").glob("*.png"))
    means = [read_image(path, as_tensor=True).mean().item() for path in (paths[0], paths[2])]
    assert [image.mean().item() for image in images] == pytest.approx(means, abs=0.01)


def test_a_baseline_that_fails_says_why_there_is_no_ratio() -> None:
    works, fails = (
        Deployment(small_model(), {"openvino_int8": found}, {}) for found in (lambda: None, Failure("No calibration."))
    )
    entry = _latency(
        {"model": works, "baseline": fails}, pd.DataFrame({"model/openvino_int8": [0.1, 0.2, 0.3]}), "openvino_int8"
    )
    assert entry["median_ms"] == pytest.approx(200)
    assert "ratio" not in entry
    assert entry["ratio_error"] == "no ratio, as the baseline could not be measured: No calibration."
    assert _latency({"model": fails, "baseline": works}, pd.DataFrame(), "openvino_int8") == {
        "error": "No calibration."
    }


def test_a_failure_is_one_sentence() -> None:
    def fail() -> None:
        raise RuntimeError("No such operator.\nTraceback: many lines")

    failure = attempt(fail)
    assert failure == Failure("RuntimeError: No such operator.")
    assert in_one_sentence(RuntimeError("Exception from src/core.cpp:1:\nMin is NaN.")) == "RuntimeError: Min is NaN."
    assert in_one_sentence(KeyError()) == "KeyError"
    assert in_one_sentence(UserError("Say it.")) == "Say it."


@pytest.mark.slow
def test_peaks_are_measured_in_every_precision(monkeypatch) -> None:
    from anomalib_scdae.benchmark.measure import peak

    monkeypatch.setattr(peak, "CONVOLUTIONS", ((16, 3, 8),))
    monkeypatch.setattr(peak, "MATRIX_SIDES", {"cpu": (64,)})
    peaks = measure_peaks("cpu", repeats=1)
    assert set(peaks) == {"torch_fp32", "torch_bf16", "openvino_fp32", "openvino_int8"}
    assert all(value > 0 for value in peaks.values())


def test_ratio_is_the_models_latency_over_the_baselines() -> None:
    works = Deployment(None, {"torch_fp32": lambda: None}, {})
    seconds = pd.DataFrame({"model/torch_fp32": [0.1, 0.2, 0.3], "baseline/torch_fp32": [0.05, 0.1, 0.15]})
    entry = _latency({"model": works, "baseline": works}, seconds, "torch_fp32")
    assert entry["ratio"]["median"] == pytest.approx(2)
    assert entry["images_per_second"] == pytest.approx(5)


def test_exports_of_other_weights_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def to_openvino(folder, input_size):
        made.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_bytes(b"")
        (folder / "model.xml").write_text("")
        return folder / "model.xml"

    model = SimpleNamespace(to_openvino=to_openvino)
    monkeypatch.setattr(export, "_half_precision", lambda *_: 1 / 0)
    monkeypatch.setattr(export, "_quantised", lambda *_: 1 / 0)
    for fingerprint, times in (("a", 1), ("a", 1), ("b", 2)):
        monkeypatch.setattr(export, "_fingerprint", lambda _, of=fingerprint: of)
        export.export_openvino(model, tmp_path, image_size=(8, 8), datamodule=None)
        assert len(made) == times
