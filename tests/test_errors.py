# SPDX-License-Identifier: Apache-2.0
"""Bad input ends in one sentence that names the cause and the remedy, before any long work."""

from pathlib import Path

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Compose, Normalize, Resize

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from tests.conftest import draw_image


def _fit(folder: Path, root: Path, model: SCDAE) -> None:
    data = MVTecLOCO(root=root, category="part", train_batch_size=1, num_workers=0)
    engine = Engine(max_steps=1, default_root_dir=folder, accelerator="cpu", enable_progress_bar=False)
    engine.fit(model, datamodule=data)


def _one_sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("image_size", [200, [256, 128], [256], [256, 256, 3], "256"])
def test_image_size(image_size: object) -> None:
    with pytest.raises(UserError) as error:
        SCDAE(image_size=image_size)
    assert "image_size" in _one_sentence(error)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"branches": [["srm"], ["dcm"]]}, "dcm"),
        ({"branches": []}, "branches"),
        ({"aggregation": "median"}, "median"),
        ({"model_size": "large"}, "large"),
        ({"crm_gate": "open"}, "open"),
        ({"fusion_gate": "open"}, "open"),
        ({"pool_size": 0}, "pool_size"),
        ({"teacher_out_channels": 0}, "teacher_out_channels"),
        ({"lr": -1.0}, "lr"),
        ({"cache_gib": -1.0}, "cache_gib"),
        ({"context_weight": -0.5}, "context_weight"),
    ],
)
def test_options(arguments: dict, word: str) -> None:
    with pytest.raises(UserError) as error:
        SCDAE(**arguments)
    assert word in _one_sentence(error)


@pytest.fixture
def wrong_size(tmp_path: Path) -> Path:
    from anomalib.models.image.efficient_ad.torch_model import MediumPatchDescriptionNetwork
    from safetensors.torch import save_file

    save_file(MediumPatchDescriptionNetwork(384).state_dict(), tmp_path / "medium.safetensors")
    return tmp_path / "medium.safetensors"


def test_teacher_of_the_wrong_size(loco_root: Path, wrong_size: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        _fit(tmp_path, loco_root, SCDAE(teacher=str(wrong_size)))
    assert "medium" in _one_sentence(error)


def test_teacher_that_is_no_weights_file(loco_root: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher.safetensors").write_text("not weights")
    with pytest.raises(UserError) as error:
        _fit(tmp_path, loco_root, SCDAE(teacher=str(tmp_path / "teacher.safetensors")))
    assert "teacher.safetensors" in _one_sentence(error)


def test_empty_penalty_folder(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as error:
        _fit(tmp_path, loco_root, SCDAE(**model_arguments | {"penalty_images": str(tmp_path / "empty")}))
    assert "empty" in _one_sentence(error)


def test_normalize_in_the_pre_processor(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    transform = Compose([Resize((256, 256)), Normalize([0.5] * 3, [0.5] * 3)])
    with pytest.raises(UserError) as error:
        _fit(tmp_path, loco_root, SCDAE(**model_arguments, pre_processor=PreProcessor(transform)))
    assert "Normalize" in _one_sentence(error)


def test_pre_processor_that_makes_images_too_small(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        _fit(tmp_path, loco_root, SCDAE(**model_arguments, pre_processor=PreProcessor(Resize((128, 128)))))
    assert "128 x 128" in _one_sentence(error)


def test_unreadable_training_image(model_arguments: dict, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        draw_image(tmp_path / "part" / split / "good" / "000.png", 0)
    (tmp_path / "part/train/good/001.png").write_text("not an image")
    model = SCDAE(**model_arguments)
    with pytest.raises(UserError) as error:
        _fit(tmp_path, tmp_path, model)
    assert "001.png" in _one_sentence(error)

    draw_image(tmp_path / "part/train/good/001.png", 1)
    _fit(tmp_path, tmp_path, model)
    assert model.model.teacher_mean.any(), "repaired, the training starts from its beginning"


def test_missing_dataset(model_arguments: dict, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nowhere") as error:
        _fit(tmp_path, tmp_path / "nowhere", SCDAE(**model_arguments))
    assert "\n" not in str(error.value).strip()


def test_training_without_penalty_images() -> None:
    from anomalib_scdae.model.torch_model import SCDAEModel

    with pytest.raises(UserError) as error:
        SCDAEModel(teacher_out_channels=4)(torch.rand(1, 3, 256, 256))
    assert "penalty" in _one_sentence(error)
