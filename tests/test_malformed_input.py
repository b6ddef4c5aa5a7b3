# SPDX-License-Identifier: Apache-2.0
"""Whatever wrong is fed to a command, its last line is one sentence with cause and remedy, and nothing is lost."""

import hashlib
import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from anomalib.cli import cli as anomalib_cli
from lightning.pytorch import Trainer
from PIL import Image

from anomalib_scdae import SCDAE, cli

#: What ends a sentence with its remedy: after a colon or a semicolon, or as a clause of its own.
REMEDY = re.compile(r"[:;] |, so |, of which |did you mean|must ")

DATA = ["--data", "MVTecLOCO", "--data.root", "data", "--data.category", "part", "--data.num_workers", "0"]
RUN = ["--model", "SCDAE", *DATA]
TRAIN = ["train", *RUN, "--trainer.accelerator", "cpu", "--trainer.max_steps", "1"]
FOLDER = [
    "train",
    "--model",
    "SCDAE",
    "--data",
    "Folder",
    "--data.name",
    "mine",
    "--data.root",
    ".",
    "--data.normal_dir",
]
BUNDLED = ["--model.teacher", "bundled"]
PART = Path("data/part")


class _Code:
    """Unpickled, it writes a marker file."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (Path("marker").absolute(),)


def _write_files() -> None:
    """Fill the working directory with files that are not what they are taken for."""
    for name, content in {
        "text.pth": b"text",
        "text.safetensors": b"text",
        "text.ckpt": b"text",
        "blocked": b"mine",
        "broken.yaml": b"{limits: [",
        "binary.yaml": b"\xa5\xff\x00",
        "unknown.yaml": b"nope: 3",
        "list.yaml": b"- 1\n",
        "bad/photo.png": b"no image",
        "cards/mine.json": b"{}",
        "cards/mine.safetensors": b"",
        "empty/.keep": b"",
        "code.pth": pickle.dumps(_Code()),
    }.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    torch.save({"conv1.weight": _Code()}, "code_inside.pth")
    torch.save({"state_dict": {"model.teacher_mean": torch.zeros(1)}, "extra": _Code()}, "code.ckpt")
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, "other.ckpt")
    Path("other.json").write_text(json.dumps({"sha256": "0" * 64}))
    shutil.copy("text.safetensors", "other.safetensors")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _no_mask() -> None:
    shutil.rmtree(PART / "ground_truth/logical_anomalies/001")


def _empty_training() -> None:
    shutil.rmtree(PART / "train/good")
    (PART / "train/good").mkdir()


def _foreign_mask() -> None:
    Image.new("L", (5, 5), 255).save(PART / "ground_truth/logical_anomalies/001/001.png")


def _all_black() -> None:
    for path in PART.glob("train/good/*.png"):
        Image.new("RGB", (300, 280)).save(path)


#: What the last line says: the words after `anomalib`, and what is done to the data before.
ANOMALIB: dict[str, tuple[list[str]] | tuple[list[str], Callable[[], None]]] = {
    # Options.
    r"--model\.lr cannot be abc: it takes null or a number": ([*TRAIN, "--model.lr", "abc"],),
    r"there is no option --model\.nope": ([*TRAIN, "--model.nope", "3"],),
    r"--model\.branches cannot be srm: it takes a list": ([*TRAIN, "--model.branches", "srm"],),
    r"--model\.fusion cannot be nope: it takes true or false": ([*TRAIN, "--model.fusion", "nope"],),
    r"--model\.model_size cannot be huge: it takes one of": ([*TRAIN, "--model.model_size", "huge"],),
    r"--model\.cosine_weight cannot be nan": ([*TRAIN, "--model.cosine_weight", "nan"],),
    r"--model\.image_size cannot be big": ([*TRAIN, "--model.image_size", "big"],),
    r"--model\.pre_processor cannot be nope": ([*TRAIN, "--model.pre_processor", "nope"],),
    r"An image size of 255 x 255 is too small": ([*TRAIN, "--model.image_size", "255"],),
    r"image_size must be one number or": ([*TRAIN, "--model.image_size", "[256]"],),
    r"branches names the unknown module foo": ([*TRAIN, "--model.branches", "[[foo]]"],),
    r"local_weight is the local map's share": ([*TRAIN, "--model.local_weight", "2"],),
    r"lr must be a number from 0 on; it is -1": ([*TRAIN, "--model.lr", "-1"],),
    r"cosine_weight must be a number from 0 on": ([*TRAIN, "--model.cosine_weight", "-1"],),
    r"cache_gib must be a number from 0 on": ([*TRAIN, "--model.cache_gib", "-1"],),
    r"pool_size must be 1 or more; it is 0": ([*TRAIN, "--model.pool_size", "0"],),
    r"teacher_out_channels must be 1 or more": ([*TRAIN, "--model.teacher_out_channels", "0"],),
    r"--data cannot be Nope": (["train", "--model", "SCDAE", "--data", "Nope"],),
    r"there is no option --data\.nope": ([*TRAIN, "--data.nope", "1"],),
    r"train_batch_size must be 1 or more": ([*TRAIN, "--data.train_batch_size", "0"],),
    r"num_workers must be a number from 0 on": ([*TRAIN, "--data.num_workers", "-1"],),
    r"--trainer\.max_steps cannot be abc": ([*TRAIN, "--trainer.max_steps", "abc"],),
    r"Nothing would be trained with max_steps 0": ([*TRAIN, "--trainer.max_steps", "0"],),
    r"`max_epochs` must be a non-negative integer": ([*TRAIN, "--trainer.max_epochs", "-2"],),
    r"SCDAE does not work in bf16-true": ([*TRAIN, "--trainer.precision", "bf16-true"],),
    r"Not a directory \(.*blocked": ([*TRAIN, "--default_root_dir", "blocked"],),
    # Configurations.
    r"Problems parsing config": (["train", "--model", "SCDAE", "--config", "broken.yaml"],),
    r"--config cannot be read": (["train", "--model", "SCDAE", "--config", "binary.yaml"],),
    r"Unexpected config": (["train", "--model", "SCDAE", "--config", "list.yaml"],),
    r"File does not exist: '\S*nowhere\.yaml'": (["train", "--model", "SCDAE", "--config", "nowhere.yaml"],),
    # Teachers and penalty images.
    r"teacher file nowhere\.pth does not exist": ([*TRAIN, "--model.teacher", "nowhere.pth"],),
    r"teacher file empty does not exist": ([*TRAIN, "--model.teacher", "empty"],),
    r"teacher file text\.pth cannot be read": ([*TRAIN, "--model.teacher", "text.pth"],),
    r"teacher file text\.safetensors cannot": ([*TRAIN, "--model.teacher", "text.safetensors"],),
    r"teacher file other\.safetensors is truncated": ([*TRAIN, "--model.teacher", "other.safetensors"],),
    r"teacher file code\.pth cannot be read": ([*TRAIN, "--model.teacher", "code.pth"],),
    r"teacher file code_inside\.pth cannot be": ([*TRAIN, "--model.teacher", "code_inside.pth"],),
    r"no medium teacher is bundled": ([*TRAIN, *BUNDLED, "--model.model_size", "medium"],),
    r"has 384 output channels, but 8": ([*TRAIN, *BUNDLED, "--model.teacher_out_channels", "8"],),
    r"penalty image folder nowhere does not": ([*TRAIN, *BUNDLED, "--model.penalty_images", "nowhere"],),
    r"penalty image folder empty holds no": ([*TRAIN, *BUNDLED, "--model.penalty_images", "empty"],),
    r"in penalty image folder bad can be read": ([*TRAIN, *BUNDLED, "--model.penalty_images", "bad"],),
    # Data.
    r"cannot make a data set of data \(.*data/nope": ([*TRAIN, "--data.category", "nope"],),
    r"cannot make a data set of nowhere": ([*TRAIN, "--data.root", "nowhere"],),
    r"cannot make a data set of \. \(.*\Snowhere": ([*FOLDER, "nowhere"],),
    r"cannot make a data set of \. \(.*Found 0": ([*FOLDER, "empty"],),
    r"cannot make a data set of \. \(.*: compare the folders, and how many images": ([*FOLDER, "bad"],),
    r"no image to train with in data": (TRAIN, _empty_training),
    r"logical_anomalies/001\.png has no mask": (TRAIN, _no_mask),
    r"001\.png is 5x5 pixels, .*000\.png is 300x280 pixels: one image": (TRAIN, _foreign_mask),
    r"validation/good/001\.png cannot be read": (TRAIN, lambda: _cut(PART / "validation/good/001.png")),
    r"train/good/001\.png cannot be read": (TRAIN, lambda: (PART / "train/good/001.png").write_bytes(b"")),
    r"are black \(0\.0\) to the networks": ([*TRAIN, *BUNDLED, "--model.penalty_images", "penalty"], _all_black),
    r"test/good/000\.png cannot be read": (
        ["test", *RUN, "--ckpt_path", "whole.ckpt"],
        lambda: _cut(PART / "test/good/000.png"),
    ),
    r"penalty/1\.png cannot be read": (
        ["predict", "--model", "SCDAE", "--data", "penalty", "--ckpt_path", "whole.ckpt"],
        lambda: _cut(Path("penalty/1.png")),
    ),
    r"Path does not exist: \S*nowhere": (["predict", "--model", "SCDAE", "--data", "nowhere"],),
    # Checkpoints.
    r"There is no checkpoint \S*nowhere\.ckpt": (["fit", *RUN, "--ckpt_path", "nowhere.ckpt"],),
    r"whole\.ckpt is no checkpoint": (["test", *RUN, "--ckpt_path", "whole.ckpt"], lambda: _cut(Path("whole.ckpt"))),
    r"text\.ckpt is no checkpoint": (["test", *RUN, "--ckpt_path", "text.ckpt"],),
    r"other\.ckpt is a checkpoint of another": (["predict", *RUN, "--ckpt_path", "other.ckpt"],),
    r"\Scode\.ckpt is no checkpoint": (
        ["export", "--model", "SCDAE", "--export_type", "onnx", "--ckpt_path", "code.ckpt"],
    ),
    r"\Sempty cannot be read \(Is a directory\)": (["validate", *RUN, "--ckpt_path", "empty"],),
    r"This SCDAE was never trained": (["test", *RUN],),
}

EVALUATE = ["evaluate", "--dataset", "data", "--category", "part", "--maps", "maps"]
DISTILL = ["distill", "--images", "empty", "--backbone", "test_resnet", "--output", "teacher.safetensors"]
ROW = "{name: A, class_path: SCDAE}"
SET = "{class_path: MVTecLOCO, init_args: {root: data}, categories: [part]}"
BENCHMARK = ["benchmark", "--output", "bench", "--teacher", "bundled", "--penalty_images", "bundled"]
COMPARE = [*BENCHMARK, "--models", f"[{ROW}]", "--datasets", f"[{SET}]"]
#: The same for `anomalib-scdae`.
OURS: dict[str, list[str]] = {
    r"expected \"command\" to be one of": [],
    r"invalid choice: 'train'": ["train"],
    r"'evaluate\.dataset' is required": ["evaluate", "--category", "part", "--maps", "maps"],
    r"Unrecognized arguments: --nope 3": [*EVALUATE, "--nope", "3"],
    r"--limits cannot be many: it takes a list": [*EVALUATE, "--limits", "many"],
    r"--limits cannot be a: it takes a number": [*EVALUATE, "--limits", "[a]"],
    r"limits must be false-positive rates": [*EVALUATE, "--limits", "[2.0]"],
    r"--precision cannot be f8: it takes one of 'f32', 'bf16', 'f16'": [*EVALUATE, "--precision", "f8"],
    r"--output \. is a folder": [*EVALUATE, "--output", "."],
    r"nowhere/part/test holds no images": ["evaluate", "--dataset", "nowhere", *EVALUATE[3:]],
    r"maps/part/test lacks 6 of 6 maps": EVALUATE,
    r"--processes cannot be x: it takes null or a whole number": ["synthesize", "--processes", "x"],
    r"by 0 processes; give at least 1": ["synthesize", "--processes", "0"],
    r"no category 'bottle'; choose one of": ["synthesize", "--categories", "[bottle]"],
    r"cannot write to blocked": ["synthesize", "--root", "blocked"],
    r"'\S*nowhere.yaml'": [*EVALUATE, "--config", "nowhere.yaml"],
    r"Problems parsing config": [*EVALUATE, "--config", "broken.yaml"],
    r"--config cannot be read": [*EVALUATE, "--config", "binary.yaml"],
    r"does not accept option 'nope'": [*EVALUATE, "--config", "unknown.yaml"],
    r"category 'nope'": ["compact", "--ckpt_path", "text.ckpt", "--data", "SyntheticLOCO", "--data.category", "nope"],
    r"no folder nowhere": ["teachers", "--folder", "nowhere"],
    r"no teacher's card": ["teachers", "--folder", "cards"],
    r"--size cannot be huge": [*DISTILL, "--size", "huge"],
    r"--crop must be a multiple": [*DISTILL, "--crop", "35"],
    r"--steps must be at least 1": [*DISTILL, "--steps", "0"],
    r"must end in \.safetensors": [*DISTILL[:-1], "teacher.pth"],
    r"empty holds 0 images": DISTILL,
    r"did you mean 'init_args'": [*COMPARE, "--models", "[{class_path: SCDAE, init_arg: {}}]"],
    r"Nope": [*COMPARE, "--models", "[{class_path: Nope}]"],
    r"models": BENCHMARK,
    r"datasets": [*BENCHMARK, "--models", f"[{ROW}]"],
    r"'Nowhere'": [*COMPARE, "--datasets", "[{class_path: Nowhere}]"],
    r"seeds": [*COMPARE, "--seeds", "[]"],
    r"--seeds cannot be a": [*COMPARE, "--seeds", "[a]"],
    r"max_stepz": [*COMPARE, "--trainer", "{max_stepz: 3}"],
    r"headline": [*COMPARE, "--headline", "B"],
    r"baseline": [*COMPARE, "--baseline", "B"],
    r"Two cells of the grid are called": [*COMPARE, "--models", f"[{ROW}, {ROW}]"],
    r"An image size of 255 x 255 is too small": [*COMPARE, "--image_size", "255"],
    r"Row 'A'.*nowhere": [*COMPARE, "--teacher", "nowhere.pth"],
    r"Row 'A'.*code\.pth cannot be read": [*COMPARE, "--teacher", "code.pth"],
    r"Row 'A'.*folder empty": [*COMPARE, "--penalty_images", "empty"],
    r"blocked is a file": [*COMPARE, "--output", "blocked"],
    r"No cell matches": [*COMPARE, "--only", "b--*"],
    r"at least one cell": [*COMPARE, "--workers", "0"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that nothing is wrong with."""
    folder, model = tmp_path_factory.mktemp("whole"), SCDAE(teacher_out_channels=4)
    model.model.anomaly_map.upper.fill_(0.5)
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=folder)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(folder / "whole.ckpt")
    return folder / "whole.ckpt"


