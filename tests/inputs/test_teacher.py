# SPDX-License-Identifier: Apache-2.0
"""The teacher's weights are found, verified and read, or one sentence tells what is wrong."""

import hashlib
import json
import logging
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from anomalib.models import EfficientAd
from anomalib.models.image.efficient_ad import lightning_model as efficient_ad
from anomalib.models.image.efficient_ad.torch_model import MediumPatchDescriptionNetwork, SmallPatchDescriptionNetwork
from safetensors.torch import save, save_file
from torch import nn

from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs import download
from anomalib_scdae.inputs import teacher as loading
from anomalib_scdae.inputs.teacher import Teacher, load_teacher
from tests.local_server import FileServer, serving, zipped

State = dict[str, torch.Tensor]
PLACE = "efficientad_pretrained_weights"


@pytest.fixture(scope="module")
def small() -> State:
    return SmallPatchDescriptionNetwork(384).state_dict()


@pytest.fixture(scope="module")
def medium() -> State:
    return MediumPatchDescriptionNetwork(384).state_dict()


@pytest.fixture(scope="module")
def published_zip(small: State, medium: State) -> bytes:
    """An archive in the layout of EfficientAd's published one, with other weights."""
    return zipped(
        {f"{PLACE}/{loading.published_file(size)}": pickled(state) for size, state in sizes(small, medium).items()}
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Anomalib's cache and the bundled weights' folder are empty; there is neither a network nor a proxy."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *args, **kwargs: folder)
    monkeypatch.setattr(loading, "BUNDLED_FOLDER", tmp_path / "bundled")
    (tmp_path / "bundled").mkdir()
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(urllib.request, "_opener", None)
    return folder / "pre_trained"


@pytest.fixture
def server(published_zip: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A network in which the published weights can be had."""
    with serving(published_zip) as server:
        monkeypatch.setattr(loading, "WEIGHTS_DOWNLOAD_INFO", server.info("efficientad_pretrained_weights.zip"))
        monkeypatch.delenv(download.OFFLINE_VARIABLE)
        yield server


def sizes(small: State, medium: State) -> dict[str, State]:
    return {"small": small, "medium": medium}


def pickled(content: Any) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def bundle(state: State, size: str = "small") -> Path:
    """Put a bundled teacher of half precision and its card into place."""
    path = loading.BUNDLED_FOLDER / f"{size}.safetensors"
    content = save({name: tensor.half() for name, tensor in state.items()})
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest()}))
    return path


def assert_same(teacher: Teacher, state: State, tolerance: float = 0) -> None:
    assert teacher.state_dict.keys() == state.keys()
    for name, tensor in teacher.state_dict.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, state[name], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_path(tmp_path: Path, small: State, medium: State, size: str, suffix: str) -> None:
    state = sizes(small, medium)[size]
    path = tmp_path / f"teacher{suffix}"
    path.write_bytes(save(state) if suffix == ".safetensors" else pickled(state))
    teacher = load_teacher(str(path), size)
    assert_same(teacher, state)
    assert teacher.source == str(path)
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_half_precision_come_out_in_single(tmp_path: Path, small: State) -> None:
    path = tmp_path / "half.pth"
    path.write_bytes(pickled({name: tensor.bfloat16() for name, tensor in small.items()}))
    assert_same(load_teacher(str(path)), small, tolerance=2**-8)


def test_teacher_inside_a_checkpoint_of_efficientad(tmp_path: Path) -> None:
    """Lightning nests the state dict and stores the constructor's arguments, an Enum among them, beside it."""
    model = EfficientAd()
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "epoch": 0}, path)
    assert_same(load_teacher(str(path)), model.model.teacher.state_dict())


def test_global_random_state_is_left_alone(tmp_path: Path, small: State) -> None:
    save_file(small, tmp_path / "t.safetensors")
    before = torch.random.get_rng_state()
    load_teacher(str(tmp_path / "t.safetensors"))
    assert torch.equal(torch.random.get_rng_state(), before)


class Mischief:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "executed")


def test_code_in_a_file_is_not_executed(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"conv1.weight": Mischief(trace)}, path)
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_teacher(str(path))
    assert not trace.exists()


