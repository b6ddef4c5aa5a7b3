# SPDX-License-Identifier: Apache-2.0
"""The scripts in ``examples/`` run as they are."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT, draw_folder

EXAMPLES = ROOT / "examples"
#: Normal images; some of them for the test and the validation.
NORMAL = 5


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a user has it; scripts run beside it, so that what they write is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    return draw_folder(tmp_path / "mine", NORMAL, 2)


@pytest.mark.slow
def test_python_examples(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_and_export = runpy.run_path(str(EXAMPLES / "train_and_export.py"))["main"]
    train_and_export(images, abnormal="bad", steps=1, teacher="bundled", output=Path("results"))
    printed = capsys.readouterr().out
    assert "0.png: score 0." in printed
    assert "1.png: score 0." in printed

    (checkpoint,) = Path("results/SCDAE/mine/v0").rglob("*.ckpt")
    runpy.run_path(str(EXAMPLES / "maps_of_an_image.py"))["main"](checkpoint, images / "bad/0.png", Path("maps.png"))
    width, height = Image.open("maps.png").size
    assert width > 4 * height  # the image and four maps


@pytest.mark.slow
def test_shell_example(images: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    options = ["--trainer.max_steps=1", "--data.num_workers=0", "--model.teacher=bundled", "--data.abnormal_dir=bad"]
    subprocess.run(["bash", EXAMPLES / "train_and_export.sh", images, *options], check=True, env=environment)
    assert len(list(Path("results/SCDAE/latest/images/good").glob("*.png"))) == NORMAL
    assert Path("results/weights/openvino/model.bin").stat().st_size > 1e6
