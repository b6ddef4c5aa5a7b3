# SPDX-License-Identifier: Apache-2.0
"""The scripts in ``examples/`` that look into the models of a benchmark."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from anomalib.data.utils import read_image

from anomalib_scdae.benchmark.cell.build import build_model, save_weights
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.crm import ChannelReunionModule
from anomalib_scdae.model.sfm import SelectiveFusionModule
from anomalib_scdae.model.srm import SpatialReunionModule
from tests.conftest import ROOT, draw_folder

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "mine", 3, 2)


def run_main(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Run a script that reads its command line."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


def write_cell(folder: Path, class_path: str, arguments: dict[str, Any], change: bool = True) -> Any:
    """Write the folder of a benchmark's cell, with a model that nothing was trained for."""
    config = {"model": {"class_path": class_path, "init_args": arguments}, "image_size": 256}
    model: Any = build_model(config["model"], 256)
    if change:
        torch.manual_seed(1)
        for module in model.model.modules():
            if isinstance(module, SpatialReunionModule | ChannelReunionModule | SelectiveFusionModule):
                for parameter in module.parameters():
                    torch.nn.init.normal_(parameter, std=0.1)
    save_weights(model, folder / "weights.safetensors")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return model.eval()


def rows(printed: str) -> dict[str, list[float]]:
    """The figures of each row that a script has printed in columns, by the row's name."""
    lines = (re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()[1:])
    return {name: [float(figure.rstrip("%")) for figure in figures] for name, *figures in lines}


@pytest.mark.parametrize("class_path", ["SCDAE", "EfficientAdMended"])
def test_false_alarms_of_a_benchmarks_cell(
    images: Path, tmp_path: Path, model_arguments: dict[str, Any], class_path: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_cell(tmp_path / "cell", class_path, model_arguments)
    folders = (images / "good", images / "good", "--anomalous", images / "bad", "--limit", 2)
    run_main("false_alarms.py", monkeypatch, tmp_path / "cell", *folders)
    found = rows(capsys.readouterr().out)
    assert len(found) == 8
    assert found["as they are"][0] == 0.0  # no image scores above the highest of the same images
    assert all(0 <= figure <= 100 for figures in found.values() for figure in figures)


def test_what_gates_learn(
    images: Path, tmp_path: Path, model_arguments: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_cell(tmp_path / "new", "SCDAE", model_arguments, change=False)
    run_main("what_gates_learn.py", monkeypatch, tmp_path / "new", images / "good", "--limit", 3)
    found = rows(capsys.readouterr().out)
    inputs = {"input of SRM", "input of CRM"}
    assert {name.split(" (")[0] for name in found} == inputs | {"SRM", "CRM", "SFM, branch 1", "SFM, branch 2"}
    for name, figures in found.items():  # they start as the identity
        assert name.startswith("input") == any(figures), name

    model = write_cell(tmp_path / "cell", "SCDAE", model_arguments)
    run_main("what_gates_learn.py", monkeypatch, tmp_path / "cell", images / "good", "--limit", 3)
    found = rows(capsys.readouterr().out)
    batch = torch.cat([model.transformed(read_image(images / f"good/{n}.png", as_tensor=True)[None]) for n in range(3)])
    with torch.inference_mode():
        branch = model.model.branches[1]
        features = branch.autoencoder(batch, batch.shape[-2:])
        gate = 100 * (branch(batch) / features).mean(dim=(-2, -1)) - 100
    (crm,) = (figures for name, figures in found.items() if name.startswith("CRM"))
    expected = [
        gate.mean(),
        gate.square().mean().sqrt(),
        gate.std(dim=0).square().mean().sqrt(),
        gate.min(),
        gate.max(),
    ]
    assert crm == pytest.approx([value.item() for value in expected], abs=0.02)
    first, second = (found[name] for name in found if name.startswith("SFM"))
    assert first[0] == pytest.approx(-second[0], abs=0.02)  # what one branch gains, the other loses


def test_gates_of_a_model_without_any_are_told(
    images: Path, tmp_path: Path, model_arguments: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_cell(tmp_path / "cell", "SCDAE", {**model_arguments, "branches": [[]]})
    with pytest.raises(SystemExit):
        run_main("what_gates_learn.py", monkeypatch, tmp_path / "cell", images / "good")
    assert "neither SRM, CRM nor SFM" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds no trained model"):
        run_main("what_gates_learn.py", monkeypatch, images, images / "good")
