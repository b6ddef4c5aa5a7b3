# SPDX-License-Identifier: Apache-2.0
"""The comparison of speed: its protocol and arithmetic with made-up clocks, and one run of everything."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.models import EfficientAd
from hypothesis import given
from hypothesis import strategies as st

from anomalib_scdae.benchmark.baselines import EfficientAdAsShipped
from anomalib_scdae.benchmark.process import ChildError
from anomalib_scdae.benchmark.speed import inference, measure_speed, measurement, turns
from anomalib_scdae.benchmark.speed.data import CATEGORY, picture, write_dataset, write_penalty_images
from anomalib_scdae.benchmark.speed.measurement import Measurement, sample_frame, seconds_per_image, validations
from anomalib_scdae.benchmark.speed.targets import TARGETS, Extent, verdict
from anomalib_scdae.benchmark.speed.turns import FAST, Finished, Sample, Task, Turns, default_model
from anomalib_scdae.errors import UserError
from tests.benchmark.ticking import tick

#: Next to nothing: a trial, whose figures mean nothing.
QUICK = Extent(
    step_rounds=1,
    steps=1,
    warm_up=0,
    file_size=(300, 320),
    files=2,
    validation_files=1,
    epochs=2,
    turns=1,
    inference_rounds=2,
    calibration_images=2,
    peak_repeats=1,
    workers=0,
)
KEYS = [
    "train_step_fp32",
    "train_step_bf16",
    "train_step_fp32_fast",
    "train_step_bf16_fast",
    "train_end_to_end",
    "validation",
    "torch_fp32_batch1",
    "torch_fp32_batch8",
    "openvino_fp32",
    "openvino_int8_to_fp32",
    "openvino_int8",
    "torch_fp32_batch1_compact",
    "torch_fp32_batch8_compact",
    "openvino_fp32_compact",
    "openvino_int8_compact",
    "train_peak_memory",
    "train_peak_memory_fast",
]


def test_keys_are_those_of_the_targets() -> None:
    assert list(TARGETS) == KEYS
    assert verdict("openvino_int8_to_fp32", 0.30) == "met"
    assert verdict("openvino_int8_to_fp32", 0.31) == "missed"
    assert verdict("validation", None) == "not measured"


class FakeConnection:
    """Answers with prepared commands and keeps what was sent; waiting takes a thousand seconds."""

    def __init__(self, clock: "FakeClock", commands: list) -> None:
        self.clock, self.commands, self.sent = clock, commands, []

    def send(self, result: object) -> None:
        self.sent.append(result)

    def recv(self) -> object:
        self.clock.now += 1000
        return self.commands.pop(0)


class FakeClock:
    now = 0.0
    work = staticmethod(lambda: None)

    def __call__(self) -> float:
        return self.now


def run_epochs(turns: Turns, clock: FakeClock, epochs: int, images: int) -> None:
    """Call the hooks as a trainer does: reading takes 1 s, starting an epoch 5 s, a step 10 s, a validation 100 s."""
    for epoch in range(epochs):
        trainer = SimpleNamespace(current_epoch=epoch)
        clock.now += 5
        for batch in range(images):
            clock.now += 1
            turns.on_train_batch_start(trainer, None, None, batch)
            clock.now += 10
            clock.work()
            turns.on_train_batch_end(trainer, None, None, None, batch)
        turns.on_validation_start(trainer, None)
        clock.now += 100
        turns.on_train_epoch_end(trainer, None)


def test_a_step_is_timed_from_the_batch_that_is_ready() -> None:
    clock = FakeClock()
    connection = FakeConnection(clock, [2, 3, None])
    with pytest.raises(Finished):
        run_epochs(Turns(connection, "step", clock), clock, epochs=3, images=2)
    _, first, second = connection.sent
    assert first == [Sample("step", 0, 1, 10), Sample("step", 1, 0, 10)]
    assert second == [Sample("step", 1, 1, 10), Sample("step", 2, 0, 10), Sample("step", 2, 1, 10)]


def test_images_and_validations_are_timed_without_the_waiting_between() -> None:
    clock = FakeClock()
    connection = FakeConnection(clock, [2, 4, None])
    with pytest.raises(Finished):
        run_epochs(Turns(connection, "image", clock), clock, epochs=3, images=2)
    assert connection.sent[1] == [Sample("image", 0, 1, 11), Sample("validation", 0, 0, 100)]
    assert connection.sent[2] == [
        Sample("image", 1, 0, 16),
        Sample("image", 1, 1, 11),
        Sample("validation", 1, 0, 100),
        Sample("image", 2, 0, 16),
    ]


def test_the_accelerators_work_belongs_to_the_step() -> None:
    clock = FakeClock()

    def synchronised() -> float:
        clock.now += 7
        return clock.now

    connection = FakeConnection(clock, [1, None])
    with pytest.raises(Finished):
        run_epochs(Turns(connection, "step", synchronised), clock, epochs=1, images=2)
    assert connection.sent[1] == [Sample("step", 0, 1, 17)]


def test_the_first_steps_arithmetic_is_counted_and_its_time_is_not() -> None:
    clock = FakeClock()
    connection = FakeConnection(clock, [1, None])
    turns = Turns(connection, "step", clock)
    clock.work = lambda: torch.ones(2, 3) @ torch.ones(3, 5)
    with pytest.raises(Finished):
        run_epochs(turns, clock, epochs=1, images=2)
    assert connection.sent == [2 * 3 * 5, [Sample("step", 0, 1, 10)]]


@given(first=st.floats(0.1, 9), later=st.floats(0.1, 9), start=st.floats(0, 50), images=st.integers(2, 6))
def test_a_whole_training_is_put_together_from_its_parts(first: float, later: float, start: float, images: int) -> None:
    """With as many steps in each turn as you like, every part is found again."""
    samples = [
        Sample("image", epoch, batch, (later if epoch else first) + (start if batch == 0 else 0))
        for epoch in range(3)
        for batch in range(images)
    ]
    samples.insert(images, Sample("validation", 0, 0, 1e6))
    turns = [samples[index : index + 2] for index in range(0, len(samples), 2)]
    parts = seconds_per_image(sample_frame(turns))
    assert parts["first_epoch"] == pytest.approx(first)
    assert parts["later_epochs"] == pytest.approx(later)
    assert parts["epoch_start"] == pytest.approx(start, abs=1e-9)
    assert parts["image"] == pytest.approx((first + 199 * later) / 200 + start / 350)


def test_the_first_validation_does_not_count() -> None:
    turns = [[Sample("validation", epoch, 0, seconds)] for epoch, seconds in enumerate((9.0, 2.0, 3.0))]
    assert validations(sample_frame(turns)).tolist() == [2, 3]


def test_efficientad_is_as_shipped_but_for_the_downloads(tmp_path: Path) -> None:
    changed = {name for name in vars(EfficientAdAsShipped) if hasattr(EfficientAd, name) and not name.startswith("__")}
    around_training = {"on_train_start", "on_train_end"}  # whose work is that of EfficientAd
    assert changed - {"_abc_impl"} == {"prepare_pretrained_model", "prepare_imagenette_data"} | around_training
    model, plain = default_model("EfficientAd", tmp_path / "absent"), EfficientAd()
    assert isinstance(model, EfficientAd)
    for part in ("pre_processor", "post_processor", "evaluator"):
        assert str(getattr(model, part)) == str(getattr(plain, part))
    options = ("lr", "weight_decay", "padding", "pad_maps", "teacher_out_channels", "model_size")
    assert {name: model.hparams[name] for name in options} == {name: plain.hparams[name] for name in options}
    with pytest.raises(UserError, match="no penalty images"):
        model.prepare_imagenette_data((256, 256))
    assert not (tmp_path / "absent").exists()
    model.imagenet_dir = write_penalty_images(tmp_path / "penalty", count=2)
    model.prepare_imagenette_data((256, 256))
    assert next(model.imagenet_iterator)[0].shape == (1, 3, 256, 256)


def test_scdae_has_its_default_arguments() -> None:
    import inspect

    model = default_model("SCDAE", Path())
    defaults = {name: parameter.default for name, parameter in inspect.signature(type(model)).parameters.items()}
    different = {name for name, value in model.hparams.items() if name in defaults and value != defaults[name]}
    parts = {"pre_processor", "post_processor", "evaluator", "visualizer"}
    assert different <= {"teacher", "penalty_images", "lr"} | parts
    assert model.lr == 1e-4
    assert default_model(FAST, Path()).hparams["schedule"] == "fast"


def test_dataset_is_read_by_anomalib(tmp_path: Path) -> None:
    datamodule = MVTecLOCO(root=write_dataset(tmp_path, (40, 50), 9, 2), category=CATEGORY, num_workers=0)
    datamodule.setup("fit")
    assert (len(datamodule.train_data), len(datamodule.val_data)) == (9, 2)
    assert datamodule.train_data[0].image.shape == (3, 40, 50)
    assert picture(1, (40, 50)).std() > 10


def test_an_unknown_device_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "default_device", lambda: torch.device("mps"))
    with pytest.raises(UserError, match="'mps', but on cpu and cuda"):
        measure_speed(tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_a_part_that_fails_costs_only_its_own_keys_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        msg = "out of memory"
        raise RuntimeError(msg)

    def measure(self: Measurement) -> None:
        self.ratios["train_end_to_end"] = 0.5

    monkeypatch.setattr(Measurement, "steps", fail)
    monkeypatch.setattr(Measurement, "trainings", measure)
    monkeypatch.setattr(Measurement, "peaks", measure)
    monkeypatch.setattr(Measurement, "predictions", measure)
    with pytest.raises(UserError, match="train_step_fp32, train_step_bf16 could not be measured"):
        measure_speed(tmp_path, QUICK)
    assert json.loads((tmp_path / "speed.json").read_text()) == {**dict.fromkeys(KEYS), "train_end_to_end": 0.5}
    assert "out of memory" in json.loads((tmp_path / "speed_details.json").read_text())["errors"]["train_step_fp32"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be halted there")
def test_nothing_happens_out_of_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "train", tick)
    task = Task("SCDAE", "step", tmp_path, tmp_path, tmp_path)
    with turns.trainings([task]) as (ticking,):
        ticking.begin()
        before = ticking.turn(1)
        time.sleep(0.5)
        after = ticking.turn(1)
        assert after - before < 200  # a thread that ran on would have counted up to 500
        with pytest.raises(ChildError, match=r"The training of SCDAE failed: ValueError: no images \(see "):
            ticking.turn("fail")
    assert not ticking._process.is_alive()


@pytest.mark.slow
@pytest.mark.skipif("SCDAE_TEST_SPEED" not in os.environ, reason="takes several minutes: set SCDAE_TEST_SPEED=1")
def test_a_quick_run_measures_every_key(tmp_path: Path) -> None:
    ratios = measure_speed(tmp_path, QUICK)
    details = json.loads((tmp_path / "speed_details.json").read_text())
    assert "errors" not in details
    assert not details["export_errors"]
    assert json.loads((tmp_path / "speed.json").read_text()) == ratios
    assert list(ratios) == KEYS
    assert all(ratio > 0 for ratio in ratios.values())
    steps = details["measurements"]["train_step_fp32"]
    assert 215e9 < steps["macs"]["EfficientAd"] < 222e9
    assert steps["fraction_of_peak"]["SCDAE"] > 0
    assert set(details["measurements"]) == set(KEYS)
    assert details["environment"]["torch"] == torch.__version__


def test_speed_ratios_are_ours_over_theirs() -> None:
    fake = SimpleNamespace(details={"measurements": {}}, ratios={})
    Measurement._add(fake, "key", pd.DataFrame({"SCDAE": [1.0, 1.0], "EfficientAd": [2.0, 2.0]}))
    assert fake.ratios == {"key": 0.5}
    timed = pd.DataFrame({"a": [1.0], "b": [2.0]})
    assert inference._compared(timed, "a", "b").to_dict("list") == {"SCDAE": [1.0], "EfficientAd": [2.0]}
