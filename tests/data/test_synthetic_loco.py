# SPDX-License-Identifier: Apache-2.0
"""SyntheticLOCO as Anomalib sees it: its own reader, its registry, its command line."""

import json
import subprocess
import sys
from pathlib import Path

import anomalib.data
import numpy as np
import pytest
import torch
from anomalib.data import MVTecLOCO, get_datamodule
from PIL import Image

from anomalib_scdae.cli import main
from anomalib_scdae.data import SyntheticLOCO
from anomalib_scdae.errors import UserError

ARGUMENTS = {
    "category": "pushpins",
    "train_images": 3,
    "validation_images": 2,
    "good_images": 2,
    "logical_images": 4,
    "structural_images": 4,
    "long_side": 128,
    "num_workers": 0,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    SyntheticLOCO(root, **ARGUMENTS).prepare_data()
    return root


def test_anomalibs_own_datamodule_reads_the_folder(root: Path) -> None:
    datamodule = MVTecLOCO(root=root, category="pushpins", num_workers=0)
    datamodule.setup()
    assert (len(datamodule.train_data), len(datamodule.val_data), len(datamodule.test_data)) == (3, 2, 10)
    assert not any(item.gt_label for dataset in (datamodule.train_data, datamodule.val_data) for item in dataset)
    config = json.loads((root / "pushpins/defects_config.json").read_text())
    values = {entry["pixel_value"] for entry in config}
    for item in datamodule.test_data:
        image = Image.open(item.image_path)
        assert image.mode == "RGB"
        assert item.gt_mask.shape == (image.height, image.width) == item.image.shape[-2:]
        assert bool(item.gt_mask.any()) == bool(item.gt_label) == ("good" not in item.image_path)
        if item.gt_label:
            mask = np.asarray(Image.open(item.mask_path))
            assert Path(item.mask_path).parent.name == Path(item.image_path).stem
            assert Path(item.mask_path).parent.parent.name == Path(item.image_path).parent.name
            assert torch.equal(item.gt_mask.bool(), torch.from_numpy(mask > 0))
            assert set(np.unique(mask)) - {0} <= values


def test_the_datamodule_renders_on_first_use_and_serves_batches(tmp_path: Path) -> None:
    datamodule = SyntheticLOCO(tmp_path, **ARGUMENTS, train_batch_size=2, eval_batch_size=3)
    datamodule.setup()
    assert next(iter(datamodule.train_dataloader())).image.shape[0] == 2
    assert next(iter(datamodule.test_dataloader())).gt_mask.shape[0] == 3
    assert datamodule.name == "SyntheticLOCO"
    assert datamodule.category == "pushpins"


def test_another_category_in_the_same_root_is_refused_only_if_it_differs(root: Path) -> None:
    with pytest.raises(UserError, match=r"difficulty=1\.0 instead of 0.5"):
        SyntheticLOCO(root, **ARGUMENTS, difficulty=0.5).setup()


def test_bad_arguments_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="no category 'bottle'"):
        SyntheticLOCO(category="bottle")


def test_found_by_bare_name(root: Path) -> None:
    assert anomalib.data.SyntheticLOCO is SyntheticLOCO
    config = {"class_path": "SyntheticLOCO", "init_args": {"root": str(root), **ARGUMENTS}}
    datamodule = get_datamodule(config)
    datamodule.setup()
    assert len(datamodule.test_data) == 10


def test_the_command_line_finds_it_with_all_its_options(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from anomalib.cli.cli import AnomalibCLI

    with pytest.raises(SystemExit, match="0"):
        AnomalibCLI(args=["train", "--data.help", "SyntheticLOCO"])
    options = capsys.readouterr().out
    for option in (*ARGUMENTS, "difficulty", "seed", "train_batch_size", "augmentations"):
        assert f"--data.{option}" in options


def test_rendering_needs_neither_torch_nor_anomalib() -> None:
    code = "import sys, anomalib_scdae.data.synthetic.parallel; print({'torch', 'anomalib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_synthesize_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--root", str(tmp_path), "--categories", "[juice_bottle]", "--preset", "small", "--long_side", "128"]
    counts = [f"--{name}_images={count}" for name, count in (("train", 2), ("logical", 11), ("structural", 7))]
    assert main(["synthesize", *options, *counts, "--processes", "1", "--contact_sheets", "true"]) == 0
    assert len(list((tmp_path / "juice_bottle/test/logical_anomalies").iterdir())) == 11
    with Image.open(tmp_path / "juice_bottle.webp") as sheet:
        assert sheet.format == "WEBP"
        assert sheet.width > 1000
    assert main(["synthesize", *options]) == 1
    assert "was rendered with train=2 instead of 24" in capsys.readouterr().err
