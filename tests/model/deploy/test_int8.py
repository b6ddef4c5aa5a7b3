# SPDX-License-Identifier: Apache-2.0
"""INT8 exports: which images they see, what they keep in floating point, and how close they come."""

import gc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.data import Folder, MVTecLOCO
from anomalib.deploy import CompressionType
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.deploy.int8 import quantize
from anomalib_scdae.model.deploy.int8.images import CalibrationImages, abnormal_validation_set, calibration_set
from anomalib_scdae.model.deploy.int8.judging import agreement, figure_of
from tests.conftest import CHANNELS, draw_image

pytestmark = pytest.mark.usefixtures("narrow_networks")

#: Height and width of the exported model's input, which are not those of the networks'.
SIZE = (270, 290)


def _loco(root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=root, category="part", num_workers=0)


def _folder(root: Path, **options) -> Folder:
    """Ten normal pictures of several sizes and four abnormal ones, in the layout of a user's own folder."""
    for seed in range(10):
        draw_image(root / "good" / f"{seed}.png", seed, size=(260 + 10 * seed, 300))
    for seed in range(4):
        draw_image(root / "bad" / f"{seed}.png", 50 + seed, spot=True)
    return Folder(name="mine", root=root, normal_dir="good", abnormal_dir="bad", num_workers=0, **options)


def _paths(data) -> list[str]:
    dataset, indices = calibration_set(data)
    return [dataset.samples["image_path"].iloc[index] for index in indices]


class _Input:
    """Stands for an exported model of which only the input's shape matters."""

    def __init__(self, shape: str) -> None:
        import openvino

        self.partial_shape = openvino.PartialShape(shape)

    def input(self, _: int) -> "_Input":
        return self


def test_calibrates_with_normal_validation_images(loco_root: Path) -> None:
    paths = _paths(_loco(loco_root))
    assert len(paths) == 3
    assert all("/validation/good/" in path for path in paths)


@pytest.mark.parametrize("split", ["same_as_test", "none", "from_test"])
def test_never_calibrates_with_test_or_abnormal_images(tmp_path: Path, split: str) -> None:
    data = _folder(tmp_path, val_split_mode=split)
    paths = _paths(data)
    assert paths
    assert all("/good/" in path for path in paths)
    assert not set(paths) & set(data.test_data.samples["image_path"])


