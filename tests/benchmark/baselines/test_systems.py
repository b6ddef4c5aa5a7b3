# SPDX-License-Identifier: Apache-2.0
"""What holds for every system of the paper's Table 1 that this package adds to Anomalib's."""

from pathlib import Path

import pytest
import torch
from anomalib.data import Folder
from anomalib.models import AnomalibModule
from safetensors.torch import load_file

from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.benchmark.baselines.memory_bank import GalleryMixin, check_room
from anomalib_scdae.benchmark.cell.build import build_model, load_weights, save_weights
from anomalib_scdae.benchmark.classes import MODEL_MODULES, find_class
from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.evaluator import RawScoreEvaluator
from tests.benchmark.baselines.systems import SIDE, SMALL, engine, loco, make, outputs, trained


@pytest.fixture(scope="module", params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, loco_root: Path, tmp_path_factory: pytest.TempPathFactory) -> AnomalibModule:
    """A system that has been trained for an epoch."""
    return trained(name, loco(loco_root), tmp_path_factory.mktemp("trained"))


def test_it_gives_a_score_and_a_map_for_every_image(model: AnomalibModule, loco_root: Path) -> None:
    data = loco(loco_root)
    data.setup()
    scores, maps = outputs(model, data)
    assert scores.shape == (6,)
    assert maps.shape == (6, 1, SIDE, SIDE)
    assert scores.isfinite().all()
    assert maps.isfinite().all()
    assert len(scores.unique()) == 6
    assert maps[0].std() > 0


def test_it_is_found_by_its_name_and_evaluated_from_raw_scores(name: str) -> None:
    assert find_class(name, MODEL_MODULES, AnomalibModule, "here") is type(make(name))
    assert isinstance(make(name).evaluator, RawScoreEvaluator)


def test_training_again_gives_the_same(name: str, model: AnomalibModule, loco_root: Path, tmp_path: Path) -> None:
    data = loco(loco_root)
    again = trained(name, data, tmp_path)
    for first, second in zip(outputs(model, data), outputs(again, data), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_weights_and_checkpoints_keep_all_of_it(
    name: str, model: AnomalibModule, loco_root: Path, tmp_path: Path
) -> None:
    data = loco(loco_root)
    data.setup()
    expected = outputs(model, data)
    save_weights(model, tmp_path / "weights.safetensors")
    copy = make(name)
    load_weights(copy, tmp_path / "weights.safetensors")
    model.trainer.save_checkpoint(tmp_path / "whole.ckpt")
    restored = type(model).load_from_checkpoint(tmp_path / "whole.ckpt")
    for other in (copy, restored):
        for first, second in zip(expected, outputs(other, data), strict=True):
            torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_benchmarks_test_ranks_its_raw_scores(model: AnomalibModule, loco_root: Path, tmp_path: Path) -> None:
    (figures,) = engine(tmp_path).test(model, datamodule=loco(loco_root), verbose=False)
    assert {"image_AUROC", "image_AUROC_logical", "image_AUROC_structural"} <= set(figures)


@pytest.mark.slow
def test_it_exports_or_says_that_it_does_not(model: AnomalibModule, tmp_path: Path) -> None:
    if isinstance(model, GalleryMixin):
        for export in (model.to_onnx, model.to_openvino):
            with pytest.raises(UserError, match=f"{model.method} searches a gallery .* export it with to_torch"):
                export(tmp_path)
        return
    ov = pytest.importorskip("openvino")
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    core, options = ov.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    exported = core.compile_model(model.to_openvino(tmp_path, input_size=(SIDE, SIDE)), "CPU", options)
    found = exported(images.numpy())
    with torch.no_grad():
        expected = model.eval()(images)
    for name in ("pred_score", "anomaly_map"):
        values = torch.from_numpy(found[name]).reshape(getattr(expected, name).shape)
        torch.testing.assert_close(values, getattr(expected, name), rtol=1e-3, atol=2e-3)


def test_it_learns_from_a_folder_of_good_images_alone(name: str, loco_root: Path, tmp_path: Path) -> None:
    """Without images of validation, and with one image more than a batch holds."""
    data = Folder(
        name="part",
        root=loco_root / "part",
        normal_dir="train/good",
        abnormal_dir="test/structural_anomalies",
        normal_test_dir="test/good",
        val_split_mode="none",
        train_batch_size=3,
        eval_batch_size=2,
        num_workers=0,
    )
    model = make(name, visualizer=False)
    engine(tmp_path, limit_val_batches=0).fit(model, datamodule=data)
    scores, _ = outputs(model, data)
    assert scores.isfinite().all()


def test_the_packaged_backbone_serves(name: str, packaged: Path) -> None:
    arguments = {**SMALL[name], "backbone": "efficientnet_lite0"}
    model = build_model({"class_path": name, "init_args": arguments}, SIDE, backbone_weights="packaged")
    assert model.pre_processor.transform.transforms[-1].mean == [0.498] * 3
    (backbone,) = (part for part in model.modules() if isinstance(part, FrozenBackbone))
    weights = load_file(packaged)
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, weights[key])


