# SPDX-License-Identifier: Apache-2.0
"""The suite that Anomalib runs for each of its own models, for SCDAE."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import Folder, MVTecLOCO
from anomalib.deploy import CompressionType, ExportType, OpenVINOInferencer, TorchInferencer
from anomalib.engine import Engine
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from anomalib_scdae import SCDAE
from anomalib_scdae.metrics.evaluate import evaluate
from tests.conftest import CHANNELS, draw_folder, draw_image, draw_mask

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks", "traced_once")]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own: Anomalib's OpenVINOInferencer leaves a cache where it runs."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def datamodule(loco_root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=loco_root, category="part", train_batch_size=2, eval_batch_size=2, num_workers=0)


@pytest.fixture(scope="module")
def trained(
    loco_root: Path, teacher_file: Path, penalty_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A checkpoint of one epoch, of a model that is not the default, and its results' folder."""
    folder = tmp_path_factory.mktemp("trained")
    model = SCDAE(
        branches=[["crm", "srm"], []],
        teacher=str(teacher_file),
        penalty_images=str(penalty_folder),
        teacher_out_channels=CHANNELS,
        image_size=[256, 288],
    )
    data = MVTecLOCO(root=loco_root, category="part", train_batch_size=2, num_workers=0)
    engine = Engine(max_epochs=1, default_root_dir=folder, accelerator="cpu")
    engine.train(model, datamodule=data)
    return Path(engine.best_model_path), folder


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fit_test_and_train(datamodule: MVTecLOCO, model_arguments: dict, tmp_path: Path, precision: str) -> None:
    model = SCDAE(**model_arguments)
    engine = Engine(max_epochs=1, default_root_dir=tmp_path, accelerator="cpu", precision=precision)
    engine.fit(model, datamodule=datamodule)
    (figures,) = engine.test(model, datamodule=datamodule)
    assert {"image_AUROC", "pixel_AUROC", "image_F1Score", "pixel_F1Score"} <= set(figures)
    assert all(0 <= value <= 1 for value in figures.values())


def test_heatmaps_are_written(trained: tuple[Path, Path]) -> None:
    _, folder = trained
    assert len(list(folder.rglob("images/**/*.png"))) == 6


def test_validate_and_predict_from_a_checkpoint_with_another_architecture(
    trained: tuple[Path, Path], datamodule: MVTecLOCO, tmp_path: Path
) -> None:
    checkpoint, _ = trained
    engine = Engine(default_root_dir=tmp_path, accelerator="cpu")
    # Neither the branches nor the channels nor the size are repeated; no teacher, no penalty images are needed.
    model = SCDAE(teacher="/nowhere", penalty_images="/nowhere")
    engine.validate(model, datamodule=datamodule, ckpt_path=checkpoint)
    predictions = engine.predict(model, datamodule=datamodule, ckpt_path=checkpoint)
    maps = torch.cat([batch.anomaly_map for batch in predictions])
    assert maps.shape[-2:] == (256, 288)
    assert torch.isfinite(maps).all()
    assert maps.std() > 0
    assert ((maps > 0) & (maps < 1)).all()


def test_load_from_checkpoint_restores_everything(trained: tuple[Path, Path]) -> None:
    checkpoint, _ = trained
    model = SCDAE.load_from_checkpoint(checkpoint)
    assert [len(branch.context) for branch in model.model.branches] == [2, 0]
    assert model.inputs.resolved["teacher"].endswith("teacher.safetensors")
    assert len(model.inputs.resolved["teacher_sha256"]) == 64
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert set(saved) == set(model.state_dict())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, saved[name], equal_nan=True)


