# SPDX-License-Identifier: Apache-2.0
"""Trainings that cannot end well, and models that none has made, are refused in one sentence."""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import Folder, MVTecLOCO
from anomalib.data.utils import read_image
from anomalib.deploy import ExportType
from anomalib.engine import Engine
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateFinder
from PIL import Image

from anomalib_scdae import SCDAE
from anomalib_scdae.benchmark.cell.recorder import _losses as _recorded
from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import check_depth
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.blank_images import BlankImages
from anomalib_scdae.model.training.checks import check_pool_size, check_training
from anomalib_scdae.model.training.finite_loss import STEPS_BETWEEN_LOOKS, FiniteLoss

pytestmark = pytest.mark.usefixtures("narrow_networks")


def _loco(root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=root, category="part", train_batch_size=1, num_workers=0)


def _engine(folder: Path, **arguments: object) -> Engine:
    options = {"default_root_dir": folder, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    return Engine(**options | arguments)


def _sentence(use: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        use()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("pool_size", "branches", "size", "positions"),
    [
        (56, [["srm"], ["crm"]], (256, 256), None),
        (57, [["srm"], ["crm"]], (256, 256), "56 x 56"),
        (57, [["srm"], ["crm"]], (512, 256), "120 x 56"),
        (57, [["crm"], []], (256, 256), None),  # nothing pools
    ],
)
def test_no_more_is_pooled_than_there_is(
    pool_size: int, branches: list, size: tuple[int, int], positions: str | None
) -> None:
    networks = SCDAEModel(branches=branches, pool_size=pool_size, teacher_out_channels=4)
    before = torch.get_rng_state()
    if positions is None:
        check_pool_size(networks, size)
        assert torch.equal(torch.get_rng_state(), before), "a resumed training would go on with other random numbers"
    else:
        said = _sentence(lambda: check_pool_size(networks, size))
        assert f"the features of images of {size[0]} x {size[1]} have {positions} positions" in said


class TestUntrained:
    """A model that was never trained."""

    @pytest.fixture
    def model(self) -> SCDAE:
        return SCDAE(teacher_out_channels=4)

    @pytest.mark.parametrize("use", ["test", "predict", "validate"])
    def test_its_figures_are_refused(self, model: SCDAE, loco_root: Path, tmp_path: Path, use: str) -> None:
        run = getattr(_engine(tmp_path), use)
        for _ in range(2):  # the first attempt leaves nothing behind that would pass for a training
            assert "never trained" in _sentence(lambda: run(model, datamodule=_loco(loco_root)))

    def test_its_export_warns(self, model: SCDAE, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="EXPORTING AN UNTRAINED MODEL"):
            _engine(tmp_path).export(model, ExportType.TORCH)
        model.model.anomaly_map.upper.fill_(0.5)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="EXPORTING")
            _engine(tmp_path).export(model, ExportType.TORCH)

    def test_weights_loaded_by_hand_are_taken(self, model: SCDAE, loco_root: Path, tmp_path: Path) -> None:
        state = model.state_dict()
        state["model.anomaly_map.lower"] = torch.full((3,), 0.01)
        model.load_state_dict(state)
        assert _engine(tmp_path).predict(model, datamodule=_loco(loco_root))


