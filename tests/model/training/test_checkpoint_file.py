# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that is not SCDAE's or is damaged ends in one sentence that names the file."""

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.deploy import ExportType
from anomalib.engine import Engine
from anomalib.models import EfficientAd
from fsspec.implementations.local import LocalFileOpener

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError

pytestmark = pytest.mark.usefixtures("narrow_networks")


class _Code:
    """Unpickled, it writes a marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory, loco_root: Path) -> Path:
    """A checkpoint that nothing is wrong with."""
    model = SCDAE(teacher_out_channels=4)
    model.model.anomaly_map.upper.fill_(0.2)
    engine = Engine(default_root_dir=tmp_path_factory.mktemp("run"), accelerator="cpu", logger=False)
    engine.validate(model, datamodule=_loco(loco_root))
    model.model.anomaly_map.upper.fill_(0.5)
    path = tmp_path_factory.mktemp("complete") / "complete.ckpt"
    engine.trainer.save_checkpoint(path)
    return path


def _loco(root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=root, category="part", num_workers=0)


def _truncated(path: Path, complete: Path) -> None:
    path.write_bytes(complete.read_bytes()[:-2000])


def _damaged(path: Path, complete: Path) -> None:
    content = bytearray(complete.read_bytes())
    content[200:300] = bytes(100 * [85])
    path.write_bytes(content)


def _another_models(path: Path, complete: Path) -> None:
    state = {f"model.{name}": value for name, value in EfficientAd(teacher_out_channels=4).model.state_dict().items()}
    torch.save(torch.load(complete, weights_only=True) | {"state_dict": state}, path)


def _with_code(path: Path, complete: Path) -> None:
    torch.save(torch.load(complete, weights_only=True) | {"extra": _Code(path.with_name("marker"))}, path)


FILES: dict[str, Callable[[Path, Path], object]] = {
    "random bytes": lambda path, _: path.write_bytes(torch.randint(256, (5000,), dtype=torch.uint8).numpy().tobytes()),
    "text": lambda path, _: path.write_text("not a checkpoint\n"),
    "nothing": lambda path, _: path.touch(),
    "absent": lambda path, _: None,
    "a folder": lambda path, _: path.mkdir(),
    "an empty dict": lambda path, _: torch.save({}, path),
    "a list": lambda path, _: torch.save([1, 2], path),
    "a bare pickle with code": lambda path, _: path.write_bytes(pickle.dumps(_Code(path.with_name("marker")))),
    "a checkpoint with code": _with_code,
    "truncated": _truncated,
    "damaged": _damaged,
    "another model's": _another_models,
}


@pytest.mark.parametrize("kind", FILES)
def test_it_is_told_in_one_sentence_and_its_code_never_runs(
    kind: str, complete: Path, loco_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "given.ckpt"
    FILES[kind](path, complete)
    data, model = _loco(loco_root), SCDAE(teacher_out_channels=4, teacher="/nowhere")
    engine = Engine(max_steps=1, default_root_dir=tmp_path, accelerator="cpu", logger=False)
    uses = [
        lambda: SCDAE.load_from_checkpoint(path),
        lambda: engine.export(model, ExportType.TORCH, ckpt_path=path),
        lambda: engine.test(model, datamodule=data, ckpt_path=path),
        lambda: engine.predict(model, datamodule=data, ckpt_path=path),
        lambda: engine.fit(model, datamodule=data, ckpt_path=path),
    ]
    for use in uses:
        with pytest.raises(UserError) as error:
            use()
        sentence = str(error.value)
        assert str(path) in sentence
        assert "\n" not in sentence
        assert "weights_only" not in sentence
        assert sentence.endswith("pass a .ckpt file that a training of SCDAE has written.")
        assert ("another model" in sentence) == (kind == "another model's")
        assert not (tmp_path / "marker").exists()


def test_a_complete_one_is_read(complete: Path, loco_root: Path, tmp_path: Path) -> None:
    assert SCDAE.load_from_checkpoint(complete).model.anomaly_map.upper.min() == 0.5
    model = SCDAE(teacher="/nowhere")
    engine = Engine(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    engine.predict(model, datamodule=_loco(loco_root), ckpt_path=complete)
    assert model.model.anomaly_map.upper.min() == 0.5


def test_another_model_of_the_same_trainer_is_left_alone(complete: Path, loco_root: Path, tmp_path: Path) -> None:
    from lightning.pytorch import Trainer

    engine = Engine(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    engine.predict(SCDAE(), datamodule=_loco(loco_root), ckpt_path=complete)
    trainer: Trainer = engine.trainer
    torch.save({}, tmp_path / "empty.ckpt")
    trainer.strategy._lightning_module = EfficientAd()
    assert trainer.strategy.load_checkpoint(tmp_path / "empty.ckpt") == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_where_it_cannot_be_written_the_one_before_stays(
    code: int, complete: Path, loco_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    engine.predict(SCDAE(teacher="/nowhere"), datamodule=_loco(loco_root), ckpt_path=complete)
    path = tmp_path / "kept.ckpt"
    engine.trainer.save_checkpoint(path)
    before = path.read_bytes()
    original = LocalFileOpener.write

    def fill(file: LocalFileOpener, content: bytes) -> None:
        original(file, content[: len(content) // 2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(LocalFileOpener, "write", fill, raising=False)
    with pytest.raises(UserError) as error:
        engine.trainer.save_checkpoint(path)
    assert str(error.value).startswith(f"The checkpoint {path} cannot be written ({os.strerror(code)}): ")
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*kept*")) == [path]
