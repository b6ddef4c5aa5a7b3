# SPDX-License-Identifier: Apache-2.0
"""Which penalty images the argument ``penalty_images`` stands for."""

import inspect
import io
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from anomalib.models import EfficientAd
from anomalib.models.image.efficient_ad import lightning_model as efficient_ad
from PIL import Image

from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs import download
from anomalib_scdae.inputs.penalty import BundledImages, FolderImages, load_penalty_images, loading
from tests.local_server import FileServer, serving, tarred

ARCHIVE = "imagenette2.tgz"


def encoded(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (value, value, value)).save(buffer, "JPEG")
    return buffer.getvalue()


IMAGENETTE = {f"imagenette2/{split}/n0144{k}/photo_{k}.JPEG": encoded(k) for k, split in enumerate(["train", "val"])}


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(urllib.request, "_opener", None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A network in which Imagenette can be had."""
    with serving(tarred(IMAGENETTE)) as server:
        monkeypatch.setattr(loading, "IMAGENETTE_DOWNLOAD_INFO", server.info(ARCHIVE))
        monkeypatch.delenv(download.OFFLINE_VARIABLE)
        yield server


def test_place_is_that_of_efficientad() -> None:
    default = inspect.signature(EfficientAd).parameters["imagenet_dir"].default
    assert Path(default) == loading.IMAGENETTE_FOLDER


def test_bundled() -> None:
    images = load_penalty_images("bundled", (64, 48), seed=3)
    assert isinstance(images, BundledImages)
    assert torch.equal(images[5], BundledImages((64, 48), 3)[5])


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(encoded(7))
    images = load_penalty_images("photos", (32, 32), seed=3)
    assert isinstance(images, FolderImages)
    assert images.source == "photos (1 images)"


def test_auto_without_imagenette_is_bundled_and_says_so(server: FileServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert isinstance(load_penalty_images("auto"), BundledImages)
    assert "Penalty images: bundled" in caplog.text
    assert server.requests == []
    assert not Path("datasets").exists()


def test_auto_with_imagenette(tmp_path: Path) -> None:
    for name, content in IMAGENETTE.items():
        path = tmp_path / "datasets" / "imagenette" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    images = load_penalty_images("auto")
    assert images.source == f"imagenette ({tmp_path / 'datasets' / 'imagenette'}, 2 images)"


@pytest.mark.parametrize(
    "content", [{}, {ARCHIVE: b"half"}, {ARCHIVE: b"half", "imagenette2/train/a.JPEG": encoded(1)}]
)
def test_auto_ignores_what_an_interrupted_download_of_anomalib_left(tmp_path: Path, content: dict[str, bytes]) -> None:
    folder = tmp_path / "datasets" / "imagenette"
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert isinstance(load_penalty_images("auto"), BundledImages)


def test_imagenette_is_downloaded_when_asked_for(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_penalty_images("imagenette", (16, 16))
    assert sorted(round(255 * float(images[k].mean())) for k in range(2)) == [0, 1]
    assert isinstance(load_penalty_images("auto"), FolderImages)
    assert server.downloads == 1

    monkeypatch.setattr(efficient_ad, "download_and_extract", lambda *args: pytest.fail("downloads again"))
    model = EfficientAd()
    model.prepare_imagenette_data((256, 256))
    assert len(model.imagenet_loader.dataset) == 2


def test_empty_folder_of_a_failed_download_is_replaced(server: FileServer, tmp_path: Path) -> None:
    """Anomalib makes the folder before the download; were it kept, EfficientAd would find no images in it."""
    (tmp_path / "datasets" / "imagenette").mkdir(parents=True)
    assert isinstance(load_penalty_images("imagenette"), FolderImages)


def test_failed_download_does_not_break_efficientad(server: FileServer) -> None:
    server.behaviour = "truncated"
    with pytest.raises(UserError, match=r"'imagenette' are not available: .* use 'bundled' or a folder"):
        load_penalty_images("imagenette")
    assert not loading.IMAGENETTE_FOLDER.exists()


def test_imagenette_offline_is_one_sentence() -> None:
    with pytest.raises(UserError, match=f"{download.OFFLINE_VARIABLE} forbids"):
        load_penalty_images("imagenette")
    assert not Path("datasets").exists()