def test_a_split_that_is_there_stays_and_one_that_is_drawn_without_a_seed_is_told(tmp_path: Path) -> None:
    data = _folder(tmp_path, val_split_mode="from_test")
    with pytest.warns(UserWarning, match="may have been test images after the training: give both"):
        _paths(data)
    before = list(data.val_data.samples["image_path"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _paths(data)
        _paths(_folder(tmp_path, val_split_mode="from_test", seed=1))
    assert list(data.val_data.samples["image_path"]) == before


def test_images_that_anomalib_makes_outlive_the_calibration(tmp_path: Path) -> None:
    """A synthetic dataset deletes its files with its last copy."""
    data = _folder(tmp_path, val_split_mode="synthetic", seed=0)
    images = CalibrationImages(*calibration_set(data), _Input("?,3,?,?"))
    assert len(list(images)) == len(images)
    del images
    gc.collect()
    assert all(Path(path).is_file() for path in data.val_data.samples["image_path"])


def test_accuracy_is_not_watched_on_a_validation_set_that_is_the_test_set(tmp_path: Path, loco_root: Path) -> None:
    for split, watched in (("same_as_test", False), ("from_test", True)):
        data = _folder(tmp_path, val_split_mode=split)
        data.setup("fit")
        assert (abnormal_validation_set(data) is not None) is watched
    loco = _loco(loco_root)
    loco.setup("fit")
    assert abnormal_validation_set(loco) is None


@pytest.mark.parametrize(
    ("shape", "expected"), [("?,3,?,?", None), ("?,3,256,288", (1, 3, 256, 288)), ("4,3,256,256", (4, 3, 256, 256))]
)
def test_calibration_images_fit_the_exported_model(tmp_path: Path, shape: str, expected: tuple | None) -> None:
    data = _folder(tmp_path, val_split_mode="none")
    images = list(CalibrationImages(*calibration_set(data), _Input(shape)))
    sizes = {image.pixels.shape for image in images}
    if expected is None:
        assert len(sizes) > 1  # as they are on disk
        for image in images:
            original = np.asarray(Image.open(image.item.image_path)).transpose(2, 0, 1) / 255
            np.testing.assert_allclose(image.pixels[0], original, atol=1e-6)
    else:
        assert sizes == {expected}


def test_calibration_leaves_augmentations_out(loco_root: Path) -> None:
    data = _loco(loco_root)
    dataset, indices = calibration_set(data)
    dataset.augmentations = torch.zeros_like  # any transform at all
    (first, *_) = CalibrationImages(dataset, indices, _Input("?,3,?,?"))
    assert first.pixels.max() > 0
    assert dataset.augmentations is not None  # the user's dataset keeps it


@pytest.mark.parametrize("compression", [CompressionType.INT8_PTQ, CompressionType.INT8_ACQ])
def test_without_images_the_reason_is_said_at_once(
    model_arguments: dict, tmp_path: Path, compression: CompressionType
) -> None:
    for name in (compression, compression.value):  # which Anomalib takes as well
        with pytest.raises(UserError, match=f"{compression.name}.*pass datamodule"):
            SCDAE(**model_arguments).to_openvino(tmp_path, compression_type=name)
    assert not list(tmp_path.iterdir())


def test_without_a_resizing_the_size_must_be_given_and_large_enough(model_arguments: dict, tmp_path: Path) -> None:
    model = SCDAE(pre_processor=False, **model_arguments)
    with pytest.raises(UserError, match="cannot resize: give --input_size"):
        model.to_onnx(tmp_path)
    with pytest.raises(UserError, match="An image size of 128 x 256 is too small"):
        model.to_onnx(tmp_path, input_size=(128, 256))


def test_an_impossible_drop_is_refused(model_arguments: dict, tmp_path: Path, loco_root: Path) -> None:
    with pytest.raises(UserError, match="max_drop must be between 0 and 1"):
        SCDAE(**model_arguments).to_openvino(
            tmp_path, compression_type=CompressionType.INT8_ACQ, datamodule=_loco(loco_root), max_drop=1.5
        )


@given(st.integers(0, 100), st.floats(0.01, 1))
def test_agreement_is_the_coefficient_of_determination(seed: int, noise: float) -> None:
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(seed)
    expected = rng.normal(size=(3, 8, 8))
    found = expected + noise * rng.normal(size=expected.shape)
    values = [agreement(a, b, expected.var()) for a, b in zip(found, expected, strict=True)]
    np.testing.assert_allclose(np.mean(values), r2_score(expected.ravel(), found.ravel()))
    assert agreement(expected[0], expected[0], expected.var()) == 1
    assert agreement(expected[0] + 1, expected[0], expected.var()) < 1


@pytest.fixture(scope="module")
def model() -> SCDAE:
    """Small networks with random weights in which every module has something to say."""
    torch.manual_seed(0)
    return SCDAE(teacher_out_channels=CHANNELS, identity_init=False).eval()


@pytest.fixture(scope="module")
def exported(model: SCDAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in float32, for images of one size."""
    return model.to_openvino(tmp_path_factory.mktemp("float32"), input_size=SIZE)


def _picture(seed: int, size: tuple[int, int]) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 3, 6, 6))).float()
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 1)


def _close(model: SCDAE, quantised, size: tuple[int, int]) -> None:
    import openvino

    images = torch.stack([_picture(seed, size) for seed in (60, 61)])  # any batch size
    compiled = openvino.compile_model(quantised, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        expected = model(images).anomaly_map.numpy()
    found = compiled(images.numpy())["anomaly_map"]
    assert agreement(found, expected, expected.var()) > 0.8
    assert not np.array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("compression", [CompressionType.INT8, CompressionType.INT8_PTQ, CompressionType.INT8_ACQ])
def test_int8_maps_are_close_and_only_convolutions_quantised(
    model: SCDAE, exported: Path, loco_root: Path, compression: CompressionType
) -> None:
    import openvino

    quantised = quantize(openvino.Core().read_model(exported), compression, _loco(loco_root), None, max_drop=0.5)
    _close(model, quantised, SIZE)
    in_int8 = {
        target.get_node().get_type_name()
        for node in quantised.get_ordered_ops()
        if node.get_type_name() == "FakeQuantize"
        for target in node.output(0).get_target_inputs()
    }
    assert in_int8 <= {"Convolution", "AvgPool", "FakeQuantize"}
    assert bool(in_int8) is (compression is not CompressionType.INT8)


@pytest.mark.slow
def test_export_for_images_of_any_size(model: SCDAE, loco_root: Path, tmp_path: Path) -> None:
    path = model.to_openvino(tmp_path, compression_type=CompressionType.INT8_PTQ, datamodule=_loco(loco_root))
    assert path == tmp_path / "weights/openvino/model.xml"
    _close(model, path, (300, 280))


def test_a_metric_sees_the_predictions_and_the_ground_truth_afresh_each_time(tmp_path: Path) -> None:
    from anomalib.metrics import AUROC, F1Score

    data = _folder(tmp_path, val_split_mode="from_test")
    data.setup("fit")
    images = CalibrationImages(data.val_data, range(len(data.val_data)), _Input("2,3,256,256"))

    def perfect(pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Call those images abnormal that have :func:`draw_image`'s spot."""
        spot = (pixels.min(axis=1, keepdims=True) > 0.999).astype(np.float32)
        score = spot.max(axis=(1, 2, 3))
        return {"pred_score": score, "pred_label": score > 0.5, "anomaly_map": spot, "pred_mask": spot > 0.5}

    for metric in (F1Score(fields=["pred_label", "gt_label"]), AUROC(fields=["pred_score", "gt_label"])):
        validate = figure_of(metric)
        assert validate(perfect, images) == validate(perfect, images) == (1.0, None)
        assert validate(lambda pixels: {k: v[:] * 0 for k, v in perfect(pixels).items()}, images)[0] < 1
