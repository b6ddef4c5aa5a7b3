# SPDX-License-Identifier: Apache-2.0
"""The grid: what it expands to, and that every mistake is told in one sentence before any work."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from anomalib.models.image.efficient_ad.torch_model import MediumPatchDescriptionNetwork
from safetensors.torch import save_file

from anomalib_scdae.benchmark import grid as grid_module
from anomalib_scdae.benchmark.cells import DECISIVE
from anomalib_scdae.benchmark.grid import Grid, parse_grid
from anomalib_scdae.benchmark.grid_checks import check_inputs, check_models
from anomalib_scdae.data.synthetic.recipe import Recipe
from anomalib_scdae.errors import UserError
from tests.benchmark.cells import CONFIGS
from tests.conftest import ROOT, ablation_files


def settings(**changes: Any) -> dict[str, Any]:
    given = {
        "models": [{"class_path": "SCDAE"}, {"name": "Mended", "class_path": "EfficientAdMended"}],
        "datasets": [{"class_path": "SyntheticLOCO", "categories": ["pushpins", "screw_bag"]}],
        "seeds": [0, 1],
        "trainer": {"max_steps": 3},
        "teacher": "bundled",
        "penalty_images": "bundled",
        "baseline": "Mended",
    }
    return {**given, **changes}


def load(name: str) -> Grid:
    content = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    for key in ("name", "layout"):
        content.pop(key, None)
    return parse_grid(**content)


def test_cells_are_rows_by_categories_by_seeds_and_a_category_is_completed_first() -> None:
    cells = parse_grid(**settings()).cells()
    assert len(cells) == 8
    assert [cell.id for cell in cells[:3]] == [
        "scdae--SyntheticLOCO--pushpins--seed0",
        "mended--SyntheticLOCO--pushpins--seed0",
        "scdae--SyntheticLOCO--pushpins--seed1",
    ]
    assert {cell.category for cell in cells[:4]} == {"pushpins"}


def test_all_rows_share_inputs_steps_and_data_unless_they_say_otherwise() -> None:
    models = [
        {"class_path": "SCDAE"},
        {"class_path": "EfficientAdAsShipped"},
        {"class_path": "Padim", "init_args": {"n_features": 50}, "trainer": {"max_steps": -1}, "data": {"seed": 3}},
    ]
    ours, theirs, padim = parse_grid(**settings(models=models, seeds=[0], baseline=None)).cells()[:3]
    shared = {"image_size": 256, "teacher": "bundled", "penalty_images": "bundled"}
    assert ours.model["init_args"] == theirs.model["init_args"] == shared
    assert (ours.trainer, ours.data, ours.seed) == (theirs.trainer, theirs.data, theirs.seed)
    assert padim.model["init_args"] == {"n_features": 50}
    assert padim.trainer == {"max_steps": -1}
    assert padim.data["init_args"] == {"seed": 3, "category": "pushpins"}
    assert padim.steps is None
    assert ours.steps == 3


def test_a_learning_rate_for_all_leaves_a_row_its_own() -> None:
    models = [
        {"class_path": "SCDAE"},
        {"class_path": "EfficientAdMended", "init_args": {"lr": 0.5}},
        {"class_path": "Padim"},
    ]
    cells = parse_grid(**settings(models=models, seeds=[0], baseline=None, lr=0.001)).cells()[:3]
    assert [cell.model["init_args"].get("lr") for cell in cells] == [0.001, 0.5, None]


def test_latency_is_measured_once_a_row_against_the_baseline() -> None:
    cells = parse_grid(**settings()).cells()
    assert [cell.is_timed for cell in cells] == [True, True] + [False] * 6
    assert cells[0].latency == cells[-1].latency == {"baseline": cells[1].model}
    assert parse_grid(**settings(baseline=None)).cells()[0].latency == {"baseline": None}


def test_a_rendered_category_has_a_version_and_one_on_disk_has_none(tmp_path: Path) -> None:
    (tmp_path / "screws").mkdir()
    on_disk = {"class_path": "MVTecLOCO", "init_args": {"root": str(tmp_path)}, "categories": ["screws"]}
    rendered = {"class_path": "SyntheticLOCO", "categories": ["pushpins"]}
    cells = parse_grid(**settings(datasets=[rendered, on_disk])).cells()
    versions = {cell.category: cell.data_version for cell in cells}
    assert versions == {"pushpins": Recipe("pushpins").version, "screws": None}


def test_auto_is_resolved_for_all_cells_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIB_SCDAE_OFFLINE", "1")
    grid = parse_grid(**settings(teacher="auto", penalty_images="auto")).resolved({}, download=True)
    assert grid.teacher in {"bundled", "efficientad"}
    assert grid.penalty_images in {"bundled", "imagenette"}
    assert {cell.model["init_args"]["teacher"] for cell in grid.cells()} == {grid.teacher}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": []}, "The grid is empty"),
        ({"models": [{"class_path": "SCDAE", "init_arg": {}}]}, "did you mean 'init_args'"),
        ({"models": [{"name": "x"}]}, "has no class_path"),
        ({"models": [{"class_path": "NoSuchModel"}]}, "no AnomalibModule 'NoSuchModel'"),
        ({"models": [{"class_path": "no.such.Model"}]}, "cannot be imported"),
        ({"models": [{"class_path": "SCDAE", "init_args": {"branch": 1}}]}, "did you mean 'branches'"),
        ({"models": [{"class_path": "SCDAE", "init_args": {"fusion": "perhaps"}}]}, "does not take these init_args"),
        ({"models": [{"class_path": "SCDAE", "backbone_weights": "mine"}]}, "say 'packaged'"),
        ({"models": [{"class_path": "SCDAE"}, {"class_path": "SCDAE"}]}, "names that differ in letters or digits"),
        ({"models": [{"class_path": "SCDAE"}, {"name": "SCDAE+", "class_path": "SCDAE"}]}, "differ in letters"),
        ({"seeds": [0, 0]}, "each seed and category once"),
        ({"models": [{"class_path": "SCDAE", "experiment": 12}]}, "the paper has 1 to 11 and 'series'"),
        ({"datasets": [{"class_path": "SyntheticLOCO"}]}, "has no categories"),
        (
            {
                "datasets": [
                    {"class_path": "SyntheticLOCO", "categories": ["pushpins"], "train_images": 30},
                    {"class_path": "SyntheticLOCO", "categories": ["screw_bag"]},
                ]
            },
            "Two entries of datasets are called 'SyntheticLOCO' and differ",
        ),
        ({"datasets": [{"class_path": "SyntheticLOC", "categories": ["a"]}]}, "no AnomalibDataModule"),
        (
            {"datasets": [{"class_path": "SyntheticLOCO", "categories": ["pushpins", "pushpin"]}]},
            "has no category 'pushpin'",
        ),
        (
            {"datasets": [{"class_path": "MVTecLOCO", "init_args": {"root": "nowhere"}, "categories": ["a"]}]},
            "no folder nowhere/a",
        ),
        ({"trainer": {"max_step": 1}}, "did you mean 'max_steps'"),
        ({"trainer": {"logger": True}}, "unknown key 'logger'"),
        ({"baseline": "Nobody"}, "which is not among models"),
        ({"models": [{"class_path": "SCDAE", "weights_of": "SCDAE"}]}, "no row above it that is trained"),
        ({"trainer": {"precision": "bf17"}}, "does not take these init_args"),
        ({"trainer": {"max_steps": "many"}}, "does not take these init_args"),
        ({"image_size": 255}, "Row 'SCDAE' cannot be built: An image size of 255 x 255 is too small"),
        ({"image_size": [256]}, "must be one number or [height, width]"),
        ({"image_size": 0}, "at least one pixel"),
        (
            {"models": [{"class_path": "EfficientAdMended", "init_args": {"image_size": 128}}]},
            "Row 'EfficientAdMended' cannot be built: An image size of 128 x 128 is too small",
        ),
        ({"models": [{"class_path": "SCDAE", "init_args": {"branches": [["foo"]]}}]}, "Row 'SCDAE' cannot be built"),
        (
            {"models": [{"class_path": "Padim", "init_args": {"backbone": "resnet18", "layers": ["nowhere"]}}]},
            "Row 'Padim' cannot be built",
        ),
        ({"teacher": "nowhere.pth"}, "Row 'SCDAE': teacher file nowhere.pth does not exist"),
        ({"penalty_images": "nowhere"}, "Row 'SCDAE': penalty image folder nowhere does not exist"),
        (
            {
                "datasets": [
                    {"class_path": "Folder", "init_args": {"name": "a", "normal_dir": "b"}, "categories": ["c"]}
                ]
            },
            "Folder takes none",
        ),
    ],
)
def test_mistakes_are_told_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    def check() -> None:
        grid = parse_grid(**settings(**{"baseline": None, **changes})).resolved({}, download=True)
        grid.cells()
        check_models(grid)
        check_inputs(grid)

    with pytest.raises(UserError) as caught:
        check()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_grids_are_sound(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for category in load("benchmark").datasets[0].categories:  # of MVTec LOCO AD, as if it were there
        (tmp_path / "datasets/MVTec_LOCO" / category).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    grid = load(name)
    assert grid.cells()
    assert grid.headline is not None
    assert grid.baseline is not None


def test_table_1_has_the_same_systems_on_either_machine() -> None:
    small, whole = (
        [row["class_path"] for row in yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())["models"]]
        for name in ("table1", "table1_mvtec_loco")
    )
    assert small == whole


def test_shipped_benchmark_is_what_the_documentation_promises() -> None:
    grid = load("benchmark")
    assert len(grid.datasets[0].categories) == 5
    assert len(grid.seeds) >= 2
    classes = {row.class_path for row in grid.rows}
    assert {"SCDAE", "EfficientAdAsShipped", "EfficientAdMended", "Stfpm", "ReverseDistillation"} <= classes
    assert {"Patchcore", "Padim"} <= classes


def test_ablation_grid_agrees_with_the_files_of_the_single_experiments() -> None:
    rows = {row.experiment: row.init_args for row in load("ablation").rows}
    files = {number: yaml.safe_load(file.read_text()) for number, file in ablation_files().items()}
    single = yaml.safe_load((ROOT / "configs/scdae_mvtec_loco.yaml").read_text())
    paper = {"context_weight": single["model"]["init_args"]["context_weight"]}
    assert rows == {number: {**content["model"]["init_args"], **paper} for number, content in files.items()}
    assert load("ablation").trainer["max_steps"] == single["trainer"]["max_steps"]
    from anomalib_scdae import SCDAE

    model = SCDAE(**load("ablation").cells()[0].model["init_args"])
    complete = {**model.hparams, "lr": model.lr}
    shared = {key: value for key, value in single["model"]["init_args"].items() if key not in rows["11"]}
    assert shared.items() <= complete.items()


def test_study_ablates_what_the_ablation_ablates_with_the_fast_schedule() -> None:
    fast = {row.name: row.init_args for row in load("study_ablation").rows}
    assert fast == {row.name: {**row.init_args, "schedule": "fast"} for row in load("ablation").rows}


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("study") and name != "study_gpu"])
def test_study_has_three_seeds_and_says_its_command(name: str) -> None:
    assert load(name).seeds == [0, 1, 2]
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    assert f"anomalib-scdae benchmark --config configs/{name}.yaml " in text
    assert "--only" in text


def test_few_and_mislabelled_training_images_have_the_same_test() -> None:
    assert {dataset.held_out for dataset in load("study_factory").datasets} == {round(0.05 * 350)}


def test_a_row_may_test_the_weights_of_another_and_is_made_anew_with_it() -> None:
    rows = [{"class_path": "SCDAE"}, {"name": "Again", "class_path": "SCDAE", "weights_of": "SCDAE"}]
    first, again, *_ = parse_grid(**settings(models=rows, baseline=None)).cells()
    assert first.weights_of is None
    assert again.weights_of == {name: getattr(first, name) for name in ("id", *DECISIVE) if name != "weights_of"}
    first, again, *_ = parse_grid(**settings(models=rows, baseline=None), over_time=True).cells()
    assert (first.over_time, again.over_time) == (True, None)  # it has no training to look at
    rows[0] |= {"data": {"train_batch_size": 2}}
    again = parse_grid(**settings(models=rows, baseline=None)).cells()[1]
    assert again.weights_of["data"]["init_args"]["train_batch_size"] == 2


def test_what_has_no_steps_has_no_accuracy_over_their_time() -> None:
    rows = [{"class_path": "SCDAE"}, {"class_path": "Patchcore"}, {"class_path": "Spade"}]
    cells = parse_grid(**settings(models=rows, baseline=None), over_time=True).cells()
    assert {(cell.row, cell.over_time) for cell in cells} == {("SCDAE", True), ("Patchcore", None), ("Spade", None)}


def test_names_in_any_script_are_told_apart() -> None:
    rows = [{"name": name, "class_path": "SCDAE"} for name in ("方法一", "方法二", "Größe")]
    cells = parse_grid(**settings(models=rows, baseline=None)).cells()
    assert {cell.id.split("--")[0] for cell in cells} == {"方法一", "方法二", "größe"}


def medium_teacher(folder: Path) -> Path:
    """A medium PDN with random weights, as a file."""
    network = MediumPatchDescriptionNetwork(384)
    save_file(network.state_dict(), folder / "medium.safetensors")
    return folder / "medium.safetensors"


def test_a_rows_teacher_is_checked_as_that_rows_own_size(tmp_path: Path) -> None:
    teacher = str(medium_teacher(tmp_path))
    medium = [{"class_path": "SCDAE", "init_args": {"model_size": "medium"}}]
    check_inputs(parse_grid(**settings(models=medium, teacher=teacher, baseline=None)))
    with pytest.raises(UserError, match=r"is a medium PDN; pass --model.model_size medium"):
        check_inputs(parse_grid(**settings(teacher=teacher)))


def test_what_auto_was_found_to_be_stays() -> None:
    grid = parse_grid(**settings(teacher="auto", penalty_images="auto"))
    found = grid.resolved({"teacher": "efficientad", "penalty_images": "imagenette"}, download=False)
    assert (found.teacher, found.penalty_images) == ("efficientad", "imagenette")
    given = parse_grid(**settings(teacher="bundled")).resolved({"teacher": "efficientad"}, download=False)
    assert given.teacher == "bundled"


def test_without_a_run_nothing_is_downloaded_or_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(grid_module, "load_teacher", refuse)
    assert parse_grid(**settings(teacher="auto")).resolved({}, download=False).teacher in {"bundled", "efficientad"}


@pytest.mark.parametrize(
    ("entry", "categories", "init_args"),
    [
        (
            {"class_path": "Folder", "name": "Mine", "init_args": {"name": "mine", "normal_dir": "good"}},
            ["Mine"],
            {"name": "mine", "normal_dir": "good"},
        ),
        ({"class_path": "Kolektor"}, ["Kolektor"], {}),
        ({"class_path": "MVTecAD", "categories": ["bottle"]}, ["bottle"], {"category": "bottle"}),
        ({"class_path": "MVTecAD", "init_args": {"category": "bottle"}}, ["bottle"], {"category": "bottle"}),
    ],
)
def test_a_datamodule_gets_a_category_only_if_it_takes_one(
    entry: dict[str, Any], categories: list[str], init_args: dict[str, Any]
) -> None:
    cells = parse_grid(**settings(datasets=[entry], seeds=[0])).cells()
    assert [cell.category for cell in cells[::2]] == categories
    assert cells[0].data["init_args"] == init_args


def test_a_rows_data_go_before_those_of_the_dataset() -> None:
    grid = parse_grid(
        models=[{"class_path": "SCDAE", "data": {"train_batch_size": 4}}],
        seeds=[0],
        trainer={},
        datasets=[{"class_path": "SyntheticLOCO", "categories": ["pushpins"], "init_args": {"train_batch_size": 2}}],
    )
    assert grid.cells()[0].data["init_args"]["train_batch_size"] == 4
