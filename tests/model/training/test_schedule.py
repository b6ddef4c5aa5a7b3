# SPDX-License-Identifier: Apache-2.0
"""The learning rate over a training, against the schedules' definitions."""

from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Timer

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.training.schedule import SCHEDULES, share_done


def rates(name: str, steps: int, callbacks=()) -> list[float]:
    """Return the factors of all steps of a training."""
    trainer = SimpleNamespace(callbacks=list(callbacks), estimated_stepping_batches=steps)
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


@given(st.integers(50, 3000))
def test_fast_schedule_rises_stays_and_falls_to_almost_nothing(steps):
    factors = rates("fast", steps)
    peak = factors.index(1.0)
    assert factors[0] <= 0.1
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert all(factor == 1 for factor in factors[peak : int(0.4 * steps)])
    assert factors[-1] == 0.01
    # Evenly: no step takes more than its share of the way.
    falls = [before - after for before, after in pairwise(factors[peak:])]
    assert max(falls) <= 1.01 / (0.6 * steps)


@given(st.integers(1, 20))
def test_every_step_of_a_very_short_training_learns(steps):
    assert min(rates("fast", steps)) > 0


def test_time_counts_where_it_is_the_limit(monkeypatch):
    timer = Timer(duration=timedelta(seconds=100))
    unlimited = SimpleNamespace(callbacks=[timer], estimated_stepping_batches=float("inf"))
    for seconds, share in ((0, 0), (25, 0.25), (99, 0.99), (150, 1)):
        monkeypatch.setattr(timer, "time_elapsed", lambda stage="train", seconds=seconds: seconds)
        assert share_done(unlimited, 10_000, 100) == pytest.approx(share)
    # Whichever ends the training first.
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 10)
    assert share_done(SimpleNamespace(callbacks=[timer], estimated_stepping_batches=50), 24, 100) == 0.5


def test_a_training_without_any_limit_has_the_default_length():
    endless = SimpleNamespace(callbacks=[Timer()], estimated_stepping_batches=float("inf"))
    assert share_done(endless, 24, 100) == 0.25


def test_schedule_gives_the_rate_unless_the_user_does():
    assert SCDAE().lr == 1e-4
    assert SCDAE(schedule="fast").lr == 1e-3
    assert SCDAE(schedule="fast", lr=5e-4).lr == 5e-4


def test_unknown_schedule_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="Unknown schedule 'slow': choose one of paper, fast"):
        SCDAE(schedule="slow")


def test_hard_loss_keeps_ever_fewer_distances_over_the_first_half():
    fast = SCHEDULES["fast"]
    quantiles = [fast.hard_quantile(step / 60) for step in range(61)]
    assert quantiles == [0.0] * 10 + [0.9] * 10 + [0.99] * 10 + [0.999] * 31
    assert {SCHEDULES["paper"].hard_quantile(step / 60) for step in range(61)} == {0.999}
