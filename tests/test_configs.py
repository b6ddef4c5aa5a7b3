# SPDX-License-Identifier: Apache-2.0
"""Every file in ``configs/`` is read by Anomalib's own command line, and says what the paper says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from anomalib.cli import AnomalibCLI

from anomalib_scdae import SCDAE
from anomalib_scdae.model.crm import ChannelReunionModule
from anomalib_scdae.model.srm import SpatialReunionModule
from tests.conftest import CHANNELS, ROOT

CONFIGS = ROOT / "configs"
#: All but the grids of `anomalib-scdae benchmark`, which tests/benchmark reads.
FILES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob("*.yaml")
    if "models" not in yaml.safe_load(path.read_text())
)
MODULES = {"srm": SpatialReunionModule, "crm": ChannelReunionModule}

#: The paper's ablations: file: (branches, fusion, cosine weight, published figures).
TABLE = {
    "exp01_efficientad": ([[]], False, 0, "86.7 / 94.1 / 90.4"),
    "exp02_srm": ([["srm"]], False, 0, "87.6 / 94.2 / 90.9"),
    "exp03_crm": ([["crm"]], False, 0, "87.8 / 94.0 / 90.9"),
    "exp04_two_autoencoders": ([[], []], False, 0, "87.3 / 94.5 / 90.9"),
    "exp05_two_srm": ([["srm"], ["srm"]], False, 0, "88.0 / 94.5 / 91.3"),
    "exp06_two_crm": ([["crm"], ["crm"]], False, 0, "87.8 / 94.8 / 91.3"),
    "exp07_srm_and_crm": ([["srm"], ["crm"]], False, 0, "88.2 / 94.6 / 91.4"),
    "exp08_cosine": ([[]], False, 0.5, "87.0 / 94.6 / 90.8"),
    "exp09_without_cosine": ([["srm"], ["crm"]], True, 0, "89.2 / 94.7 / 91.9"),
    "exp10_without_fusion": ([["srm"], ["crm"]], False, 0.5, "88.4 / 94.7 / 91.5"),
    "exp11_scdae": ([["srm"], ["crm"]], True, 0.5, "89.4 / 94.9 / 92.1"),
    "fig8_series": ([["crm", "srm"]], False, 0, "Fig. 8"),
}


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / name).read_text())


def _without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    """The configuration without some of the model's arguments."""
    model = config["model"]
    arguments = {name: value for name, value in model["init_args"].items() if name not in names}
    return {**config, "model": {**model, "init_args": arguments}}


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> AnomalibCLI:
    """Anomalib's command line; its parser can be used again and again."""
    folder = tmp_path_factory.mktemp("results")
    return AnomalibCLI(["train", "--model", "SCDAE", f"--default_root_dir={folder}"], run=False)


@pytest.mark.parametrize("name", FILES)
def test_command_line_builds_what_the_file_says(cli: AnomalibCLI, name: str) -> None:
    narrow = f"--model.teacher_out_channels={CHANNELS}"  # networks that take no time
    parsed = cli.parser.parse_args(["train", "--config", str(CONFIGS / name), narrow])
    objects = cli.parser.instantiate_classes(parsed).train

    written = _read(name)
    arguments = written["model"]["init_args"]
    assert isinstance(objects.model, SCDAE)
    assert arguments.items() <= objects.model.hparams.items()
    assert type(objects.data).__name__ == written["data"]["class_path"]
    assert objects.data.train_batch_size == 1
    assert parsed.train.trainer.max_steps == written["trainer"]["max_steps"]

    networks = objects.model.model
    branches = arguments.get("branches", [["srm"], ["crm"]])
    assert [[type(module) for module in branch.context] for branch in networks.branches] == [
        [MODULES[module] for module in branch] for branch in branches
    ]
    assert (networks.fusion is not None) == arguments.get("fusion", True)
    assert networks.loss.cosine_weight == arguments.get("cosine_weight", 0.5)


def test_category_is_chosen_on_the_command_line(cli: AnomalibCLI) -> None:
    """As the comment at the top of the files says."""
    file = CONFIGS / "scdae_mvtec_loco.yaml"
    parsed = cli.parser.parse_args(["train", "--config", str(file), "--data.category", "pushpins"])
    assert parsed.train.data.init_args.category == "pushpins"
    assert parsed.train.data.init_args.train_batch_size == 1


def test_every_row_of_the_table_is_a_file() -> None:
    assert {path.stem for path in (CONFIGS / "ablation").iterdir()} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_ablation_file_is_its_row_of_the_table(name: str) -> None:
    branches, fusion, cosine_weight, published = TABLE[name]
    config = _read(f"ablation/{name}.yaml")
    arguments = config["model"]["init_args"]
    assert arguments["branches"] == branches
    assert arguments["fusion"] is fusion
    assert arguments["cosine_weight"] == cosine_weight

    text = (CONFIGS / f"ablation/{name}.yaml").read_text()
    assert published in text
    assert f"configs/ablation/{name}.yaml" in text
    if name.startswith("exp"):
        assert f"# Experiment {int(name[3:5])} of the paper's ablations (Table" in text


@pytest.mark.parametrize("name", TABLE)
def test_ablation_differs_from_the_recipe_by_its_row_alone(name: str) -> None:
    row = ("branches", "fusion", "cosine_weight")
    assert _without(_read(f"ablation/{name}.yaml"), *row) == _without(_read("scdae_mvtec_loco.yaml"), *row)


def test_recipe_is_the_papers() -> None:
    config = _read("scdae_mvtec_loco.yaml")
    assert config == _read("ablation/exp11_scdae.yaml")
    assert config["trainer"] == {"max_steps": 70_000}
    assert config["data"]["init_args"]["train_batch_size"] == 1
    recipe = {"image_size": 256, "lr": 1e-4, "weight_decay": 1e-5, "cosine_weight": 0.5}
    assert recipe.items() <= config["model"]["init_args"].items()


def test_medium_and_literal_differ_from_the_recipe_as_their_names_say() -> None:
    recipe = _read("scdae_mvtec_loco.yaml")
    medium, literal = _read("scdae_mvtec_loco_medium.yaml"), _read("literal.yaml")
    assert medium["model"]["init_args"]["model_size"] == "medium"
    assert _without(medium, "model_size") == _without(recipe, "model_size")

    equations = {"aggregation": "sum", "crm_gate": "plain", "fusion_gate": "plain", "identity_init": False}
    assert literal["model"]["init_args"] == recipe["model"]["init_args"] | equations
    assert _without(literal, *equations) == recipe


def test_files_name_no_machine() -> None:
    for name in FILES:
        root = Path(_read(name)["data"]["init_args"]["root"])
        assert root.parts[0] == "datasets"
