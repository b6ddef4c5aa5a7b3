# SPDX-License-Identifier: Apache-2.0
"""EfficientAd on equal terms: with the same weights it is SCDAE's experiment 1, step by step."""

from pathlib import Path
from typing import Any

import pytest
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from lightning.pytorch import seed_everything

from anomalib_scdae import SCDAE
from anomalib_scdae.benchmark.baselines import EfficientAdMended
from anomalib_scdae.benchmark.cell.recorder import OneSeed, TrainingRecorder
from anomalib_scdae.benchmark.cells import CellFolder
from anomalib_scdae.gallery.branch_maps import branch_names
from anomalib_scdae.model.training.exact_resume import ExactResume
from tests.benchmark.cells import make_cell

pytestmark = pytest.mark.usefixtures("narrow_networks")

STEPS = 6  # of four an epoch


def train(model: Any, loco_root: Path, folder: Path) -> TrainingRecorder:
    recorder = TrainingRecorder(CellFolder(folder, make_cell()))
    data = MVTecLOCO(root=loco_root, category="part", train_batch_size=1, eval_batch_size=3, num_workers=0)
    engine = Engine(
        callbacks=[OneSeed(3), ExactResume(), recorder],
        max_steps=STEPS,
        default_root_dir=folder,
        accelerator="cpu",
        enable_progress_bar=False,
        logger=False,
    )
    engine.fit(model, datamodule=data)
    return recorder


@pytest.mark.slow
def test_mended_efficient_ad_is_experiment_one(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    """Same images in the same order, same penalty images, same random numbers, same learning rate: same losses."""
    seed_everything(0)
    # Without the cache, which keeps the teacher's features in float16.
    ours = SCDAE(branches=[[]], fusion=False, cosine_weight=0, cache_gib=0, **model_arguments)
    seed_everything(1)  # whatever a constructor draws must not matter
    theirs = EfficientAdMended(**model_arguments)
    theirs.model.student.load_state_dict(ours.model.student.network.state_dict())
    theirs.model.ae.load_state_dict(ours.model.branches[0].autoencoder.state_dict())

    our_curve = train(ours, loco_root, tmp_path / "ours").curve
    their_recorder = train(theirs, loco_root, tmp_path / "theirs")
    assert [point["step"] for point in our_curve] == list(range(1, STEPS + 1))
    for our, their in zip(our_curve, their_recorder.curve, strict=True):
        # Adam turns the rounding of small gradients, in which the two differ, into steps of full size.
        tolerance = 2e-3 if our["step"] == 1 else 1e-2
        assert their["st"] == pytest.approx(our["hard"] + our["penalty"], rel=tolerance)
        assert their["ae"] == pytest.approx(our["ta_1"], rel=tolerance)
        assert their["stae"] == pytest.approx(our["sa_1"], rel=tolerance)
        assert their["loss"] == pytest.approx(our["loss"], rel=tolerance)
    assert len({point["loss"] for point in our_curve}) == STEPS
    # Decayed after 95 % of the steps, in both.
    rates = [model.trainer.optimizers[0].param_groups[0]["lr"] for model in (ours, theirs)]
    assert rates == pytest.approx([1e-5, 1e-5])
    summary = their_recorder.summary()
    assert summary["steps"] == STEPS
    assert summary["seconds"] > 0


@pytest.mark.parametrize(
    ("branches", "names"),
    [
        ([["srm"], ["crm"]], ["srm", "crm"]),
        ([[]], ["autoencoder_1"]),
        ([[], []], ["autoencoder_1", "autoencoder_2"]),
        ([["srm"], ["srm"]], ["srm_1", "srm_2"]),
        ([["crm", "srm"]], ["crm_srm"]),
        ([["srm"], []], ["srm", "autoencoder_1"]),
    ],
)
def test_branches_have_names_of_their_own(branches: list[list[str]], names: list[str]) -> None:
    assert branch_names(branches) == names
