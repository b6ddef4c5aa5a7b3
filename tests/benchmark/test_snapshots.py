# SPDX-License-Identifier: Apache-2.0
"""Models on their way through a training: when they are kept, and what is said of them."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from anomalib.data import MVTecLOCO
from lightning.pytorch.trainer.states import TrainerFn
from safetensors.torch import load_file

from anomalib_scdae.benchmark.cell import run, snapshots
from anomalib_scdae.benchmark.cell.snapshots import Snapshots, few_test_images
from anomalib_scdae.benchmark.cells import CellFolder
from tests.benchmark.cells import make_cell

pytestmark = pytest.mark.usefixtures("narrow_networks")


class Model(torch.nn.Module):
    """A weight that counts the steps, and a hook that makes a checkpoint fit for use."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("statistic", torch.zeros(()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"]["statistic"] = 10 * checkpoint["state_dict"]["weight"]


class Training:
    """Steps of half a minute on a clock of its own."""

    def __init__(self, callback: Snapshots) -> None:
        self.now, self.step, self.callback, self.model = 1000.0, -1, callback, Model()
        callback._clock = lambda: self.now
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=-1))
        self.trainer = SimpleNamespace(fit_loop=loop, state=SimpleNamespace(fn=TrainerFn.FITTING))
        callback.on_train_start(self.trainer, self.model)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.now += 30
            self.model.weight += 1
            self.trainer.fit_loop.epoch_loop.total_batch_idx += 1
            self.callback.on_train_batch_end(self.trainer, self.model, None, None, 0)

    def validate(self) -> None:
        self.callback.on_validation_start(self.trainer, self.model)
        self.now += 3600
        self.callback.on_validation_end(self.trainer, self.model)


def test_snapshots_are_taken_after_1_2_4_8_minutes_and_at_the_end(tmp_path: Path) -> None:
    callback = Snapshots(tmp_path)
    training = Training(callback)
    training.train(18)
    callback.on_train_end(training.trainer, training.model)
    steps = {"1": 2, "2": 4, "4": 8, "8": 16, "end": 18}
    assert callback.taken == {key: {"step": step, "seconds": 30.0 * step} for key, step in steps.items()}
    for key, step in steps.items():
        saved = load_file(tmp_path / f"{key}.safetensors")
        assert saved == {"weight": torch.tensor(float(step)), "statistic": torch.tensor(10.0 * step)}


def test_validations_and_snapshots_take_no_time(tmp_path: Path) -> None:
    callback = Snapshots(tmp_path)
    training = Training(callback)
    hook = training.model.on_save_checkpoint

    def slow(checkpoint: dict[str, Any]) -> None:
        training.now += 3600
        hook(checkpoint)

    training.model.on_save_checkpoint = slow
    training.train(1)
    training.validate()
    training.train(7)
    assert callback.taken == {str(2**n): {"step": 2 ** (n + 1), "seconds": 60.0 * 2**n} for n in range(3)}


def test_an_interrupted_training_goes_on_with_its_time(tmp_path: Path) -> None:
    first = Snapshots(tmp_path)
    Training(first).train(3)
    second = Snapshots(tmp_path)
    second.load_state_dict(first.state_dict())
    Training(second).train(1)
    assert [taken["seconds"] for taken in second.taken.values()] == [60.0, 120.0]


def test_minutes_before_the_first_step_have_no_snapshot_of_their_own(tmp_path: Path) -> None:
    callback = Snapshots(tmp_path)
    training = Training(callback)
    training.now += 270  # what a model computes before it learns
    training.train(9)
    assert {key: taken["seconds"] for key, taken in callback.taken.items()} == {"4": 300.0, "8": 480.0}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 100])
def test_few_test_images_are_the_same_each_time_and_only_for_a_while(
    loco_root: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "TEST_IMAGES", limit)
    data = MVTecLOCO(root=loco_root, category="part", num_workers=0)
    data.setup(TrainerFn.FITTING)
    whole = sorted(data.test_data.samples["image_path"])
    with few_test_images(data):
        chosen = sorted(data.test_data.samples["image_path"])
        data.setup(TrainerFn.TESTING)  # as the engine does once more
        assert sorted(data.test_data.samples["image_path"]) == chosen
    assert len(chosen) == min(limit, len(whole))
    assert set(chosen) <= set(whole)
    assert sorted(data.test_data.samples["image_path"]) == whole
    with few_test_images(data):
        assert sorted(data.test_data.samples["image_path"]) == chosen


def test_kinds_of_anomalies_that_take_turns_are_all_among_few_test_images() -> None:
    """Every second image would have every second kind only."""

    class Data:
        test_data = SimpleNamespace(samples=pd.DataFrame({"image_path": [f"bad/{n:03}.png" for n in range(300)]}))

        def __init__(self) -> None:
            self.test_data.subsample = lambda chosen: SimpleNamespace(chosen=chosen)

        def setup(self, stage: TrainerFn) -> None:
            assert stage == TrainerFn.TESTING

    data: Any = Data()
    with few_test_images(data):
        kinds = Counter(place % 6 for place in data.test_data.chosen)
    assert sum(kinds.values()) == snapshots.TEST_IMAGES
    assert len(kinds) == 6
    assert min(kinds.values()) >= 15


def test_a_cell_that_was_tested_over_its_time_is_finished_without_that_too(tmp_path: Path) -> None:
    with_time, without = (CellFolder(tmp_path, make_cell(over_time=value)) for value in (True, None))
    with_time.begin()
    with_time.write_result({"status": "finished"})
    assert without.status == with_time.status == "finished"
    without.begin_latency()  # which writes the settings anew
    assert with_time.status == "finished"
    other = CellFolder(tmp_path, make_cell("other"))
    other.begin()
    other.write_result({"status": "finished"})
    assert CellFolder(tmp_path, make_cell("other", over_time=True)).status == "pending"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SCDAE", "EfficientAdMended"])
def test_the_last_snapshot_has_the_figures_of_the_final_model(
    tmp_path: Path, loco_root: Path, model_arguments: dict, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Snapshots, "seconds", property(lambda self: 60.0 * 2 ** len(self.taken)))  # one each step
    arguments = {"root": str(loco_root), "category": "part", "train_batch_size": 1, "num_workers": 0}
    cell = make_cell(
        model={"class_path": name, "init_args": model_arguments},
        data={"class_path": "MVTecLOCO", "init_args": arguments},
        trainer={"accelerator": "cpu", "max_steps": 3},
        over_time=True,
    )
    folder = CellFolder(tmp_path, cell)
    folder.begin()
    run.train_and_test(folder)
    result = folder.result()
    assert [taken["step"] for taken in result["over_time"].values()] == [1, 2, 3, 3]
    assert result["over_time"]["end"]["image_auroc"] == pytest.approx(result["accuracy"]["image_auroc"])
    assert result["over_time"]["end"]["maps"] == result["maps"]
    assert not folder.snapshots.exists()
