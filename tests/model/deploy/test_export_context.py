# SPDX-License-Identifier: Apache-2.0
"""Every export adds the context score as PyTorch does, INT8 in floating point too."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.data.utils import read_image

from anomalib_scdae import SCDAE
from anomalib_scdae.metrics.anomaly_types import auroc_per_type
from anomalib_scdae.metrics.evaluate import evaluate
from anomalib_scdae.model.context_score import cell_means
from tests.conftest import CHANNELS
from tests.loco_data import make_category

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks", "traced_once")]

PRECISE = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def model() -> SCDAE:
    """Untrained networks, whose context score is fitted to random images and moves every score."""
    torch.manual_seed(0)
    model = SCDAE(teacher_out_channels=CHANNELS, identity_init=False).eval()
    networks = model.model
    with torch.no_grad():
        averages = torch.cat([cell_means(networks.teacher_features(torch.rand(1, 3, 256, 256))) for _ in range(8)])
    networks.context_score.fit(averages)
    networks.context_score.standardise(torch.rand(8), networks.context_score(averages))
    return model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(3, 3, 256, 256) * torch.tensor([1.0, 0.8, 0.6])[:, None, None, None]


@pytest.fixture(scope="module")
def openvino_model(model: SCDAE, tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[int, int] | None], Path]:
    """Exports the model for one size or for all; each export is made once."""
    return cache(lambda size: model.to_openvino(tmp_path_factory.mktemp("openvino"), input_size=size))


def _openvino_scores(path: Path, images: torch.Tensor) -> torch.Tensor:
    import openvino

    compiled = openvino.compile_model(path, "CPU", PRECISE)
    outputs = {output.get_any_name(): value for output, value in compiled(images.numpy()).items()}
    return torch.as_tensor(outputs["pred_score"]).float().flatten()


@pytest.mark.parametrize("size", [None, (256, 256)], ids=["any size", "fixed size"])
def test_scores_of_openvino_and_onnx(
    model: SCDAE, openvino_model: Callable, images: torch.Tensor, tmp_path: Path, size: tuple | None
) -> None:
    with torch.no_grad():
        expected = model(images).pred_score.flatten()
    alone = model.model.context_score.scale.clone()
    path = openvino_model(size)
    onnx = model.to_onnx(tmp_path / "onnx", input_size=size)
    # A fixed size comes with a fixed batch of one.
    for exported in (path, onnx):
        batches = images.split(1) if size else [images]
        found = torch.cat([_openvino_scores(exported, batch) for batch in batches])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(model.model.context_score.scale, alone)
    model.model.context_score.scale.zero_()
    try:
        with torch.no_grad():
            assert not torch.isclose(model(images).pred_score.flatten(), expected, rtol=1e-2).any()
    finally:
        model.model.context_score.scale.copy_(alone)


def test_evaluating_an_export_uses_its_scores(model: SCDAE, openvino_model: Callable, tmp_path: Path) -> None:
    """Which the maps' maxima are not."""
    category = make_category(tmp_path / "data" / "part", shape=(256, 256))
    metrics = evaluate(
        dataset=category.parent, category="part", maps=tmp_path / "maps", exported=openvino_model((256, 256))
    )
    paths = sorted(category.glob("test/*/*.png"))
    with torch.no_grad():
        outputs = [model(read_image(path, as_tensor=True)[None]) for path in paths]
    types = np.array([path.parent.name for path in paths])
    ours = auroc_per_type(np.array([output.pred_score.item() for output in outputs]), types)
    maxima = auroc_per_type(np.array([output.anomaly_map.max().item() for output in outputs]), types)
    found = {kind: metrics["classification"]["auc_roc"][kind] for kind in ours}
    assert found == pytest.approx(ours)
    assert found != pytest.approx(maxima)


def test_scores_of_fp16_and_int8(model: SCDAE, openvino_model: Callable, images: torch.Tensor, tmp_path: Path) -> None:
    import nncf
    import openvino

    from anomalib_scdae.model.deploy.int8.operations import floating_point_operations

    with torch.no_grad():
        expected = model(images).pred_score.flatten()
    whole = openvino.Core().read_model(openvino_model((256, 256)))
    openvino.save_model(whole, tmp_path / "half.xml", compress_to_fp16=True)
    half = torch.cat([_openvino_scores(tmp_path / "half.xml", image) for image in images.split(1)])
    # A covariance of eight images amplifies rounded weights more than one of hundreds does.
    torch.testing.assert_close(half, expected, rtol=5e-2, atol=1e-2)
    ignored = nncf.IgnoredScope(names=floating_point_operations(whole), validate=False)
    quantized = nncf.quantize(whole, nncf.Dataset(images.split(1), lambda image: image.numpy()), ignored_scope=ignored)
    products = [node for node in quantized.get_ordered_ops() if node.get_type_name() == "MatMul"]
    assert products
    for node in products:
        sources = {node.input_value(i).get_node().get_type_name() for i in range(2)}
        assert "FakeQuantize" not in sources, "the context score stays in floating point"


def test_the_whole_module(model: SCDAE, images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anomalib.deploy import TorchInferencer

    monkeypatch.setenv("TRUST_REMOTE_CODE", "1")  # Anomalib asks for it before it unpickles a module
    path = model.to_torch(tmp_path)
    with torch.no_grad():
        expected = model(images[:1]).pred_score.flatten()
    prediction = TorchInferencer(path, device="cpu").predict(images[0])
    torch.testing.assert_close(prediction.pred_score.flatten(), expected, rtol=1e-4, atol=1e-5)
