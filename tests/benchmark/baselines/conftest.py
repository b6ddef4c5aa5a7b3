# SPDX-License-Identifier: Apache-2.0
"""Photographs for the one system that wants some, and packaged weights without their package."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from anomalib_scdae.benchmark.baselines import backbones
from tests.benchmark.baselines.systems import SMALL


@pytest.fixture(autouse=True, scope="session")
def _photographs(penalty_folder: Path) -> None:
    SMALL["Gcad"]["photographs"] = str(penalty_folder)


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the packaged weights' place."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("backbone") / "weights.safetensors"
    save_file(timm.create_model(backbones.PACKAGED_BACKBONE).state_dict(), path)
    return path


@pytest.fixture
def packaged(backbone_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the packaged weights, as far as the benchmark looks."""
    monkeypatch.setattr(backbones, "packaged_weights", lambda: backbone_file)
    return backbone_file
