# SPDX-License-Identifier: Apache-2.0
"""Every file in ``configs/`` is read by Anomalib's own command line, and says what the paper says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from anomalib.cli import AnomalibCLI

from anomalib_scdae import SCDAE
from anomalib_scdae.benchmark.published import EXPERIMENTS, SERIES, TABLE_2, TABLE_3, PublishedExperiment
from anomalib_scdae.model.crm import ChannelReunionModule
from anomalib_scdae.model.srm import SpatialReunionModule
from tests.conftest import CHANNELS, ROOT, ablation_files

CONFIGS = ROOT / "configs"
RECIPE = CONFIGS / "scdae_mvtec_loco.yaml"
MODULES = {"srm": SpatialReunionModule, "crm": ChannelReunionModule}

#: Files that hold a training's whole configuration, and files that hold a change to the recipe.
WHOLE = [RECIPE, CONFIGS / "quickstart.yaml"]
CHANGES = [CONFIGS / "literal.yaml", CONFIGS / "scdae_mvtec_loco_medium.yaml", *ablation_files().values()]


def _read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


def _arguments(file: Path) -> dict[str, Any]:
    """The model's arguments that a file names."""
    return _read(file)["model"]["init_args"]


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> AnomalibCLI:
    """Anomalib's command line; its parser can be used again and again."""
    folder = tmp_path_factory.mktemp("results")
    return AnomalibCLI(["train", "--model", "SCDAE", f"--default_root_dir={folder}"], run=False)


@pytest.mark.parametrize("file", [*WHOLE, *CHANGES], ids=_name)
def test_command_line_builds_what_the_file_says(cli: AnomalibCLI, file: Path) -> None:
    narrow = f"--model.teacher_out_channels={CHANNELS}"  # networks that take no time
    whole = file if file in WHOLE else RECIPE
    files = [f"--config={config}" for config in dict.fromkeys([whole, file])]
    parsed = cli.parser.parse_args(["train", *files, narrow])
    objects = cli.parser.instantiate_classes(parsed).train

    arguments, written = _arguments(whole) | _arguments(file), _read(whole)
    assert isinstance(objects.model, SCDAE)
    assert arguments.items() <= objects.model.hparams.items()
    assert type(objects.data).__name__ == written["data"]["class_path"]
    assert objects.data.train_batch_size == 1
    assert parsed.train.trainer.max_steps == written["trainer"].get("max_steps", -1)
    assert parsed.train.trainer.max_time == written["trainer"].get("max_time")

    networks = objects.model.model
    branches = arguments.get("branches", [["srm"], ["crm"]])
    assert [[type(module) for module in branch.context] for branch in networks.branches] == [
        [MODULES[module] for module in branch] for branch in branches
    ]
    assert (networks.fusion is not None) == arguments.get("fusion", True)
    assert networks.loss.cosine_weight == arguments.get("cosine_weight", 0.5)


def test_every_file_is_read_by_a_test() -> None:
    # These are read in tests/benchmark: grids, and what is given after one.
    grids = {file for file in CONFIGS.rglob("*.yaml") if _read(file).keys() & {"models", "datasets"}}
    assert set(CONFIGS.rglob("*.yaml")) == grids | {*WHOLE, *CHANGES}


def test_category_is_chosen_on_the_command_line(cli: AnomalibCLI) -> None:
    """As the comment at the top of the files says."""
    parsed = cli.parser.parse_args(["train", "--config", str(RECIPE), "--data.category", "pushpins"])
    assert parsed.train.data.init_args.category == "pushpins"
    assert parsed.train.data.init_args.train_batch_size == 1


@pytest.mark.parametrize("file", CHANGES, ids=_name)
def test_a_change_is_one_of_the_model_alone_and_says_how_it_is_used(file: Path) -> None:
    config = _read(file)
    assert set(config) == {"model"}
    assert set(config["model"]) == {"init_args"}
    command = f"anomalib train --config {_name(RECIPE)} --config {_name(file)} --data.category juice_bottle"
    assert command in " ".join(file.read_text().replace("\\\n#", "").split())


def test_every_experiment_of_the_paper_has_a_file() -> None:
    assert set(ablation_files()) == {*EXPERIMENTS, SERIES}


def _branches(experiment: PublishedExperiment) -> list[list[str]]:
    """A module in each autoencoder; where the paper names one module for two autoencoders, both end with it."""
    modules = [[name] for name in ("srm", "crm") if getattr(experiment, name)] or [[]]
    return modules * 2 if experiment.dual_autoencoder and len(modules) == 1 else modules


@pytest.mark.parametrize("number", EXPERIMENTS)
def test_ablation_file_is_its_row_of_the_papers_tables(number: str) -> None:
    experiment, file = EXPERIMENTS[number], ablation_files()[number]
    cosine_weight = 0.5 if experiment.cosine else 0
    assert _arguments(file) == {
        "branches": _branches(experiment),
        "fusion": experiment.fusion,
        "cosine_weight": cosine_weight,
    }
    tables = " and ".join(name for name, table in (("2", TABLE_2), ("3", TABLE_3)) if number in table)
    figures, text = experiment.average, file.read_text()
    assert f"{figures.logical} / {figures.structural} / {figures.mean}" in text
    assert f"# Experiment {number} of the paper's ablations (Table{'s' * (len(tables) > 1)} {tables})" in text


def test_series_is_both_modules_in_one_autoencoder() -> None:
    file = ablation_files()[SERIES]
    assert _arguments(file) == {"branches": [["crm", "srm"]], "fusion": False, "cosine_weight": 0}
    assert "Fig. 8" in file.read_text()


def test_recipe_is_the_papers() -> None:
    config = _read(RECIPE)
    assert _arguments(ablation_files()["11"]).items() <= _arguments(RECIPE).items()
    assert config["trainer"] == {"max_steps": 70_000}
    assert config["data"]["init_args"]["train_batch_size"] == 1
    recipe = {"image_size": 256, "lr": 1e-4, "weight_decay": 1e-5, "cosine_weight": 0.5}
    assert recipe.items() <= _arguments(RECIPE).items()


def test_medium_and_literal_differ_from_the_recipe_as_their_names_say() -> None:
    assert _arguments(CONFIGS / "scdae_mvtec_loco_medium.yaml") == {"model_size": "medium"}
    equations = {"aggregation": "sum", "crm_gate": "plain", "fusion_gate": "plain", "identity_init": False}
    assert _arguments(CONFIGS / "literal.yaml") == equations


def test_files_name_no_machine() -> None:
    for file in WHOLE:
        assert Path(_read(file)["data"]["init_args"]["root"]).parts[0] == "datasets"