def with_value(state: State, name: str, value: torch.Tensor) -> State:
    return {**state, name: value}


BAD_FILES = {
    "not weights": (".pth", lambda s, m: b"GIF89a", "cannot be read as weights"),
    "empty": (".pth", lambda s, m: b"", "cannot be read as weights"),
    "truncated": (".pth", lambda s, m: pickled(s)[:100_000], "cannot be read as weights"),
    "truncated safetensors": (".safetensors", lambda s, m: save(s)[:100_000], "cannot be read as weights"),
    "whole module": (".pth", lambda s, m: pickled(nn.Linear(1, 1)), "cannot be read as weights"),
    "a tensor": (".pth", lambda s, m: pickled(torch.zeros(3)), "holds no PDN"),
    "other network": (".pth", lambda s, m: pickled(nn.Linear(1, 1).state_dict()), "holds no PDN"),
    "other shape": (
        ".pth",
        lambda s, m: pickled(with_value(s, "conv2.weight", torch.zeros(2, 2))),
        "neither a small nor a medium PDN",
    ),
    "layer missing": (
        ".pth",
        lambda s, m: pickled({k: v for k, v in s.items() if k != "conv3.bias"}),
        "neither a small nor a medium PDN",
    ),
    "medium": (".pth", lambda s, m: pickled(m), "is a medium PDN; pass --model.model_size medium"),
    "student": (
        ".pth",
        lambda s, m: pickled(SmallPatchDescriptionNetwork(768).state_dict()),
        "has 768 output channels, but 384",
    ),
    "not finite": (
        ".pth",
        lambda s, m: pickled(with_value(s, "conv1.bias", torch.full((128,), torch.nan))),
        "not finite",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_one_sentence(tmp_path: Path, small: State, medium: State, case: str) -> None:
    suffix, content, sentence = BAD_FILES[case]
    path = tmp_path / f"teacher{suffix}"
    path.write_bytes(content(small, medium))
    with pytest.raises(UserError, match=sentence) as caught:
        load_teacher(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist: pass 'auto', 'efficientad', 'bundled' or"):
        load_teacher(str(tmp_path / "none.pth"))


def test_small_file_for_a_medium_model(tmp_path: Path, small: State) -> None:
    save_file(small, tmp_path / "t.safetensors")
    with pytest.raises(UserError, match=r"is a small PDN; pass --model\.model_size small"):
        load_teacher(str(tmp_path / "t.safetensors"), "medium")


def test_unknown_size() -> None:
    with pytest.raises(UserError, match="Unknown model_size 'large': choose one of small, medium"):
        load_teacher("bundled", "large")


@pytest.mark.parametrize("card", ["no json", "[1]", "{}"])
def test_json_beside_a_file_that_is_no_card(tmp_path: Path, small: State, card: str) -> None:
    save_file(small, tmp_path / "t.safetensors")
    (tmp_path / "t.json").write_text(card)
    assert_same(load_teacher(str(tmp_path / "t.safetensors")), small)


def test_file_that_contradicts_its_card(tmp_path: Path, small: State) -> None:
    save_file(small, tmp_path / "t.safetensors")
    (tmp_path / "t.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(UserError, match="truncated or altered"):
        load_teacher(str(tmp_path / "t.safetensors"))


def test_bundled(small: State) -> None:
    path = bundle(small)
    teacher = load_teacher("bundled")
    assert teacher.source == "bundled"
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same(teacher, small, tolerance=2**-10)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[:-1] + bytes([c[-1] ^ 1]), lambda c: b""])
def test_altered_bundled_teacher(small: State, change: Any) -> None:
    path = bundle(small)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=r"truncated or altered.*reinstall the package"):
        load_teacher("bundled")


def test_bundled_teacher_without_card(small: State) -> None:
    bundle(small).with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"card .* is missing or damaged: reinstall"):
        load_teacher("bundled")


def test_no_bundled_medium_teacher(small: State) -> None:
    bundle(small)
    remedies = r"--model\.model_size small.*distill --size medium"
    with pytest.raises(UserError, match=f"no medium teacher is bundled.*{remedies}"):
        load_teacher("bundled", "medium")
    with pytest.raises(UserError, match=f"no medium teacher is bundled.*{download.OFFLINE_VARIABLE}"):
        load_teacher("auto", "medium")