def test_a_backbone_that_cannot_be_had_is_told(name: str) -> None:
    with pytest.raises(UserError, match=r"wide_resnet101_2.* cannot be had .*switched off"):
        make(name, backbone="wide_resnet101_2", pre_trained=True)
    with pytest.raises(UserError, match="no_such_net cannot be had"):
        make(name, backbone="no_such_net")


def test_the_backbone_never_changes() -> None:
    backbone = FrozenBackbone("resnet18", (4, 8), pre_trained=False)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    fine, coarse = backbone.train()(torch.rand(2, 3, SIDE, SIDE))
    assert (fine.shape, coarse.shape) == ((2, 64, 16, 16), (2, 128, 8, 8))
    assert backbone.channels == [64, 128]
    assert not fine.requires_grad
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_gallery_says_what_it_takes_and_is_refused_where_there_is_no_room(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        check_room("The gallery of 3 images", 2**29)
    assert "The gallery of 3 images takes 0.50 GiB of memory." in caplog.text
    with pytest.raises(UserError, match=r"would take 1048576\.0 GiB of memory, and .* are free"):
        check_room("The gallery", 2**50)


@pytest.mark.parametrize("name", ["Spade", "Sinbad"])
def test_a_gallery_has_thresholds_after_its_only_epoch(name: str, loco_root: Path, tmp_path: Path) -> None:
    """Whatever the trainer says about validation: the benchmark does not validate it once more."""
    model = make(name, visualizer=False)
    engine(tmp_path, max_epochs=7, check_val_every_n_epoch=100).fit(model, datamodule=loco(loco_root))
    assert model.trainer.current_epoch == 1
    assert model.post_processor.image_threshold.isfinite()
    assert not model.validate_final_weights


@pytest.mark.parametrize("name", ["Spade", "Sinbad"])
def test_a_gallery_has_every_image_whatever_the_limit_of_steps(name: str, loco_root: Path, tmp_path: Path) -> None:
    data = loco(loco_root, batch_size=1)
    whole = trained(name, data, tmp_path / "whole")
    limited = make(name, visualizer=False)
    engine(tmp_path / "limited", max_steps=1).fit(limited, datamodule=data)
    torch.testing.assert_close(outputs(limited.eval(), data), outputs(whole, data))


@pytest.mark.parametrize("name", ["Gcad", "DskdReconstruction"])
def test_maps_have_their_scale_where_a_training_ends_within_an_epoch(
    name: str, loco_root: Path, tmp_path: Path
) -> None:
    data = loco(loco_root, batch_size=1)
    model = make(name, visualizer=False)
    engine(tmp_path, max_epochs=-1, max_steps=2).fit(model, datamodule=data)
    networks = model.eval().model
    found = networks.scale.mean.clone(), networks.scale.std.clone()
    images = [model.pre_processor.transform(batch.image) for batch in data.val_dataloader()]
    networks.scale.fit(networks.separate_maps(batch) for batch in images)
    torch.testing.assert_close(found, (networks.scale.mean, networks.scale.std))
    assert (found[1] != 1).all()


@pytest.mark.parametrize("name", ["Gcad", "DskdReconstruction"], indirect=True)
def test_maps_have_the_scale_of_normal_images_of_validation(model: AnomalibModule, loco_root: Path) -> None:
    data = loco(loco_root)
    data.setup()
    model.eval()
    with torch.no_grad():
        images = [model.pre_processor.transform(batch.image) for batch in data.val_dataloader()]
        scaled = torch.cat([model.model.scale(model.model.separate_maps(each)) for each in images])
    values = scaled.transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(dim=1), torch.zeros(len(values)), rtol=0, atol=1e-3)
    torch.testing.assert_close(values.std(dim=1), torch.ones(len(values)), rtol=0, atol=1e-2)
