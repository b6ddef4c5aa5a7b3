# SPDX-License-Identifier: Apache-2.0
"""Makes a resumed training end where an uninterrupted one would have ended.

Lightning restores weights, optimizer, schedule and counters. What it does not restore is the random state and, within
an epoch, the place in the data. Here every epoch starts from random numbers that depend on the run's seed and the
epoch's number only, and a checkpoint also holds the random state at which it was written; so an epoch can be taken up
anywhere by repeating the order of its images, skipping those already seen, and going on with the saved state.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader


class ExactResume(Callback):
    """Saves and restores the random state, and the position within an epoch.

    Exact for loaders without worker processes or with one; with more, images arrive in a different order of time.
    """

    def __init__(self) -> None:
        self._seed: int | None = None
        self._saved: dict[str, Any] | None = None

    @property
    def seed(self) -> int:
        """The run's seed, drawn from torch's global generator when training starts if no checkpoint has brought it."""
        return self._seed or 0

    def state_dict(self) -> dict[str, Any]:
        """Return the run's seed and the present random state, in types that load under ``weights_only=True``."""
        return {"seed": self._seed, **_random_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the state until training starts."""
        self._seed = state_dict["seed"]
        self._saved = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a run, or take up an epoch where its checkpoint left it."""
        del pl_module
        # A test reads checkpoints too, and an earlier training has had its own seed.
        saved, self._saved = self._saved, None
        if not trainer.ckpt_path or (saved is not None and saved["seed"] is None):
            saved = None
        if saved is None:
            self._seed = int(torch.randint(2**31, (1,)))
        # A validation draws a seed for its workers; drawn here, training would depend on whether it took place.
        for loader in CombinedLoader(trainer.val_dataloaders).flattened if trainer.val_dataloaders else []:
            loader.generator = torch.Generator()
        if saved is None:
            return
        progress = trainer.fit_loop.epoch_loop.batch_progress
        seed_epoch(self.seed, trainer.current_epoch, trainer.global_rank)
        iterator = _begin_iteration(trainer)
        # At an epoch's last step nothing is left to skip: Lightning goes on with the next epoch, without announcing it.
        if not progress.is_last_batch:
            for _ in range(progress.current.ready):
                next(iterator)
            _set_random_state(saved)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the epoch its random numbers, and draw the order of its images with them."""
        del pl_module
        seed_epoch(self.seed, trainer.current_epoch, trainer.global_rank)
        loop = trainer.fit_loop
        # For the first epoch, and the first one after resuming, Lightning has made the iterator before any hook could
        # seed it. There is no public way to begin the iteration anew.
        if trainer.current_epoch == 0 or loop.is_resuming or loop.epoch_loop.restarting:
            _begin_iteration(trainer)


def _begin_iteration(trainer: Trainer) -> Iterator[Any]:
    """Begin to read the training data anew, and return the iterator that the epoch will read on from."""
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None  # noqa: S101 - for the type checker; Lightning has set it up before the first hook
    iter(fetcher)
    assert fetcher.iterator is not None  # noqa: S101
    return fetcher.iterator


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Set Python's, NumPy's and torch's random state as a function of the three numbers."""
    entropy = np.random.SeedSequence([seed, epoch, rank]).generate_state(3)
    random.seed(int(entropy[0]))
    np.random.seed(int(entropy[1]))  # noqa: NPY002 - augmentations of others use the global generator
    torch.manual_seed(int(entropy[2]))


def _random_state() -> dict[str, Any]:
    """Collect the global random states as tensors, numbers and lists."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    """Set what :func:`_random_state` has collected."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
