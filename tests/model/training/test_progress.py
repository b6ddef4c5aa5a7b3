# SPDX-License-Identifier: Apache-2.0
"""The sentences that a training says now and then."""

from types import SimpleNamespace

import pytest
import torch

from anomalib_scdae.model.training import progress
from anomalib_scdae.model.training.progress import ProgressSentences


class Training:
    """Steps of five seconds on a clock of its own."""

    def __init__(self, callback: ProgressSentences, monkeypatch: pytest.MonkeyPatch, steps: int, done: int = 0) -> None:
        self.now, self.callback, self.said = 100.0, callback, []
        monkeypatch.setattr(progress.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(progress, "rank_zero_info", self.said.append)
        self.trainer = SimpleNamespace(global_step=done, is_global_zero=True, callback_metrics={})
        self.module = SimpleNamespace(share_done=lambda step: (step + 1) / steps)
        callback.on_train_start(self.trainer, self.module)

    def train(self, steps: int, **metrics: float) -> None:
        self.trainer.callback_metrics = {name: torch.tensor(value) for name, value in metrics.items()}
        for _ in range(steps):
            self.now += 5
            self.trainer.global_step += 1
            self.callback.on_train_batch_end(self.trainer, self.module, None, None, 0)


def test_sentences_come_ever_more_rarely_and_say_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(ProgressSentences(), monkeypatch, steps=100)
    training.train(50, train_ta_1=0.6, train_ta_2=0.5, train_loss=7.0)
    assert [sentence.split(":")[0] for sentence in training.said] == [
        "SCDAE, step 4 (4% done, about 8 min left)",
        "SCDAE, step 7 (7% done, about 8 min left)",
        "SCDAE, step 13 (13% done, about 7 min left)",
        "SCDAE, step 25 (25% done, about 6 min left)",
        "SCDAE, step 49 (49% done, about 4 min left)",
    ]
    assert all("the autoencoders rebuild 45% of what the teacher sees" in sentence for sentence in training.said)


def test_what_is_rebuilt_follows_the_loss_and_never_falls_below_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(ProgressSentences(), monkeypatch, steps=1000)
    training.train(6, train_ta_1=1.4)
    training.train(600, train_ta_1=0.25)
    assert "rebuild 0%" in training.said[0]
    assert "rebuild 75%" in training.said[-1]


def test_a_resumed_training_counts_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(ProgressSentences(), monkeypatch, steps=100, done=80)
    training.train(19, train_ta_1=0.5)
    assert training.said[0].startswith("SCDAE, step 84 (84% done, about 80 s left)")


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "5 s"), (62, "60 s"), (100, "2 min"), (5390, "90 min"), (9000, "2.5 h")]
)
def test_times_are_told_as_one_says_them(seconds: float, said: str) -> None:
    assert progress._spoken(seconds) == said
