# SPDX-License-Identifier: Apache-2.0
"""What a training with large batches will take on a CPU."""

from types import SimpleNamespace

import pytest
import torch

from anomalib_scdae.model.training import step_time
from anomalib_scdae.model.training.step_time import StepTimeNotice


def _told(monkeypatch: pytest.MonkeyPatch, seconds: list[float], images: int = 4, accumulated: int = 1) -> list[str]:
    """What is said in a training whose batches take so long."""
    said: list[str] = []
    now = 0.0
    monkeypatch.setattr(step_time, "rank_zero_warn", said.append)
    monkeypatch.setattr(step_time, "time", SimpleNamespace(perf_counter=lambda: now))
    trainer = SimpleNamespace(estimated_stepping_batches=100, accumulate_grad_batches=accumulated)
    module, batch = SimpleNamespace(device=torch.device("cpu")), SimpleNamespace(image=torch.zeros(images, 3, 8, 8))
    notice = StepTimeNotice()
    notice.on_train_start(trainer, module)
    for index, duration in enumerate(seconds):
        notice.on_train_batch_start(trainer, module, batch, index)
        now += duration
        notice.on_train_batch_end(trainer, module, None, batch, index)
    return said


def test_the_second_batch_is_measured_since_the_first_may_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    (sentence,) = _told(monkeypatch, [99, 6, 99])
    assert "a step takes about 6 s, 100 steps about 0:10:00" in sentence


def test_a_step_of_several_batches_takes_as_many_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    (sentence,) = _told(monkeypatch, [6, 6], accumulated=8)
    assert "a step takes about 48 s, 100 steps about 1:20:00" in sentence


def test_small_batches_are_not_talked_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _told(monkeypatch, [6, 6], images=1)
