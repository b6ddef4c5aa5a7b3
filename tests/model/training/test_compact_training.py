# SPDX-License-Identifier: Apache-2.0
"""A compact SCDAE: by training or afterwards, calibrated, tested, exported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.data import MVTecLOCO, PredictDataset
from anomalib.deploy import CompressionType
from anomalib.engine import Engine
from torch.utils.data import DataLoader, Subset

from anomalib_scdae import SCDAE
from anomalib_scdae.cli import main
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.deploy import compact_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks", "traced_once")]

#: Few steps on few images tell no module from the identity: their start is made to matter, and different ranks too.
OPTIONS = {"teacher_out_channels": 16, "identity_init": False}


def _data(loco_root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=loco_root, category="part", train_batch_size=1, eval_batch_size=2, num_workers=0)


def _engine(folder: Path) -> Engine:
    return Engine(max_steps=2, default_root_dir=folder, accelerator="cpu", enable_progress_bar=False, logger=False)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, loco_root: Path, teacher_file: Path, penalty_folder: Path
) -> dict[bool, Path]:
    """Checkpoints of the same training, compact and not."""
    paths = {}
    for compact in (False, True):
        torch.manual_seed(0)
        model = SCDAE(teacher=str(teacher_file), penalty_images=str(penalty_folder), compact=compact, **OPTIONS)
        engine = _engine(tmp_path_factory.mktemp("trained"))
        torch.manual_seed(1)
        engine.fit(model, datamodule=_data(loco_root))
        paths[compact] = Path(engine.best_model_path)
    return paths


@pytest.fixture(scope="module")
def afterwards(trained: dict[bool, Path], loco_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of the checkpoint that is not compact."""
    output = tmp_path_factory.mktemp("compact") / "part.ckpt"
    data = ["--data", "MVTecLOCO", "--data.root", str(loco_root), "--data.category", "part", "--data.num_workers", "0"]
    assert main(["compact", "--ckpt_path", str(trained[False]), *data, "--output", str(output)]) == 0
    return output


def _image(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 280, 300, generator=torch.Generator().manual_seed(seed))


def _assert_same_model(first: SCDAE, second: SCDAE) -> None:
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


def test_training_makes_it_and_its_checkpoint_says_so(trained: dict[bool, Path]) -> None:
    exact, compact = (SCDAE.load_from_checkpoint(trained[kind]).eval() for kind in (False, True))
    assert exact.model.compaction is None
    assert compact.model.is_compact
    # The same weights: what is compact is what is made of them.
    for (name, weight), other in zip(exact.named_parameters(), compact.parameters(), strict=True):
        assert torch.equal(weight, other), name
    with torch.no_grad():
        assert not torch.equal(exact(_image()).anomaly_map, compact(_image()).anomaly_map)


def test_the_command_makes_what_training_makes(trained: dict[bool, Path], afterwards: Path) -> None:
    """Quantiles, standardised context scores, thresholds and directions are those of a compact training."""
    compact, made = SCDAE.load_from_checkpoint(trained[True]), SCDAE.load_from_checkpoint(afterwards)
    _assert_same_model(compact, made)


def test_the_thresholds_are_those_of_compact_maps(trained: dict[bool, Path], loco_root: Path) -> None:
    """On images of validation 0.5 is the largest score, as for any other model."""
    model = SCDAE.load_from_checkpoint(trained[True])
    data = _data(loco_root)
    data.setup("validate")
    batches = _engine(trained[True].parent).predict(model, dataloaders=data.val_dataloader())
    scores = torch.cat([batch.pred_score.flatten() for batch in batches])
    torch.testing.assert_close(scores.max(), torch.tensor(0.5), rtol=0, atol=1e-3)


def test_testing_and_predicting_fit_it_where_there_are_images(
    trained: dict[bool, Path], afterwards: Path, loco_root: Path, tmp_path: Path
) -> None:
    made = SCDAE.load_from_checkpoint(afterwards)
    for run in ("test", "predict"):
        model = SCDAE(compact=True, **OPTIONS)
        getattr(_engine(tmp_path), run)(model, datamodule=_data(loco_root), ckpt_path=trained[False])
        _assert_same_model(made, model)


def test_where_there_are_no_images_it_is_refused(trained: dict[bool, Path], loco_root: Path, tmp_path: Path) -> None:
    images = PredictDataset(loco_root / "part/test/good")
    with pytest.raises(UserError, match="anomalib-scdae compact"):
        _engine(tmp_path).predict(SCDAE(compact=True, **OPTIONS), dataset=images, ckpt_path=trained[False])
    model = SCDAE.load_from_checkpoint(trained[False], compact=True)
    for export in (model.to_torch, model.to_onnx, model.to_openvino):
        with pytest.raises(UserError, match="anomalib-scdae compact"):
            export(tmp_path)


def test_a_validation_without_training_images_leaves_it_as_it_is(
    trained: dict[bool, Path], loco_root: Path, tmp_path: Path
) -> None:
    data = _data(loco_root)
    data.setup("validate")
    model = SCDAE.load_from_checkpoint(trained[True])
    before = {name: value.clone() for name, value in model.model.compaction.state_dict().items()}
    _engine(tmp_path).validate(model, dataloaders=data.val_dataloader())
    for name, value in model.model.compaction.state_dict().items():
        assert torch.equal(value, before[name]), name
    exact = SCDAE.load_from_checkpoint(trained[False], compact=True)
    with pytest.raises(UserError, match="anomalib-scdae compact"):
        _engine(tmp_path).validate(exact, dataloaders=data.val_dataloader())


