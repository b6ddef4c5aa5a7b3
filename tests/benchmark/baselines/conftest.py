# SPDX-License-Identifier: Apache-2.0
"""Photographs for the one system that wants some."""

from pathlib import Path

import pytest

from tests.benchmark.baselines.systems import SMALL


@pytest.fixture(autouse=True, scope="session")
def _photographs(penalty_folder: Path) -> None:
    SMALL["Gcad"]["photographs"] = str(penalty_folder)
