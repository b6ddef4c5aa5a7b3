# SPDX-License-Identifier: Apache-2.0
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from anomalib.models.image.efficient_ad.torch_model import SmallPatchDescriptionNetwork
from safetensors import safe_open
from safetensors.torch import load_file

from anomalib_scdae.cli import main
from anomalib_scdae.distill import command
from anomalib_scdae.distill.dataset import split_images
from anomalib_scdae.distill.training import Distillation
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import sha256_of
from anomalib_scdae.inputs.teacher import load_teacher
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("narrow_networks")

RECIPE = {
    "backbone": "test_resnet",
    "steps": 6,
    "validate_every": 2,
    "validation_images": 1,
    "batch": 2,
    "crop": 36,
    "cache_views": 4,
    "out_channels": 8,
    "precision": "fp32",
}


@pytest.fixture
def call(photographs: Path, weights: Path, tmp_path: Path) -> dict[str, Any]:
    """Options of a distillation that takes a second or two."""
    output = tmp_path / "run" / "teacher.safetensors"
    return {**RECIPE, "images": photographs, "backbone_weights": weights, "output": output}


@pytest.fixture(scope="module")
def finished_run(photographs: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of :func:`call` that has ended."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    call = {**RECIPE, "images": photographs, "backbone_weights": weights, "output": folder / "teacher.safetensors"}
    assert main(arguments(call)) == 0
    return folder


@pytest.fixture
def finished(call: dict[str, Any], finished_run: Path) -> dict[str, Any]:
    """Options of a run that has ended, whose folder is the test's own."""
    shutil.copytree(finished_run, call["output"].parent)
    return call


def arguments(call: dict[str, Any]) -> list[str]:
    return ["distill", *(text for key, value in call.items() for text in (f"--{key}", str(value)))]


def test_command_writes_teacher_card_and_curve(call: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(call)) == 0
    output = call["output"]
    network = SmallPatchDescriptionNetwork(8)
    network.load_state_dict(load_file(output))
    assert load_teacher(str(output), out_channels=8).state_dict.keys() == network.state_dict().keys()
    card = json.loads(output.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(output)
    assert (card["size"], card["out_channels"], card["backbone"]) == ("small", 8, "test_resnet")
    assert [step for step, _ in card["curve"]] == [2, 4, 6]
    assert card["validation_mse"] == card["curve"][-1][1]
    assert str(call["images"].parent) not in output.with_suffix(".json").read_text()
    with output.with_suffix(".csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", "validation_mse"]
    assert [[int(step), float(error)] for step, error in rows[1:]] == card["curve"]
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    with safe_open(output, "pt") as file:
        assert json.loads(file.metadata()["teacher"])["size"] == "small"
        assert file.get_tensor("conv1.weight").dtype == torch.float16
    assert not output.with_suffix(".cache").exists()
    assert "validation MSE" in capsys.readouterr().out


def test_card_command_makes_the_same_teacher(finished: dict[str, Any], tmp_path: Path) -> None:
    """The command on the card, run where images and weights lie, gives the same file."""
    call = finished
    words = json.loads(call["output"].with_suffix(".json").read_text())["command"].split()
    assert words[:2] == ["anomalib-scdae", "distill"]
    places = {path.name: path for path in (call["images"], call["backbone_weights"])}
    again = [str(places.get(word, word)) for word in words[1:]]
    again[again.index("--output") + 1] = str(tmp_path / "again" / "teacher.safetensors")
    assert main(again) == 0
    assert sha256_of(tmp_path / "again" / "teacher.safetensors") == sha256_of(call["output"])


def test_interrupted_run_resumes_to_the_same_weights(finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between checkpoints, with the cache ahead, it ends with the very file of an uninterrupted run."""
    call, whole = finished, finished["output"]
    call["output"] = whole.with_name("resumed.safetensors")
    original = Distillation.step

    def stop(self: Distillation) -> torch.Tensor:
        if self.done == 5:
            raise KeyboardInterrupt
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            main(arguments(call))
    assert torch.load(call["output"].with_suffix(".checkpoint"), weights_only=True)["step"] == 4
    assert main([*arguments(call), "--resume"]) == 0
    assert load_file(whole).keys() == load_file(call["output"]).keys()
    for name, tensor in load_file(whole).items():
        assert torch.equal(tensor, load_file(call["output"])[name])
    assert whole.with_suffix(".csv").read_bytes() == call["output"].with_suffix(".csv").read_bytes()


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_weights(call: dict[str, Any]) -> None:
    """The same with `kill -9` at a moment that nobody chose."""
    call |= {"steps": 90}
    call["validate_every"] = 30
    main(arguments(call))
    whole = call["output"]
    call["output"] = whole.with_name("resumed.safetensors")
    program = (
        "import sys; from tests.narrow import make_narrow; make_narrow()\n"
        "from anomalib_scdae.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    path = os.pathsep.join([str(ROOT), *sys.path])
    process = subprocess.Popen([sys.executable, "-c", program, *arguments(call)], env=os.environ | {"PYTHONPATH": path})
    deadline = time.monotonic() + 300
    while not call["output"].with_suffix(".png").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert main(arguments(call | {"resume": True})) == 0
    assert sha256_of(whole) == sha256_of(call["output"])


def test_longer_training_continues_a_finished_one(finished: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    call = finished
    assert main(arguments(call | {"resume": True})) == 1
    assert "give more --steps" in capsys.readouterr().err
    assert main(arguments(call | {"resume": True, "steps": 8})) == 0
    assert [step for step, _ in json.loads(call["output"].with_suffix(".json").read_text())["curve"]] == [2, 4, 6, 8]


def test_nothing_is_overwritten(finished: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    call = finished
    before = sha256_of(call["output"])
    assert main(arguments(call)) == 1
    assert "--resume" in capsys.readouterr().err
    assert sha256_of(call["output"]) == before


def test_resuming_with_another_recipe_is_refused(finished: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(finished | {"resume": True, "steps": 9, "learning_rate": 0.5})) == 1
    assert "learning_rate 0.002" in capsys.readouterr().err


def test_a_teacher_without_its_checkpoint_is_never_overwritten(
    finished: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    finished["output"].with_suffix(".checkpoint").unlink()
    before = sha256_of(finished["output"])
    for resume in ({}, {"resume": True}):
        assert main(arguments(finished | resume)) == 1
        assert "without a checkpoint to go on from: choose another --output" in capsys.readouterr().err
    assert sha256_of(finished["output"]) == before


def test_a_run_that_was_killed_within_its_first_writing_begins_anew(
    call: dict[str, Any], finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distillation, "save", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        main(arguments(call))
    monkeypatch.undo()
    assert call["output"].exists()
    assert not call["output"].with_suffix(".checkpoint").exists()
    assert main(arguments(call | {"resume": True})) == 0
    assert sha256_of(call["output"]) == sha256_of(finished_run / "teacher.safetensors")


def test_a_damaged_photograph_that_is_held_out_is_told_at_once(
    call: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = shutil.copytree(call["images"], tmp_path / "photographs")
    _, (held_out,) = split_images(images, 1, 0)
    held_out.write_bytes(b"")
    assert main(arguments(call | {"images": images})) == 1
    assert f"{held_out.name} cannot be read" in capsys.readouterr().err
    assert not call["output"].parent.exists()


def test_resuming_in_another_precision_names_the_option(
    finished: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(finished | {"resume": True, "steps": 9, "precision": "bf16"})) == 1
    assert "was made with --precision fp32: give the same options" in capsys.readouterr().err


def test_resuming_with_other_images_is_refused(
    finished: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = finished
    other = tmp_path / "other"
    shutil.copytree(call["images"], other)
    shutil.copy(other / "0.png", other / "7.png")
    assert main(arguments(call | {"resume": True, "steps": 9, "images": other})) == 1
    assert "other images or another backbone" in capsys.readouterr().err


def test_divergence_is_told(call: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Distillation, "step", lambda self: torch.tensor(float("nan")))
    with pytest.raises(command.UserError, match="lower --learning_rate"):
        command.distill(**call)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "absent"}, "too few"),
        ({"backbone": "no_such_network"}, "no model 'no_such_network'"),
        ({"backbone": "test_efficientnet"}, "another network"),
        ({"output": "teacher.pth"}, "must end in .safetensors"),
        ({"crop": 130}, "--crop must be a multiple of 4"),
        ({"crop": 32}, "--crop must be a multiple of 4"),
        ({"steps": 0}, "--steps must be at least 1"),
        ({"average": 1.5}, "--average must be at least 0 and less than 1"),
        ({"learning_rate": 0.0}, "--learning_rate must be more than 0"),
        ({"weight_decay": -1.0}, "--weight_decay at least 0"),
        ({"cache_views": 7, "fresh_views": 2}, "--cache_views must be a multiple"),
        ({"cache_views": 10**9}, "lower --cache_views"),
        ({"device": "cuda:77"}, "cuda:77 cannot be used"),
        ({"validation_images": 6}, "too few"),
    ],
)
def test_bad_input_gets_one_sentence(
    call: dict[str, Any], capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    assert main(arguments(call | options)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not call["output"].exists()


def test_what_describes_the_backbone_reaches_it(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Mock(side_effect=UserError("enough"))
    monkeypatch.setattr(command, "FeatureTargets", made)
    with pytest.raises(UserError, match="enough"):
        command.distill(
            photographs,
            "resnet18",
            tmp_path / "t.safetensors",
            backbone_weights=tmp_path / "w",
            layers=["layer1"],
            backbone_mean=(0.1, 0.2, 0.3),
            backbone_std=(0.4, 0.5, 0.6),
            out_channels=8,
            validation_images=1,
        )
    made.assert_called_once_with(
        "resnet18", tmp_path / "w", layers=["layer1"], mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), out_channels=8
    )
