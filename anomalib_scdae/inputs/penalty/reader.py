# SPDX-License-Identifier: Apache-2.0
"""Prepares penalty images while a training step runs."""

import math
import os
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from anomalib_scdae.inputs.penalty.base import PenaltyImages

MAX_THREADS = 4


class PenaltyReader:
    """Reads batches of penalty images and prepares the following ones in background threads.

    Threads suffice: Pillow and NumPy, which do the work, let other threads run meanwhile. What is read depends on the
    arguments alone, so that nothing needs to be saved in a checkpoint.

    Args:
        images: Where the images come from.
        ahead: Images that are prepared in advance, rounded up to batches. More than one or two, since some images take
            several times as long as others.
        threads: Number of threads; default: a quarter of the processors, from 1 to 4.
    """

    def __init__(self, images: PenaltyImages, ahead: int = 8, threads: int | None = None) -> None:
        self.images = images
        self.ahead = ahead
        threads = threads or min(max((os.cpu_count() or 1) // 4, 1), MAX_THREADS)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="penalty-images")
        self._pending: dict[int, Future[torch.Tensor]] = {}

    def read(self, first: int, count: int, stride: int | None = None) -> torch.Tensor:
        """Return images ``first`` to ``first + count - 1`` and begin with the batches that will be asked for next.

        Args:
            first: Index of the batch's first image.
            count: Images in the batch.
            stride: Distance from this batch's first image to that of the next batch; default: ``count``. A wrong guess
                costs time only.

        Returns:
            ``(count, 3, H, W)`` ``float32`` in [0, 1].
        """
        stride = count if stride is None else stride
        wanted = range(first, first + count)
        futures = [self._pending.get(index) or self._pool.submit(self.images.__getitem__, index) for index in wanted]
        batches = range(1, math.ceil(self.ahead / count) + 1)
        upcoming = dict.fromkeys(index + stride * k for k in batches for index in wanted)
        for index in self._pending.keys() - set(wanted) - upcoming.keys():
            self._pending[index].cancel()
        self._pending = {
            index: self._pending.get(index) or self._pool.submit(self.images.__getitem__, index) for index in upcoming
        }
        return torch.stack([future.result() for future in futures])

    def close(self) -> None:
        """Stop preparing images."""
        self._pool.shutdown(wait=False, cancel_futures=True)
