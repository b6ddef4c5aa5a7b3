# SPDX-License-Identifier: Apache-2.0
"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Numbers of rounds, steps and images.

    Attributes:
        step_rounds: Turns of the training steps that count, for each model.
        steps: Steps in such a turn; one more before them does not count.
        warm_up: Rounds of steps and predictions before those that count.
        file_size: Height and width of the files of the whole training.
        files: Number of its training images, which makes an epoch.
        validation_files: Number of its validation images.
        epochs: Its epochs, at least 2: images are read in the first one and may be remembered in the others.
        turns: Turns in an epoch.
        inference_rounds: Rounds of predictions.
        calibration_images: For INT8; more would change the accuracy, not the speed.
        peak_repeats: How often each operation is timed that the machine's peak is sought with.
    """

    step_rounds: int = 12
    steps: int = 4
    warm_up: int = 2
    file_size: tuple[int, int] = (1280, 1600)
    files: int = 15
    validation_files: int = 12
    epochs: int = 3
    turns: int = 4
    inference_rounds: int = 20
    calibration_images: int = 16
    peak_repeats: int = 5

    @classmethod
    def choose(cls, device: str, *, quick: bool) -> "Effort":
        """Return what takes minutes on ``device``, or as little as can be: a trial, whose figures mean nothing."""
        if quick:
            return cls(
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
            )
        return cls() if device == "cpu" else cls(step_rounds=30, steps=20, files=159, epochs=4, turns=8)
