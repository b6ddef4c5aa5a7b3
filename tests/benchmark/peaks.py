# SPDX-License-Identifier: Apache-2.0
"""A child that tells its peak memory, in a module of its own that imports next to nothing."""

from multiprocessing.connection import Connection

import numpy as np

from anomalib_scdae.benchmark.measure.memory import peak_memory_mib


def send_peaks(connection: Connection) -> None:
    """Send the peak before 64 MiB are used, with them, and after they are gone."""
    before = peak_memory_mib()["process"]
    block = np.ones(64 * 2**20, dtype=np.uint8)
    after = peak_memory_mib()["process"]
    del block
    connection.send((before, after, peak_memory_mib()["process"]))