@pytest.fixture
def place(whole: Path, tmp_path: Path, loco_root: Path, penalty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a data set, penalty images, and files that are not what they are taken for."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(loco_root, "data")
    shutil.copytree(penalty_folder, "penalty")
    shutil.copy(whole, "whole.ckpt")
    _write_files()
    return tmp_path


def _contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _check(place: Path, before: dict[str, str], line: str, named: str) -> None:
    assert re.search(named, line), line
    assert REMEDY.search(line.partition(": ")[2]), line
    after = _contents(place)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after.keys() - before.keys() if name.endswith((".part", ".ckpt", ".safetensors"))]
    assert not Path("marker").exists(), "code of a pickle was run"


@pytest.mark.parametrize("named", ANOMALIB)
def test_anomalib(named: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    words, *spoil = ANOMALIB[named]
    for change in spoil:
        change()
    before = _contents(place)
    monkeypatch.setattr(sys, "argv", ["anomalib", *words])
    with pytest.raises(SystemExit) as end:
        anomalib_cli.main()
    assert end.value.code in {1, 2}
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    line = printed.splitlines()[-1]
    assert line.startswith("anomalib")
    _check(place, before, line, named)


@pytest.mark.parametrize("named", OURS)
def test_anomalib_scdae(named: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _contents(place)
    try:
        status = cli.main(OURS[named])
    except SystemExit as end:
        status = end.code
    assert status in {1, 2}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("anomalib-scdae")
    _check(place, before, line, named)
    assert _contents(place).keys() == before.keys(), "nothing is left half written"
    assert not os.path.lexists("bench")
