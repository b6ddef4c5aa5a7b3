# SPDX-License-Identifier: Apache-2.0
"""The learning rate over a training, against the schedules' definitions."""

import warnings
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateFinder, Timer
from lightning.pytorch.trainer.states import TrainerFn

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.training.schedule import SCHEDULES, share_done, warn_of_little_time

pytestmark = pytest.mark.usefixtures("narrow_networks")


def rates(name: str, steps: int) -> list[float]:
    """Return the factors of all steps of a training."""
    trainer = SimpleNamespace(callbacks=[], estimated_stepping_batches=steps, world_size=1)
    return [SCHEDULES[name].factor(step, share_done(trainer, step, 100)) for step in range(steps)]


@given(st.integers(1, 3000))
def test_paper_schedule_is_a_milestone_at_95_percent(steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, int(0.95 * steps))], gamma=0.1)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates("paper", steps) == pytest.approx(expected)


@given(st.integers(1, 3000))
def test_fast_schedule_rises_stays_and_falls_to_almost_nothing(steps):
    factors = rates("fast", steps)
    assert min(factors) > 0, "every step learns, also of a very short training"
    if steps < 50:
        return
    peak = factors.index(1.0)
    assert factors[0] <= 0.1
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert all(factor == 1 for factor in factors[peak : int(0.4 * steps)])
    assert factors[-1] == 0.01
    # Evenly: no step takes more than its share of the way.
    falls = [before - after for before, after in pairwise(factors[peak:])]
    assert max(falls) <= 1.01 / (0.6 * steps)


def test_time_counts_where_it_is_the_limit(monkeypatch):
    timer = Timer(duration=timedelta(seconds=100))
    unlimited = SimpleNamespace(callbacks=[timer], estimated_stepping_batches=float("inf"), world_size=1)
    for seconds, share in ((0, 0), (25, 0.25), (99, 0.99), (150, 1)):
        monkeypatch.setattr(timer, "time_elapsed", lambda stage="train", seconds=seconds: seconds)
        assert share_done(unlimited, 10_000, 100) == pytest.approx(share)
    # Whichever ends the training first.
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 10)
    assert share_done(SimpleNamespace(callbacks=[timer], estimated_stepping_batches=50, world_size=1), 24, 100) == 0.5


def test_set_up_is_no_part_of_the_time_to_learn_in(monkeypatch):
    timer = Timer(duration=timedelta(seconds=100))
    trainer = SimpleNamespace(callbacks=[timer], estimated_stepping_batches=float("inf"), world_size=1)
    for seconds, share in ((40, 0), (70, 0.5), (100, 1)):
        monkeypatch.setattr(timer, "time_elapsed", lambda stage="train", seconds=seconds: seconds)
        assert share_done(trainer, 0, 100, set_up_seconds=40) == pytest.approx(share)
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 101)
    assert share_done(trainer, 0, 100, set_up_seconds=101) == 1


def test_a_set_up_that_takes_most_of_the_time_is_told(monkeypatch):
    timer = Timer(duration=timedelta(seconds=100))
    trainer = SimpleNamespace(callbacks=[timer])
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 60)
    with pytest.warns(UserWarning, match=r"taken 59 s, and 40 s .* left for its steps.*--trainer.max_time"):
        warn_of_little_time(trainer, 59)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_little_time(trainer, 30)
        warn_of_little_time(SimpleNamespace(callbacks=[Timer()]), 30)


def test_a_training_without_any_limit_has_the_default_length():
    endless = SimpleNamespace(callbacks=[Timer()], estimated_stepping_batches=float("inf"), world_size=1)
    assert share_done(endless, 24, 100) == 0.25


def test_a_training_of_epochs_whose_length_nobody_knows_has_the_default_length_or_its_time(monkeypatch):
    """As from a stream: Lightning then tells -1."""
    endless = SimpleNamespace(callbacks=[], estimated_stepping_batches=-1, world_size=1)
    assert share_done(endless, 24, 100) == 0.25
    timer = Timer(duration=timedelta(seconds=100))
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 30)
    assert share_done(SimpleNamespace(callbacks=[timer], estimated_stepping_batches=-1, world_size=1), 24, 100) == 0.3


def test_schedule_gives_the_rate_unless_the_user_does():
    assert SCDAE().lr == 1e-4
    assert SCDAE(schedule="fast").lr == 1e-3
    assert SCDAE(schedule="fast", lr=5e-4).lr == 5e-4


def test_a_limit_counts_also_where_an_earlier_training_of_the_model_had_none():
    model = SCDAE()
    for limits, before, after in (({}, 70_000, 2_000), ({"max_steps": 5}, 5, 5), ({}, 2_000, 2_000)):
        trainer = Trainer(accelerator="cpu", logger=False, **limits)
        trainer.state.fn = TrainerFn.FITTING
        model.trainer = trainer
        assert trainer.max_steps == before
        model.adopt_training({"schedule": "fast"})
        assert trainer.max_steps == after


def test_unknown_schedule_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="Unknown schedule 'slow': choose one of paper, fast"):
        SCDAE(schedule="slow")


def test_hard_loss_keeps_ever_fewer_distances_over_the_first_half():
    fast = SCHEDULES["fast"]
    quantiles = [fast.hard_quantile(step / 60) for step in range(61)]
    assert quantiles == [0.0] * 10 + [0.9] * 10 + [0.99] * 10 + [0.999] * 31
    assert {SCHEDULES["paper"].hard_quantile(step / 60) for step in range(61)} == {0.999}