@pytest.mark.parametrize("size", ["small", "medium"])
def test_download_of_the_published_weights(
    server: FileServer, cache: Path, small: State, medium: State, size: str
) -> None:
    teacher = load_teacher("efficientad", size)
    assert_same(teacher, sizes(small, medium)[size])
    assert teacher.source == f"efficientad ({cache / PLACE / loading.published_file(size)})"
    load_teacher("efficientad", size)
    assert server.downloads == 1


def test_efficientad_finds_what_was_downloaded(
    server: FileServer, small: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_teacher("auto")
    monkeypatch.setattr(efficient_ad, "download_and_extract", lambda *args: pytest.fail("downloads again"))
    model = EfficientAd()
    model.prepare_pretrained_model()
    torch.testing.assert_close(dict(model.model.teacher.state_dict()), dict(small), atol=0, rtol=0)


def test_failed_download_does_not_break_efficientad(server: FileServer, cache: Path) -> None:
    """Where the folder exists, EfficientAd takes it for complete."""
    server.behaviour = "truncated"
    with pytest.raises(UserError, match=r"'efficientad' is not available: .*; use teacher 'bundled' or a path"):
        load_teacher("efficientad")
    assert not (cache / PLACE).exists()


def test_auto_uses_present_weights_offline_and_silently(
    cache: Path, small: State, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of a size are enough, as for EfficientAd."""
    (cache / PLACE).mkdir(parents=True)
    (cache / PLACE / loading.published_file("small")).write_bytes(pickled(small))
    assert load_teacher("auto").source.startswith("efficientad")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_auto_prefers_the_published_weights(server: FileServer, small: State) -> None:
    bundle({name: torch.zeros_like(tensor) for name, tensor in small.items()})
    assert_same(load_teacher("auto"), small)


@pytest.mark.parametrize("behaviour", ["silent", "missing", "truncated"])
def test_auto_falls_back_to_the_bundled_teacher_with_a_warning(
    server: FileServer,
    small: State,
    behaviour: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.3)
    server.behaviour = behaviour
    bundle(small)
    assert load_teacher("auto").source == "bundled"
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().count("\n") >= 4
    assert "THE BUNDLED TEACHER IS USED" in warning.getMessage()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/nowhere"), RuntimeError("no home")])
def test_auto_needs_no_place_to_keep_anything(
    small: State, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container whose user has no home."""

    def refuse() -> Path:
        raise error

    monkeypatch.setattr(loading, "get_pretrained_weights_dir", refuse)
    bundle(small)
    assert load_teacher("auto").source == "bundled"
    assert "cache of weights cannot be made" in caplog.text
    assert loading.find_published("small") is None
    with pytest.raises(UserError, match=r"'efficientad' is not available.*cannot be made.*use teacher 'bundled'"):
        load_teacher("efficientad")


def test_auto_with_nothing_at_hand_names_both_reasons() -> None:
    with pytest.raises(UserError, match=f"no small teacher is bundled.*{download.OFFLINE_VARIABLE}.*distill"):
        load_teacher("auto")


def test_damaged_published_weights_are_told_not_replaced(cache: Path, small: State) -> None:
    """Falling back would hide that EfficientAd itself cannot work with them either."""
    bundle(small)
    (cache / PLACE).mkdir(parents=True)
    (cache / PLACE / loading.published_file("small")).write_bytes(b"half a file")
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_teacher("auto")


def test_bundled_weights_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the package really holds agree with their card."""
    monkeypatch.setattr(loading, "BUNDLED_FOLDER", Path(loading.__file__).parent / "bundled_teacher")
    if not (loading.BUNDLED_FOLDER / "small.safetensors").is_file():
        pytest.skip("no teacher is bundled yet")
    network = SmallPatchDescriptionNetwork(384)
    network.load_state_dict(load_teacher("bundled").state_dict)
    assert network(torch.rand(1, 3, 256, 256)).std() > 0.1