@pytest.fixture(scope="module")
def images(loco_root: Path) -> list[Path]:
    return sorted((loco_root / "part/test").rglob("*.png"))


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that is much larger than the network's input, and finely textured."""
    pixels = np.random.default_rng(0).integers(0, 255, (700, 900, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("photograph") / "large.png"
    Image.fromarray(pixels).save(path)
    return path


Export = Callable[..., Path]


@pytest.fixture(scope="module")
def export(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports the checkpoint of :func:`trained`; each export is made once, since most of its time is tracing."""
    checkpoint, _ = trained

    @cache
    def make(export_type: ExportType, size: tuple[int, int] | None, compression: CompressionType | None) -> Path:
        folder = tmp_path_factory.mktemp("export")
        options = {"input_size": size, "compression_type": compression, "ckpt_path": checkpoint}
        engine = Engine(default_root_dir=folder, accelerator="cpu")
        return engine.export(SCDAE(teacher="/nowhere"), export_type, export_root=folder, **options)

    return lambda export_type, size=None, compression=None: make(export_type, size, compression)


#: Of a fixed size OpenVINO joins more operations, and has joined the wrong ones.
FIXED = (280, 300)


def test_exported_openvino_equals_anomalib_predict_on_a_large_image(
    trained: tuple[Path, Path], export: Export, photograph: Path, tmp_path: Path
) -> None:
    checkpoint, _ = trained
    engine = Engine(default_root_dir=tmp_path, accelerator="cpu")
    (batch,) = engine.predict(SCDAE(teacher="/nowhere"), data_path=photograph, ckpt_path=checkpoint)
    score, anomaly_map = _infer(export(ExportType.OPENVINO), ExportType.OPENVINO, photograph)
    torch.testing.assert_close(score, batch.pred_score.squeeze(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(anomaly_map, batch.anomaly_map.squeeze(), rtol=1e-3, atol=1e-3)


def test_figures_of_the_exported_model_are_those_of_anomalib_test(
    trained: tuple[Path, Path], export: Export, datamodule: MVTecLOCO, loco_root: Path, tmp_path: Path
) -> None:
    checkpoint, _ = trained
    engine = Engine(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    (figures,) = engine.test(SCDAE(teacher="/nowhere"), datamodule=datamodule, ckpt_path=checkpoint)
    exported = export(ExportType.OPENVINO)
    found = evaluate(dataset=loco_root, category="part", maps=tmp_path / "maps", exported=exported)
    for name, auroc in found["classification"]["auc_roc"].items():
        assert auroc == pytest.approx(figures[f"image_AUROC_{name.removesuffix('_anomalies')}"], abs=1e-6)
    for name, limits in found["localization"]["auc_spro"].items():
        for limit, value in limits.items():
            logged = figures[f"pixel_AUsPRO_{name.removesuffix('_anomalies')}_{limit}"]
            assert value == pytest.approx(logged, abs=5e-3)


def _expected(checkpoint: Path, image: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and map by PyTorch."""
    model = SCDAE.load_from_checkpoint(checkpoint).eval()
    pixels = decode_image(str(image), ImageReadMode.RGB)[None] / 255
    with torch.no_grad():
        output = model(pixels)
    return output.pred_score.squeeze(), output.anomaly_map.squeeze()


@pytest.mark.parametrize("export_type", [ExportType.TORCH, ExportType.ONNX, ExportType.OPENVINO])
@pytest.mark.parametrize("size", [None, FIXED])
def test_exports_equal_pytorch(
    trained: tuple[Path, Path], export: Export, images: list[Path], export_type: ExportType, size: tuple | None
) -> None:
    checkpoint, _ = trained
    if export_type is ExportType.TORCH and size:
        pytest.skip("a whole module has no fixed size")
    path = export(export_type, size)
    if export_type is ExportType.ONNX:
        assert [file.name for file in path.parent.iterdir()] == [path.name], "a file that can be taken elsewhere"
    for image in (images[0], images[-1]):
        score, anomaly_map = _expected(checkpoint, image)
        found_score, found_map = _infer(path, export_type, image)
        torch.testing.assert_close(found_score, score, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found_map, anomaly_map, rtol=1e-3, atol=1e-3)


def _infer(path: Path, export_type: ExportType, image: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and map by the exported model, through Anomalib's inferencers where there is one."""
    if export_type is ExportType.TORCH:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRUST_REMOTE_CODE", "1")  # Anomalib asks for it before it unpickles a module
            prediction = TorchInferencer(path, device="cpu").predict(image)
        return prediction.pred_score.squeeze(), prediction.anomaly_map.squeeze()
    if export_type is ExportType.OPENVINO:
        # The CPU plugin would compute in bf16 where the processor has it.
        inferencer = OpenVINOInferencer(path, config={"INFERENCE_PRECISION_HINT": "f32"})
        prediction = inferencer.predict(image)
        return _tensor(prediction.pred_score), _tensor(prediction.anomaly_map)
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = compiled(decode_image(str(image), ImageReadMode.RGB)[None].numpy() / 255.0)
    named = {output.get_any_name(): value for output, value in outputs.items()}
    return _tensor(named["pred_score"]), _tensor(named["anomaly_map"])


def _tensor(value: object) -> torch.Tensor:
    return torch.as_tensor(value).float().squeeze()


@pytest.mark.parametrize("size", [None, FIXED])
def test_exported_openvino_takes_any_batch(
    trained: tuple[Path, Path], export: Export, size: tuple[int, int] | None
) -> None:
    import openvino

    checkpoint, _ = trained
    model = SCDAE.load_from_checkpoint(checkpoint).eval()
    compiled = openvino.compile_model(export(ExportType.OPENVINO, size), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pixels = torch.rand(3, 3, *FIXED)
    for batch in (pixels[:1], pixels):
        outputs = {output.get_any_name(): value for output, value in compiled(batch.numpy()).items()}
        with torch.no_grad():
            expected = model(batch)
        torch.testing.assert_close(_tensor(outputs["pred_score"]), expected.pred_score.squeeze(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            _tensor(outputs["anomaly_map"]), expected.anomaly_map.squeeze(), rtol=1e-3, atol=1e-3
        )


def test_openvino_fp16_is_half_as_large_and_close(
    trained: tuple[Path, Path], export: Export, images: list[Path]
) -> None:
    checkpoint, _ = trained
    path = export(ExportType.OPENVINO, FIXED, CompressionType.FP16)
    sizes = [part.with_suffix(".bin").stat().st_size for part in (path, export(ExportType.OPENVINO, FIXED))]
    assert sizes[0] < 0.6 * sizes[1]
    score, anomaly_map = _expected(checkpoint, images[0])
    found_score, found_map = _infer(path, ExportType.OPENVINO, images[0])
    torch.testing.assert_close(found_score, score, rtol=2e-2, atol=1e-2)
    torch.testing.assert_close(found_map, anomaly_map, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("abnormal", [False, True])
def test_users_own_folder(model_arguments: dict, tmp_path: Path, abnormal: bool) -> None:
    """Anomalib's Folder: only normal images and no masks, or abnormal images too."""
    draw_folder(tmp_path / "mine", 6, 4 if abnormal else 0)
    data = Folder(
        name="mine",
        root=tmp_path / "mine",
        normal_dir="good",
        abnormal_dir="bad" if abnormal else None,
        train_batch_size=2,
        num_workers=0,
    )
    engine = Engine(max_steps=2, default_root_dir=tmp_path, accelerator="cpu")
    (figures,) = engine.train(SCDAE(**model_arguments), datamodule=data)
    model = engine.model
    assert ("image_AUROC" in figures) == abnormal
    assert 0 <= figures.get("image_AUROC", 0) <= 1
    assert torch.isfinite(model.post_processor.image_threshold)
    assert (model.model.anomaly_map.upper > model.model.anomaly_map.lower).all()
    assert Path(engine.best_model_path).is_file()


def test_mvtec_ad_layout(model_arguments: dict, tmp_path: Path) -> None:
    from anomalib.data import MVTecAD

    root = tmp_path / "mvtec/part"
    for seed in range(3):
        draw_image(root / "train/good" / f"{seed:03}.png", seed)
        draw_image(root / "test/good" / f"{seed:03}.png", 10 + seed)
        draw_image(root / "test/spot" / f"{seed:03}.png", 20 + seed, spot=True)
        draw_mask(root / "ground_truth/spot" / f"{seed:03}_mask.png")
    data = MVTecAD(root=tmp_path / "mvtec", category="part", train_batch_size=1, num_workers=0)
    engine = Engine(max_steps=2, default_root_dir=tmp_path, accelerator="cpu")
    (figures,) = engine.train(SCDAE(**model_arguments), datamodule=data)
    assert figures.keys() >= {"image_AUROC_spot", "pixel_AUROC", "pixel_AUsPRO_spot_0.3"}
    assert not [name for name in figures if "mean" in name], "of one type"


def test_train_with_a_checkpoint_tests_the_new_weights(
    datamodule: MVTecLOCO, model_arguments: dict, tmp_path: Path
) -> None:
    first = Engine(max_steps=1, default_root_dir=tmp_path, accelerator="cpu")
    first.fit(SCDAE(**model_arguments), datamodule=datamodule)
    checkpoint = first.best_model_path

    engine = Engine(max_steps=3, default_root_dir=tmp_path, accelerator="cpu", callbacks=[ModelCheckpoint(tmp_path)])
    model = SCDAE(**model_arguments)
    with pytest.warns(UserWarning, match="weights that training has just made"):
        engine.train(model, datamodule=datamodule, ckpt_path=checkpoint)
    (written,) = tmp_path.glob("*.ckpt")
    new = torch.load(written, weights_only=True)
    assert new["global_step"] == 3
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, new["state_dict"][name], equal_nan=True)
    # Asked for once more, the checkpoint itself is meant.
    engine.test(model, datamodule=datamodule, ckpt_path=checkpoint)
    old = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, old[name], equal_nan=True)
