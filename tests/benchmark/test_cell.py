# SPDX-License-Identifier: Apache-2.0
"""What a cell trains on, what it keeps, and that it never trains twice."""

import hashlib
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from anomalib.data import Folder
from lightning.pytorch.trainer.states import TrainerFn
from safetensors.torch import load_file

from anomalib_scdae.benchmark.cell import run
from anomalib_scdae.benchmark.cell.build import (
    build_datamodule,
    build_model,
    hashes_of_files,
    load_weights,
    save_weights,
)
from anomalib_scdae.benchmark.cell.outputs import OutputCollector
from anomalib_scdae.benchmark.cell.recorder import TrainingRecorder
from anomalib_scdae.benchmark.cell.write_gallery import write_gallery
from anomalib_scdae.benchmark.cells import DECISIVE, CellFolder
from anomalib_scdae.benchmark.store import check_same_files, write_results
from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.score_files import Prediction
from tests.benchmark.cells import make_cell
from tests.loco_data import write_image

pytestmark = pytest.mark.usefixtures("narrow_networks")

PADIM = {
    "class_path": "Padim",
    "init_args": {"backbone": "resnet18", "layers": ["layer1"], "pre_trained": False, "n_features": 20},
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Good and bad images in two folders, with nothing that says which are for testing."""
    for kind, count in (("fine", 12), ("scratched", 8)):
        for index in range(count):
            write_image(tmp_path / "images" / kind / f"{index:03}.png", np.full((64, 64, 3), index, dtype=np.uint8))
    return tmp_path / "images"


def folder_data(root: Path) -> dict[str, Any]:
    arguments = {"name": "mine", "root": str(root), "normal_dir": "fine", "abnormal_dir": "scratched", "num_workers": 0}
    return {"class_path": "Folder", "init_args": arguments}


def test_a_random_split_is_a_function_of_the_seed_alone(images: Path) -> None:
    def split(seed: int, drawn_before: int) -> tuple[str, ...]:
        torch.rand(drawn_before)  # as the constructor of a model does
        np.random.random(drawn_before)
        datamodule = build_datamodule(folder_data(images), seed)
        torch.rand(drawn_before)
        for stage in (TrainerFn.FITTING, TrainerFn.VALIDATING, TrainerFn.TESTING):
            datamodule.setup(stage)  # as Lightning's trainer does, after the model has been built
        return tuple(hashes_of_files(datamodule).values())

    assert len({split(0, drawn) for drawn in range(5)}) == 1
    assert len({split(seed, 0) for seed in range(5)}) > 1


def test_hashes_are_those_of_the_sorted_names_wherever_the_images_are(images: Path, tmp_path: Path) -> None:
    datamodule = build_datamodule(folder_data(images), seed=0)
    assert isinstance(datamodule, Folder)
    names = sorted(Path(path).relative_to(images).as_posix() for path in datamodule.train_data.samples["image_path"])
    found = hashes_of_files(datamodule)
    assert set(found) == {"train", "val", "test"}
    assert found["train"] == hashlib.sha256("\n".join(names).encode()).hexdigest()
    shutil.copytree(images, tmp_path / "copy")
    assert hashes_of_files(build_datamodule(folder_data(tmp_path / "copy"), seed=0)) == found


def test_made_up_anomalies_do_not_change_the_hashes(images: Path) -> None:
    data = folder_data(images)
    data["init_args"]["val_split_mode"] = "synthetic"
    first, second = (hashes_of_files(build_datamodule(data, seed=0)) for _ in range(2))
    assert first == second


def result(row: str, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": row, "row": row, "dataset": "d", "category": "c", "seed": seed, "status": "finished", **more}


def test_cells_that_have_seen_other_images_do_not_get_into_one_table() -> None:
    one, other = {"train": "1", "val": "2", "test": "3"}, {"train": "1", "val": "2", "test": "4"}
    check_same_files([result("a", files=one), result("b", files=one), result("c"), result("d", seed=1, files=other)])
    check_same_files([result("a", files=one), {**result("b", files=other), "status": "failed"}])
    with pytest.raises(UserError, match=r"cells a and b have other images for test") as caught:
        check_same_files([result("a", files=one), result("b", files=other)])
    assert "\n" not in str(caught.value)


def test_collecting_results_checks_the_files(tmp_path: Path) -> None:
    cells = [make_cell(id="a", row="a"), make_cell(id="b", row="b")]
    for cell, test in zip(cells, "12", strict=True):
        folder = CellFolder(tmp_path, cell)
        folder.begin()
        folder.write_result({"status": "finished", "files": {"train": "0", "test": test}})
    with pytest.raises(UserError, match="have other images for test"):
        write_results(tmp_path, {}, cells)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MVTecLOCO", "Folder"])
def test_a_crash_in_the_test_costs_no_training(
    tmp_path: Path, loco_root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = {"class_path": "MVTecLOCO", "init_args": {"root": str(loco_root), "category": "part", "num_workers": 0}}
    if kind == "Folder":
        names = {"normal_dir": "train/good", "abnormal_dir": "test/logical_anomalies", "normal_test_dir": "test/good"}
        data = folder_data(loco_root / "part")
        data["init_args"].update(names, val_split_mode="same_as_test")
    cell = make_cell(model=PADIM, data=data, image_size=64, trainer={"accelerator": "cpu"})
    folder = CellFolder(tmp_path, cell)
    folder.begin()

    def crash(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(run, "_test", crash)
        with pytest.raises(MemoryError):
            run.train_and_test(folder)
    assert folder.result() == {}
    assert folder.weights.exists()
    folder.begin()
    monkeypatch.setattr(run, "_train", crash)
    run.train_and_test(folder)
    found = folder.result()
    assert found["status"] == "finished"
    assert "logical_anomalies" in found["accuracy"]["image_auroc"]
    assert found["maps"]["combined"].keys() >= {"logical_anomalies"}
    assert set(found["files"]) == {"train", "val", "test"}
    assert {"processor", "cores", "torch", "git_commit", "git_dirty"} <= set(found["environment"])
    assert found["training"]["seconds"] > 0
    assert found["duration_seconds"] > 0


def test_weights_without_a_record_of_their_training_are_not_trusted(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path, make_cell())
    folder.begin()
    folder.weights.write_bytes(b"from a training that was cut short")
    folder.begin()
    assert not folder.weights.exists()
    folder.weights.write_bytes(b"whole")
    folder.write_training({"training": {}})
    folder.begin()
    assert folder.training() == {"training": {}}


def scdae_cell(root: Path, arguments: dict[str, Any], name: str = "first", **changes: Any) -> Any:
    data = {"class_path": "MVTecLOCO", "init_args": {"root": str(root), "category": "part", "num_workers": 0}}
    data["init_args"]["train_batch_size"] = 1
    model = {"class_path": "SCDAE", "init_args": arguments}
    return make_cell(id=name, model=model, data=data, trainer={"max_steps": 2, "accelerator": "cpu"}, **changes)


def source_of(folder: CellFolder) -> dict[str, Any]:
    """What a cell that takes the weights of ``folder`` says of it."""
    return {name: getattr(folder.cell, name) for name in ("id", *DECISIVE) if name != "weights_of"}


@pytest.mark.slow
def test_weights_of_another_cell_are_tested_and_not_trained(
    tmp_path: Path, loco_root: Path, model_arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CellFolder(tmp_path, scdae_cell(loco_root, model_arguments))
    source = source_of(first)
    other = {**model_arguments, "context_weight": 0, "local_weight": 1}
    second = CellFolder(tmp_path, scdae_cell(loco_root, other, "second", weights_of=source))
    first.begin()
    run.train_and_test(first)
    second.begin()
    with monkeypatch.context() as patch:
        patch.setattr(run, "_train", lambda *_: pytest.fail("trained again"))
        patch.setattr(run, "write_gallery", Mock(side_effect=OSError("The disk is full.")))
        run.train_and_test(second)
    scores, again = (pd.read_csv(folder.scores) for folder in (first, second))
    assert scores["score_local"].to_numpy() == pytest.approx(again["score_local"].to_numpy())
    assert again["score"].to_numpy() == pytest.approx(again["score_local"].to_numpy())  # the local map alone
    assert any("those of first" in note for note in second.result()["notes"])
    assert second.result()["training"] == first.result()["training"]
    assert first.result()["gallery"]  # and pictures that fail cost nothing else
    assert second.result()["gallery"] == []
    assert any(note.startswith("There are no pictures: ") for note in second.result()["notes"])


def test_images_without_maps_have_pictures(images: Path, tmp_path: Path) -> None:
    """Of models that score an image and say nothing of its places."""
    outputs = OutputCollector()
    for kind, label in (("fine", 0), ("scratched", 1)):
        path = str(images / kind / "000.png")
        outputs.predictions.append(Prediction(path, kind, 0.5, label, label))
        outputs._maps[path] = {}
    entries = write_gallery(outputs, tmp_path / "gallery", tmp_path)
    assert {entry["anomaly_type"] for entry in entries} == {"fine", "scratched"}
    assert all((tmp_path / entry["file"]).is_file() for entry in entries)


def test_what_makes_a_model_compact_is_not_taken_over_but_learnt(
    tmp_path: Path, loco_root: Path, model_arguments: dict[str, Any]
) -> None:
    exact, compact = (
        {"class_path": "SCDAE", "init_args": {**model_arguments, "compact": kind}} for kind in (False, True)
    )
    first = CellFolder(tmp_path, scdae_cell(loco_root, model_arguments))
    first.begin()
    save_weights(build_model(exact, 256), first.weights)
    first.write_training({"training": {}})
    first.write_result({"status": "finished"})
    second = CellFolder(tmp_path, scdae_cell(loco_root, compact["init_args"], "second", weights_of=source_of(first)))
    run.take_over(second, build_model(compact, 256), "hash")
    taken = build_model(compact, 256)
    load_weights(taken, second.weights)
    assert not taken.model.is_compact
    assert load_file(second.weights).keys() == load_file(first.weights).keys()


def test_weights_of_a_cell_that_is_not_finished_or_other_networks_are_refused(
    tmp_path: Path, loco_root: Path, model_arguments: dict[str, Any]
) -> None:
    first = CellFolder(tmp_path, scdae_cell(loco_root, model_arguments))
    second = CellFolder(tmp_path, scdae_cell(loco_root, model_arguments, "second", weights_of=source_of(first)))
    plain, whole = (
        build_model({"class_path": "SCDAE", "init_args": {**model_arguments, **more}}, 256)
        for more in ({"branches": [[]]}, {})
    )
    with pytest.raises(UserError, match="weights of the cell first, which is not finished"):
        run.take_over(second, whole, "hash")
    first.begin()
    save_weights(plain, first.weights)
    first.write_training({"training": {}})
    first.write_result({"status": "finished"})
    with pytest.raises(UserError, match="must name a row with the same networks"):
        run.take_over(second, whole, "hash")
    longer = {**source_of(first), "trainer": {"max_steps": 3}}
    third = CellFolder(tmp_path, scdae_cell(loco_root, model_arguments, "third", weights_of=longer))
    with pytest.raises(UserError, match="first, which were trained with other settings: run that cell first"):
        run.take_over(third, whole, "hash")
    larger = {**source_of(first), "data": {**first.cell.data, "train_images": 3}}
    fourth = CellFolder(tmp_path, scdae_cell(loco_root, model_arguments, "fourth", weights_of=larger))
    with pytest.raises(UserError, match="first, which were trained with other settings: run that cell first"):
        run.take_over(fourth, whole, "hash")
    save_weights(whole, first.weights)
    first.write_training({"training": {}, "files": {"train": "another hash"}})
    with pytest.raises(UserError, match="first, which were trained with other images: delete that"):
        run.take_over(second, whole, "hash")
    assert second.training() is None


class EnoughError(Exception):
    """What is asked for is known."""


@pytest.mark.parametrize("step", [run.train_and_test, run.measure_deployed])
def test_a_cell_has_the_data_of_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    given = []

    def build(data, seed):
        given.append(seed)
        raise EnoughError

    monkeypatch.setattr(run, "build_datamodule", build)
    with pytest.raises(EnoughError):
        step(CellFolder(tmp_path, make_cell(seed=3)))
    assert given == [3]


def test_a_training_has_the_cells_seed_and_a_test_full_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def engine(folder, callbacks, trainer):
        given.append((callbacks, trainer))
        raise EnoughError

    monkeypatch.setattr(run, "_engine", engine)
    folder = CellFolder(tmp_path, make_cell(seed=3, trainer={"precision": "bf16-mixed", "accelerator": "cpu"}))
    for call in (lambda: run._train(folder, None, None), lambda: run._test(folder, None, None, None)):
        with pytest.raises(EnoughError):
            call()
    (training, _), (_, test) = given
    assert [c.seed for c in training if isinstance(c, run.OneSeed)] == [3]
    assert (test["precision"], test["accelerator"]) == ("32-true", "cpu")


def test_time_before_an_interruption_counts(tmp_path: Path) -> None:
    recorder = TrainingRecorder(CellFolder(tmp_path, make_cell()))
    recorder.load_state_dict({"curve": [], "step_times": [0.25, 0.5, 0.75], "seconds": 100.0})
    assert recorder.summary() == {"steps": 0, "seconds": 100.0, "steps_per_second": 2.0}
