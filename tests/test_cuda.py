# SPDX-License-Identifier: Apache-2.0
"""SCDAE on a GPU: mixed precision, compiled losses, memory layout, and exports of a model that lies there.

Skipped without one. ``SCDAE_TEST_DEVICE=cpu`` runs the same on the CPU, where the code generator is left out.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.deploy import ExportType, OpenVINOInferencer
from anomalib.engine import Engine
from anomalib.models import AnomalibModule

from anomalib_scdae import SCDAE
from anomalib_scdae.benchmark.baselines import EfficientAdMended
from anomalib_scdae.model.torch_model import SCDAEModel

DEVICE = os.environ.get("SCDAE_TEST_DEVICE", "cuda")

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.slow,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU"),
    # TF32, PyTorch's default for convolutions there, has three digits.
    pytest.mark.usefixtures("_exact_convolutions"),
]


@pytest.fixture
def _exact_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def datamodule(loco_root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=loco_root, category="part", train_batch_size=1, eval_batch_size=2, num_workers=0)


def engine(folder: Path, **arguments: Any) -> Engine:
    accelerator = "gpu" if DEVICE == "cuda" else "cpu"
    return Engine(max_steps=3, default_root_dir=folder, accelerator=accelerator, devices=1, **arguments)


def small_model() -> SCDAEModel:
    """Networks that are not the identity and draw nothing at random."""
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=16, identity_init=False, context_weight=0).to(DEVICE)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    return model


@pytest.mark.parametrize(
    ("kind", "precision"),
    [(SCDAE, "32-true"), (SCDAE, "16-mixed"), (SCDAE, "bf16-mixed"), (EfficientAdMended, "bf16-mixed")],
)
def test_trains_and_tests_in_every_precision(
    datamodule: MVTecLOCO, model_arguments: dict[str, Any], tmp_path: Path, kind: type[AnomalibModule], precision: str
) -> None:
    model = kind(**model_arguments)
    runner = engine(tmp_path, precision=precision)
    runner.fit(model, datamodule=datamodule)
    assert runner.trainer.global_step == 3
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    (figures,) = runner.test(model, datamodule=datamodule)
    assert 0 <= figures["image_AUROC"] <= 1


def test_compiled_training_learns_what_the_plain_one_learns(
    datamodule: MVTecLOCO, model_arguments: dict[str, Any], tmp_path: Path
) -> None:
    if DEVICE == "cpu":
        pytest.skip("the code generator takes minutes")
    model = SCDAE(**model_arguments, compile=True)
    engine(tmp_path).fit(model, datamodule=datamodule)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_compiled_losses_equal_plain_ones() -> None:
    model = small_model()
    images, augmented, penalty = torch.rand(3, 1, 3, 256, 256, device=DEVICE)
    backend = "inductor" if DEVICE == "cuda" else "aot_eager"
    compiled = torch.compile(model.losses, fullgraph=True, dynamic=False, backend=backend)
    plain, fast = model.losses(images, augmented, penalty), compiled(images, augmented, penalty)
    for name, value in plain.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5)


def test_memory_layout_changes_nothing_but_rounding() -> None:
    model, images = small_model().eval(), torch.rand(2, 3, 256, 256, device=DEVICE)
    with torch.no_grad():
        contiguous = model.to(memory_format=torch.contiguous_format).distances(images).maps
        channels_last = model.to(memory_format=torch.channels_last).distances(images).maps
    torch.testing.assert_close(contiguous, channels_last, rtol=1e-3, atol=1e-5)
    model = SCDAE(teacher_out_channels=16, branches=[[]], context_weight=0).to(DEVICE)
    assert model.model.branches[0].autoencoder.encoder.enconv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_distances_are_those_of_the_cpu() -> None:
    model, images = small_model().eval(), torch.rand(2, 3, 256, 256, device=DEVICE)
    with torch.no_grad():
        there = model.distances(images).maps.cpu()
        here = model.cpu().distances(images.cpu()).maps
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-5)


def test_a_model_that_lies_there_is_exported(
    datamodule: MVTecLOCO, model_arguments: dict[str, Any], loco_root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)  # where the inferencer leaves its cache
    model = SCDAE(**model_arguments)
    runner = engine(tmp_path)
    runner.fit(model, datamodule=datamodule)
    model.to(DEVICE)
    exported = runner.export(model, ExportType.OPENVINO, export_root=tmp_path)
    assert exported is not None
    inferencer = OpenVINOInferencer(exported, config={"INFERENCE_PRECISION_HINT": "f32"})
    image = loco_root / "part/test/good/000.png"
    (expected,) = runner.predict(model, data_path=image)
    found = inferencer.predict(image)
    assert float(found.pred_score.item()) == pytest.approx(float(expected.pred_score.item()), abs=1e-3)