@pytest.mark.parametrize("limit", ["max_steps", "max_epochs", "limit_train_batches"])
def test_a_training_of_nothing_is_refused(limit: str, loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    engine = _engine(tmp_path, **{limit: 0})
    sentence = _sentence(lambda: engine.fit(SCDAE(**model_arguments), datamodule=_loco(loco_root)))
    assert f"--trainer.{limit}" in sentence


class _Break(Callback):
    """Makes a weight infinite before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: SCDAE, *_: object) -> None:
        if trainer.global_step + 1 == self.step:
            next(pl_module.model.student.parameters()).data.fill_(torch.inf)


class TestLossThatIsNotFinite:
    """A training that has left the numbers."""

    def test_it_stops_at_the_step_and_keeps_earlier_checkpoints(
        self, loco_root: Path, model_arguments: dict, tmp_path: Path
    ) -> None:
        saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        engine = _engine(tmp_path, max_steps=5, callbacks=[_Break(3), saving])
        sentence = _sentence(lambda: engine.fit(SCDAE(**model_arguments, lr=0.002), datamodule=_loco(loco_root)))
        assert "The loss of step 3 is" in sentence
        assert "--model.lr, now 0.002)" in sentence
        assert "float32" not in sentence
        assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["step=1.ckpt", "step=2.ckpt"]
        for path in tmp_path.glob("*.ckpt"):
            assert SCDAE.load_from_checkpoint(path).model.anomaly_map.upper.isfinite().all()

    def test_half_precision_is_named(self, loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
        engine = _engine(tmp_path, max_steps=1, precision="bf16-mixed", callbacks=[_Break(1)])
        sentence = _sentence(lambda: engine.fit(SCDAE(**model_arguments), datamodule=_loco(loco_root)))
        assert "in float32 instead of bf16-mixed" in sentence

    def test_a_processor_that_is_slow_in_bf16_is_told_before_training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trainer = Trainer(accelerator="cpu", precision="bf16-mixed", max_steps=1, logger=False)
        trainer.strategy.connect(SCDAE())
        monkeypatch.setattr("anomalib_scdae.model.training.checks.bf16_speed", lambda _device: 0.5)
        with pytest.warns(UserWarning, match="bf16 takes this processor 2.0 times as long.*--trainer.precision 32"):
            check_training(trainer)
        monkeypatch.setattr("anomalib_scdae.model.training.checks.bf16_speed", lambda _device: 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_training(trainer)

    def test_a_gpu_is_not_waited_for(self) -> None:
        """Its notes are kept on the device, read once in fifty steps, and before anything is saved."""
        watch, module = FiniteLoss(), SimpleNamespace(device=torch.device("meta"), lr=1.0)
        trainer = SimpleNamespace(global_step=0, precision="16-mixed")
        watch.on_train_start(trainer, module)
        for trainer.global_step in range(STEPS_BETWEEN_LOOKS - 1):  # a tensor without values cannot be read
            watch.on_before_backward(trainer, module, torch.empty((), device="meta"))
        trainer.global_step += 1
        with pytest.raises(RuntimeError, match="meta"):
            watch.on_before_backward(trainer, module, torch.empty((), device="meta"))
        with pytest.raises(RuntimeError, match="meta"):
            watch.check(trainer, module)


def _twelve_bits(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).integers(300, 4096, (280, 300), dtype=np.uint16)
    Image.fromarray(values).save(path.with_suffix(".png"))


def _floats(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).random((280, 300), dtype=np.float32)
    Image.fromarray(values * 0.99).save(path.with_suffix(".tiff"))


def _of_one_colour(path: Path, seed: int) -> None:
    Image.new("RGB", (300, 280), (40 + seed, 90, 120)).save(path.with_suffix(".png"))


class TestImagesWithNothingInThem:
    """What the networks see is white, black or of one colour."""

    @pytest.mark.parametrize(
        ("draw", "what", "mode"),
        [
            (_twelve_bits, "white (1.0)", "I;16"),
            (_floats, "black (0.0)", "F"),
            (_of_one_colour, "of one colour", "RGB"),
        ],
    )
    def test_training_is_refused_with_a_file_and_its_mode(
        self, draw: Callable[[Path, int], None], what: str, mode: str, model_arguments: dict, tmp_path: Path
    ) -> None:
        (tmp_path / "good").mkdir()
        for seed in range(3):
            draw(tmp_path / "good" / str(seed), seed)
        data = Folder(
            name="mine", root=tmp_path, normal_dir="good", val_split_mode="none", test_split_mode="none",
            train_batch_size=2, num_workers=0,
        )  # fmt: skip
        model, seen = SCDAE(**model_arguments), {"datamodule": data}
        if mode != "RGB":  # what is not read by way of files that can be looked at
            data.setup()
            seen = {"train_dataloaders": data.train_dataloader()}
        sentence = _sentence(lambda: _engine(tmp_path, max_steps=1).fit(model, **seen))
        assert f"{what} to the networks" in sentence
        assert str(tmp_path / "good") in sentence
        assert f"whose mode is {mode} " in sentence
        assert sentence.endswith("scaled to the range of their values.")
        assert not model.model.teacher_mean.any()

    @pytest.mark.parametrize(
        ("values", "highest"),
        [
            (np.uint16([[0, 100, 200], [300, 900, 4095]]), "4095"),
            (np.int32([[0, 100, 200], [300, 900, 70000]]), "70000"),
            (np.float32([[0, 100, 200], [255, 255, 256.5]]), "256.5"),
            (np.float32([[0, 0.1, 0.2], [0.3, 0.9, 1]]), "1"),
        ],
        ids=["twelve bits", "I", "F", "F up to 1"],
    )
    def test_values_that_eight_bits_do_not_hold_are_refused_also_in_a_part_of_an_image(
        self, values: np.ndarray, highest: str, tmp_path: Path
    ) -> None:
        """The dark parts would be left of it, and every other pixel white."""
        file = tmp_path / "part.tiff"
        Image.fromarray(values).save(file)
        with pytest.raises(UserError, match=rf"values of {file} go up to {highest} .*8 bits a channel"):
            check_depth(file)

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.dtype(">u2"), np.int32, np.float32])
    def test_values_that_fit_into_eight_bits_are_fine_whatever_holds_them(self, kind: type, tmp_path: Path) -> None:
        file = tmp_path / "fine.tiff"
        values = np.array([[0, 100, 200], [201, 202, 255]], dtype=kind)
        tifffile.imwrite(file, values, byteorder=values.dtype.byteorder.replace("|", "="))
        check_depth(file)
        assert len(np.unique(read_image(file))) == 6, "so Anomalib's reader tells them apart"

    def test_every_image_is_looked_at_before_a_training(self, model_arguments: dict, tmp_path: Path) -> None:
        (tmp_path / "good").mkdir()
        for seed in range(3):
            _of_one_colour(tmp_path / "good" / str(seed), seed)
        _twelve_bits(tmp_path / "good" / "3", 3)
        data = Folder(name="mine", root=tmp_path, normal_dir="good", val_split_mode="none", test_split_mode="none")
        sentence = _sentence(lambda: _engine(tmp_path, max_steps=1).fit(SCDAE(**model_arguments), datamodule=data))
        assert f"The values of {tmp_path / 'good' / '3.png'} go up to 4095" in sentence

    @given(st.integers(0, 2**31), st.sampled_from([0.0, 1.0]), st.floats(0.9, 1))
    def test_a_part_that_is_blank_is_no_fault(self, seed: int, value: float, share: float) -> None:
        images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
        rows = round(share * 64)
        images[:, :, :rows] = value
        watch = BlankImages()
        watch.add(SimpleNamespace(), images)
        if rows == 64:
            with pytest.raises(UserError):
                watch.check()
        else:
            watch.check()


class _Losses(Callback):
    """Notes every step's loss by either of its names."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        assert trainer.callback_metrics["train_loss_step"] == trainer.callback_metrics["train_loss"]
        self.values.append(float(trainer.callback_metrics["train_loss_step"]))
        terms = _recorded(trainer.callback_metrics)
        assert float(terms["loss"]) == self.values[-1]
        assert not any(name.endswith(("_step", "_epoch")) for name in terms)


@pytest.mark.slow
def test_losses_have_the_names_of_efficient_ad_also_after_a_search_for_the_rate(
    loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    losses, search = _Losses(), LearningRateFinder(num_training_steps=2, update_attr=False)
    model = SCDAE(**model_arguments)
    engine = _engine(tmp_path, max_steps=2, callbacks=[losses, search], limit_train_batches=2)
    engine.fit(model, datamodule=_loco(loco_root))
    metrics = engine.trainer.callback_metrics
    assert len(losses.values) == 2
    assert float(metrics["train_loss_epoch"]) == pytest.approx(sum(losses.values) / 2)
    assert model.inputs.resolved["teacher"].endswith("teacher.safetensors")
    assert model.model.teacher_mean.any()