def test_a_loader_may_be_of_a_part_of_the_images(
    loco_root: Path, teacher_file: Path, penalty_folder: Path, tmp_path: Path
) -> None:
    data = _data(loco_root)
    data.setup("fit")
    model = SCDAE(teacher=str(teacher_file), penalty_images=str(penalty_folder), compact=True, **OPTIONS)
    loader = DataLoader(Subset(data.train_data, [0, 2]), collate_fn=data.train_data.collate_fn)
    _engine(tmp_path).fit(model, train_dataloaders=loader, val_dataloaders=data.val_dataloader())
    assert model.model.is_compact


def test_the_command_needs_no_validation_images(
    trained: dict[bool, Path], loco_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training images stand in, as in a training."""
    options = {"name": "part", "root": loco_root / "part/train", "normal_dir": "good", "num_workers": 0}
    options |= {"val_split_mode": "none", "test_split_mode": "none"}
    data = ["--data", "Folder", *(part for key, value in options.items() for part in (f"--data.{key}", str(value)))]
    output = tmp_path / "part.ckpt"
    assert main(["compact", "--ckpt_path", str(trained[False]), *data, "--output", str(output)]) == 0
    assert "validation images" not in capsys.readouterr().out
    made, before = SCDAE.load_from_checkpoint(output), SCDAE.load_from_checkpoint(trained[False])
    assert made.model.is_compact
    assert not torch.equal(made.model.anomaly_map.lower, before.model.anomaly_map.lower)
    assert made.post_processor.image_threshold != before.post_processor.image_threshold


@pytest.mark.parametrize("size", [None, (256, 256)], ids=["any size", "fixed size"])
def test_exports_equal_pytorch(afterwards: Path, tmp_path: Path, size: tuple[int, int] | None) -> None:
    import openvino

    model = SCDAE.load_from_checkpoint(afterwards).eval()
    images = _image()[..., :256, :256] if size else _image()
    with torch.no_grad():
        expected = model(images)
    for path in (model.to_openvino(tmp_path, input_size=size), model.to_onnx(tmp_path / "onnx", input_size=size)):
        compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        batches = images.split(1) if size else [images]  # a fixed size comes with a fixed batch of one
        outputs = [compiled(batch.numpy()) for batch in batches]
        for name in ("pred_score", "anomaly_map"):
            found = np.concatenate([output[name] for output in outputs])
            wanted = getattr(expected, name).numpy().reshape(found.shape)
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [CompressionType.FP16, CompressionType.INT8_PTQ])
def test_compressed_exports_are_near_pytorch(
    afterwards: Path, loco_root: Path, tmp_path: Path, kind: CompressionType
) -> None:
    import openvino

    model = SCDAE.load_from_checkpoint(afterwards).eval()
    path = model.to_openvino(tmp_path, input_size=(256, 256), compression_type=kind, datamodule=_data(loco_root))
    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    data = _data(loco_root)
    data.setup("validate")
    images = torch.cat([model.transformed(batch.image) for batch in data.val_dataloader()])
    with torch.no_grad():
        expected = model(images).anomaly_map.numpy()
    found = np.concatenate([compiled(image.numpy())["anomaly_map"] for image in images.split(1)])
    agreement = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    assert agreement > (0.999 if kind is CompressionType.FP16 else 0.9)


def test_a_resumed_training_stays_compact(trained: dict[bool, Path], loco_root: Path, tmp_path: Path) -> None:
    model = SCDAE(compact=False, **OPTIONS)
    engine = Engine(max_steps=3, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False, logger=False)
    engine.fit(model, datamodule=_data(loco_root), ckpt_path=trained[True])
    assert model.model.is_compact


def test_weights_alone_are_no_training_to_go_on_with(afterwards: Path, loco_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds weights alone"):
        _engine(tmp_path).fit(SCDAE(**OPTIONS), datamodule=_data(loco_root), ckpt_path=afterwards)


def test_weights_that_are_saved_uncalibrated_are_not_called_compact(
    trained: dict[bool, Path], loco_root: Path, tmp_path: Path
) -> None:
    """As those of a training whose images cannot be read any more; the command makes them compact."""
    model = SCDAE.load_from_checkpoint(trained[True])
    saved = torch.load(trained[True], weights_only=False)
    model.calibration.left_out = True
    model.calibration.complete(None, model, saved["state_dict"])
    path = tmp_path / "interrupted.ckpt"
    torch.save(saved, path)
    assert model.model.is_compact
    assert not SCDAE.load_from_checkpoint(path).model.is_compact
    assert SCDAE.load_from_checkpoint(
        compact_checkpoint.compact(ckpt_path=path, data=_data(loco_root))
    ).model.is_compact


def test_the_command_is_one_process(
    trained: dict[bool, Path], loco_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several, each would write the checkpoint."""
    made = []

    def engine(**options: object) -> None:
        made.append(options)
        raise UserError

    monkeypatch.setattr(compact_checkpoint, "Engine", engine)
    with pytest.raises(UserError):
        compact_checkpoint.compact(ckpt_path=trained[False], data=_data(loco_root))
    assert made[0]["devices"] == 1


def test_mistakes_are_told(trained: dict[bool, Path], loco_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", "MVTecLOCO", "--data.root", str(loco_root), "--data.category", "part"]
    for arguments, cause in (
        (["--ckpt_path", str(trained[True])], "compact model already"),
        (["--ckpt_path", str(trained[False]), "--output", str(trained[False])], "is the checkpoint itself"),
        (["--ckpt_path", str(trained[False].parent / "none.ckpt")], "There is no checkpoint"),
    ):
        assert main(["compact", *arguments, *data]) == 1
        assert cause in capsys.readouterr().err