def test_all_processes_follow_one_clock(monkeypatch):
    timer = Timer(duration=timedelta(seconds=100))
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 30)
    strategy = SimpleNamespace(broadcast=lambda share: share - 0.1)  # what the first process has
    trainer = SimpleNamespace(callbacks=[timer], estimated_stepping_batches=1000, world_size=2, strategy=strategy)
    assert share_done(trainer, 0, 100) == pytest.approx(0.2)
    trainer.callbacks = []  # steps are the same everywhere
    assert share_done(trainer, 99, 100) == 0.1


class _Rates(Callback):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, *_):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.slow
def test_a_rate_that_lightning_finds_is_trained_with(loco_root, model_arguments, tmp_path, monkeypatch):
    rates = _Rates()
    monkeypatch.setattr("lightning.pytorch.tuner.lr_finder._LRFinder.suggestion", lambda *_, **__: 0.005)
    search = LearningRateFinder(num_training_steps=3)
    model = SCDAE(**model_arguments)
    data = MVTecLOCO(root=loco_root, category="part", train_batch_size=1, eval_batch_size=3, num_workers=0)
    engine = Engine(max_steps=4, callbacks=[search, rates], default_root_dir=tmp_path, accelerator="cpu", logger=False)
    engine.fit(model, datamodule=data)
    assert model.lr == 0.005
    assert rates.seen[-4:] == pytest.approx([0.005, 0.005, 0.005, 0.0005])


@pytest.mark.slow
def test_a_training_that_time_limits_ends_at_a_low_rate_and_is_saved(loco_root, model_arguments, tmp_path):
    data = MVTecLOCO(root=loco_root, category="part", train_batch_size=1, eval_batch_size=3, num_workers=0)
    engine = Engine(max_time={"seconds": 8}, default_root_dir=tmp_path, accelerator="cpu", logger=False)
    engine.fit(SCDAE(schedule="fast", **model_arguments), datamodule=data)
    assert engine.trainer.global_step > 0
    assert 0 < engine.trainer.optimizers[0].param_groups[0]["lr"] <= 1.01e-5
    saved = torch.load(next(tmp_path.rglob("model.ckpt")), weights_only=True)
    assert saved["global_step"] == engine.trainer.global_step


@pytest.mark.slow
def test_a_resumed_training_is_that_of_its_checkpoint_but_for_a_learning_rate_that_is_given(
    loco_root, model_arguments, tmp_path
):
    def train(model, steps, checkpoint=None):
        rates = _Rates()
        data = MVTecLOCO(root=loco_root, category="part", train_batch_size=1, eval_batch_size=3, num_workers=0)
        engine = Engine(max_steps=steps, callbacks=[rates], default_root_dir=tmp_path, accelerator="cpu", logger=False)
        engine.fit(model, datamodule=data, ckpt_path=checkpoint)
        engine.trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return rates.seen, engine.trainer.optimizers[0].param_groups[0]

    train(SCDAE(schedule="fast", lr=2e-3, weight_decay=0.25, **model_arguments), 2)
    resumed = SCDAE(**{**model_arguments, "penalty_images": "auto"})
    rates, group = train(resumed, 4, tmp_path / "2.ckpt")
    assert resumed.schedule is SCHEDULES["fast"]
    assert (resumed.hparams["schedule"], resumed.hparams["lr"], resumed.hparams["weight_decay"]) == ("fast", 2e-3, 0.25)
    assert group["weight_decay"] == 0.25
    assert resumed.inputs.penalty_images == resumed.hparams["penalty_images"] == model_arguments["penalty_images"]
    assert rates == pytest.approx([2e-3 * 0.3 * 5 / 12, 2e-3 * 0.4 * 0.01])
    # A rate that is given counts from the first step on, and stays that of a training that is resumed once more.
    slower = SCDAE(lr=1e-5, **model_arguments)
    rates, _ = train(slower, 6, tmp_path / "4.ckpt")
    assert rates == pytest.approx([1e-5 * 0.5 * 5 / 18, 1e-5 * 0.6 * 0.01])
    rates, _ = train(SCDAE(**model_arguments), 8, tmp_path / "6.ckpt")
    assert rates == pytest.approx([1e-5 * 0.7 * 5 / 24, 1e-5 * 0.8 * 0.01])


@pytest.mark.parametrize(("schedule", "expected"), [("fast", [0.9, False]), ("paper", [0.999, True])])
def test_a_step_follows_the_schedule(schedule, expected, monkeypatch):
    model, given = SCDAE(schedule=schedule, teacher_out_channels=4), []
    model.inputs = SimpleNamespace(read_penalty_images=lambda *_: torch.zeros(1, 3, 256, 256))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=2))
    model._trainer = SimpleNamespace(fit_loop=loop, global_rank=0, world_size=1, global_step=2)
    monkeypatch.setattr(model, "share_done", lambda step: 0.2)
    for name in ("log", "log_dict"):
        monkeypatch.setattr(model, name, lambda *_, **__: None)
    monkeypatch.setattr(model.model, "forward", lambda *asked: given.extend(asked[3:]) or {"loss": torch.zeros(())})
    model.training_step(SimpleNamespace(image=torch.zeros(1, 3, 256, 256)), 0)
    assert given == expected
