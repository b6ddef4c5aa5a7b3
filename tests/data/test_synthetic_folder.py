# SPDX-License-Identifier: Apache-2.0
"""What is written to disk: the layout, the same bytes every time, all or nothing, and never over anything else."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anomalib_scdae.data.synthetic import CATEGORIES, parallel
from anomalib_scdae.data.synthetic.recipe import Recipe
from anomalib_scdae.data.synthetic.writer import MANIFEST, prepare
from anomalib_scdae.errors import UserError

TINY = {"validation": 2, "good": 2, "logical": 4, "structural": 4, "long_side": 128}


def _tiny(category: str = "splicing_connectors", **changes: int) -> Recipe:
    return Recipe(category, **{"train": 3, **TINY, **changes})


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", CATEGORIES)
def test_the_layout_is_that_of_mvtec_loco(name: str, tmp_path: Path) -> None:
    folder = prepare(_tiny(name), tmp_path)
    assert folder == tmp_path / name
    counts = {part: len(list((folder / part).glob("*.png"))) for part in ("train/good", "validation/good", "test/good")}
    assert counts == {"train/good": 3, "validation/good": 2, "test/good": 2}
    for kind in ("logical_anomalies", "structural_anomalies"):
        images = sorted(path.stem for path in (folder / "test" / kind).iterdir())
        assert images == ["000", "001", "002", "003"]
        assert sorted(path.name for path in (folder / "ground_truth" / kind).iterdir()) == images
        for image in images:
            masks = sorted(path.name for path in (folder / "ground_truth" / kind / image).iterdir())
            assert masks == [f"{channel:03d}.png" for channel in range(len(masks))]
            assert masks
    config = json.loads((folder / "defects_config.json").read_text())
    assert {frozenset(entry) for entry in config} == {
        frozenset({"defect_name", "pixel_value", "saturation_threshold", "relative_saturation"})
    }
    assert [entry["pixel_value"] for entry in config] == [255 - number for number in range(len(config))]


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    recipe = _tiny(train=24)
    alone = _digests(prepare(recipe, tmp_path / "alone", processes=1))
    assert len(alone) == 24 + 12 + 8 + 2
    assert _digests(prepare(recipe, tmp_path / "three", processes=3)) == alone
    assert _digests(prepare(recipe, tmp_path / "again", processes=1)) == alone


def test_what_is_there_is_not_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(_tiny(), tmp_path)
    before = _digests(folder)

    def never(*_arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(parallel, "write", never)
    assert prepare(_tiny(), tmp_path) == folder
    assert _digests(folder) == before


def test_a_failure_leaves_nothing_half_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = parallel.write, []

    def interrupted(*arguments: object) -> None:
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(write(*arguments))

    monkeypatch.setattr(parallel, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(_tiny(), tmp_path)
    assert not (tmp_path / "splicing_connectors").exists()
    monkeypatch.undo()
    assert len(_digests(prepare(_tiny(), tmp_path))) == 3 + 12 + 8 + 2
    assert not list(tmp_path.glob(".*.partial"))


def test_a_killed_process_leaves_nothing_half_used(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from anomalib_scdae.data.synthetic.recipe import Recipe; "
        "from anomalib_scdae.data.synthetic.writer import prepare; "
        f"prepare(Recipe('splicing_connectors', train=2000, long_side=128), Path({str(tmp_path)!r}), processes=1)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        partial = tmp_path / ".splicing_connectors.partial"
        deadline = time.monotonic() + 60
        while len(list(partial.glob("train/good/*.png"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    assert list(partial.rglob("*.png"))
    assert not (tmp_path / "splicing_connectors").exists()
    assert len(list(prepare(_tiny(), tmp_path).glob("train/good/*.png"))) == 3
    assert not partial.exists()


def test_a_worker_that_fails_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("in the way")
    with pytest.raises((NotADirectoryError, FileExistsError)):
        parallel.write_all(_tiny(train=24), tmp_path, processes=2, advance=lambda: None)


def test_two_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda _: prepare(_tiny(), tmp_path, processes=1), range(2)))
    assert folders == {tmp_path / "splicing_connectors"}
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {MANIFEST: "not json"}, {"train/good/000.png": "real"}])
def test_a_folder_that_holds_something_else_is_left_alone(content: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "splicing_connectors"
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    before = _digests(tmp_path)
    with pytest.raises(UserError, match=r"holds something that SyntheticLOCO did not render; choose another root"):
        prepare(_tiny(), tmp_path)
    assert _digests(tmp_path) == before


def test_a_category_of_another_recipe_is_left_alone(tmp_path: Path) -> None:
    before = _digests(prepare(_tiny(), tmp_path))
    with pytest.raises(
        UserError, match=r"was rendered with train=3 instead of 4, seed=0 instead of 5; ask for the same"
    ):
        prepare(_tiny(train=4, seed=5), tmp_path)
    assert _digests(tmp_path / "splicing_connectors") == before


def test_a_root_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write to .*file.*; choose another root"):
        prepare(_tiny(), tmp_path / "file" / "root")


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "splicing_connectors").mkdir()
    assert (prepare(_tiny(), tmp_path) / MANIFEST).is_file()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"category": "teapot"}, "no category 'teapot'; choose one of breakfast_box"),
        ({"train": 0}, "at least one training"),
        ({"logical": -1}, "cannot render -1 as logical"),
        ({"long_side": 20}, "128 to 4096 pixels"),
        ({"difficulty": 1.5}, "between 0 and 1, not at 1.5"),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(changes: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Recipe(**{"category": "pushpins", **changes})


def test_unknown_preset() -> None:
    with pytest.raises(UserError, match="no preset 'huge'; choose one of full, small"):
        Recipe.from_preset("pushpins", "huge")


def test_a_preset_gives_way_to_numbers() -> None:
    recipe = Recipe.from_preset("pushpins", "small", train=5, good=None)
    assert (recipe.train, recipe.good) == (5, 8)
