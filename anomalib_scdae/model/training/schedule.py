# SPDX-License-Identifier: Apache-2.0
"""How long a training is, how its learning rate rises and falls, and what else changes on its way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.tuner.lr_finder import _LRCallback  # what tells that the steps are a search, not a training
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.model.loss import HARD_QUANTILE

ScheduleName = Literal["paper", "fast"]

#: The paper's training length, in steps of one image (section 2.1).
PAPER_STEPS = 70_000
#: Steps over which the fast schedule's rate rises: Adam's first estimates are those of a few images.
WARM_UP = 10
#: Share of a training over which the fast schedule keeps its rate.
STEADY = 0.4
#: What is left of the fast schedule's rate at the end.
REST = 0.01


@dataclass(frozen=True)
class Schedule:
    """A learning rate, a number of steps, and the rate's way over them.

    Attributes:
        lr: Learning rate of Adam if the user gives none.
        steps: Length of a training for which the user gives neither steps, epochs nor time.
        factor: Maps a step's number and the share of the training that is done with it, up to 1, to what the rate is
            multiplied by in that step.
        augmented: Whether the autoencoders see augmented images. Without, student and teacher see each image once.
        hard_quantiles: The paper's ``p_hard`` in equal parts of the training's first half; the last one stays.
    """

    lr: float
    steps: int
    factor: Callable[[int, float], float]
    augmented: bool = True
    hard_quantiles: tuple[float, ...] = (HARD_QUANTILE,)

    def hard_quantile(self, share: float) -> float:
        """Return ``p_hard`` where a ``share`` of the training, from 0 to 1, is done."""
        parts = len(self.hard_quantiles) - 1
        return self.hard_quantiles[min(parts, int(2 * parts * share))]


def paper_factor(step: int, share: float) -> float:
    """A tenth of the learning rate for the last 5 % (section 2.1 and EfficientAD); never for the first step."""
    return 0.1 if step and share > 0.95 else 1.0


def fast_factor(step: int, share: float) -> float:
    """Rise over the first steps, stay, and fall evenly to almost nothing.

    What is learnt at a high rate shows only once the rate has fallen; so the fall takes the greater part of the
    training.
    """
    rise = min(1.0, (step + 1) / WARM_UP)
    fall = min(1.0, max(REST, (1 - share) / (1 - STEADY)))
    return rise * fall


SCHEDULES: dict[ScheduleName, Schedule] = {
    "paper": Schedule(lr=1e-4, steps=PAPER_STEPS, factor=paper_factor),
    # All distances first, then a tenth, a hundredth, a thousandth of them: from the start, the few that the paper keeps
    # would tell the student little of what most of the image looks like.
    "fast": Schedule(
        lr=1e-3, steps=2_000, factor=fast_factor, augmented=False, hard_quantiles=(0.0, 0.9, 0.99, HARD_QUANTILE)
    ),
}


def timers_of(trainer: Trainer) -> list[Timer]:
    """Return the callbacks that limit a training's time."""
    return [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]


def known_steps(trainer: Trainer) -> float:
    """Return the steps that a training will have; infinite where nothing limits them, or nobody knows an epoch's."""
    steps = trainer.estimated_stepping_batches
    return float("inf") if steps == -1 else steps


def share_done(trainer: Trainer, step: int, default_steps: int, set_up_seconds: float = 0.0) -> float:
    """Return which share of a training is done with a step: of its steps or of its time, whichever is more.

    The same in all processes of a training, each of which has a clock of its own; so all must ask. While Lightning
    looks for a learning rate, nothing is done yet.

    Args:
        trainer: What runs the training, with its limits.
        step: The step's number, from 0 on.
        default_steps: Length of a training that nothing limits.
        set_up_seconds: What of its time went by before the first step, in which nothing is learnt.
    """
    if any(isinstance(callback, _LRCallback) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        return 0.0
    by_time = [share for timer in timers_of(trainer) if (share := _share_of_time(timer, set_up_seconds)) is not None]
    steps = known_steps(trainer)
    if steps == float("inf") and not by_time:
        steps = default_steps
    share = min(1.0, max([(step + 1) / steps, *by_time]))
    return trainer.strategy.broadcast(share) if by_time and trainer.world_size > 1 else share


def warn_of_little_time(trainer: Trainer, set_up_seconds: float) -> None:
    """Warn where the set-up of a training has taken most of the time that it was given."""
    for timer in timers_of(trainer):
        remaining = timer.time_remaining()
        if remaining is not None and remaining < set_up_seconds:
            rank_zero_warn(
                f"What comes before the first step has taken {set_up_seconds:.0f} s, and {max(0, remaining):.0f} s of "
                "the training's time are left for its steps: give it more (--trainer.max_time)."
            )


def _share_of_time(timer: Timer, set_up_seconds: float) -> float | None:
    elapsed, remaining = timer.time_elapsed(), timer.time_remaining()
    if remaining is None:
        return None
    learning = elapsed - set_up_seconds
    return learning / (learning + remaining) if learning + remaining > 0 else 1.0
