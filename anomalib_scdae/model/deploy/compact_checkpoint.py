# SPDX-License-Identifier: Apache-2.0
"""``anomalib-scdae compact``: a trained SCDAE, made compact."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from rich.console import Console

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing
from anomalib_scdae.model.lightning_model import SCDAE


def compact(*, ckpt_path: Path, data: AnomalibDataModule, output: Path | None = None) -> Path:
    """Make a trained SCDAE compact: its predictions and exports then take about two thirds of the arithmetic.

    What the scores can do without is learnt from 16 training images; quantiles and thresholds are fitted anew to the
    validation images. The checkpoint that is written is used like any other: `anomalib test`, `predict` and `export`
    need no further option. A training with `--model.compact true` writes such checkpoints by itself.

    Args:
        ckpt_path: Checkpoint of a training.
        data: The data that it was trained with, as in `anomalib train --data`.
        output: Checkpoint to write; by default `<name>-compact.ckpt` beside the first one.

    Returns:
        The path of the checkpoint.

    Raises:
        UserError: If the checkpoint cannot be used, if the data have no normal images, or if the checkpoint would
            overwrite the first one.
    """
    ckpt_path = Path(ckpt_path)
    target = Path(output) if output is not None else ckpt_path.with_name(f"{ckpt_path.stem}-compact.ckpt")
    if target.resolve() == ckpt_path.resolve():
        msg = f"--output is the checkpoint itself, {ckpt_path}: name another file."
        raise UserError(msg)
    exact = SCDAE.load_from_checkpoint(ckpt_path)
    if exact.model.is_compact:
        msg = f"{ckpt_path} is of a compact model already: test, predict and export use it as it is."
        raise UserError(msg)
    model = SCDAE.load_from_checkpoint(ckpt_path, compact=True)
    with tempfile.TemporaryDirectory(prefix="anomalib-scdae-compact-") as folder:
        engine = Engine(default_root_dir=folder, logger=False, devices=1)
        engine.validate(model, datamodule=data)
        if not model.model.is_compact:  # without a validation image, nothing is validated: training images stand in
            model.to(engine.trainer.strategy.root_device)
            model.calibration.ensure_compact(engine.trainer, model)
        with replacing(target) as temporary:
            engine.trainer.save_checkpoint(temporary, weights_only=True)
        _tell(model, *(_scores(engine, one, data) for one in (exact, model)))
    Console().print(f"Written to {target}", soft_wrap=True)
    return target


def _scores(engine: Engine, model: SCDAE, data: AnomalibDataModule) -> torch.Tensor:
    """Return the scores of the validation images, in which 0.5 is the threshold."""
    if not len(getattr(data, "val_data", ())):
        return torch.empty(0)
    model.visualizer = None  # whose heatmaps nobody would see
    batches: Any = engine.predict(model, dataloaders=data.val_dataloader(), return_predictions=True)
    return torch.cat([batch.pred_score.flatten() for batch in batches])


def _tell(model: SCDAE, before: torch.Tensor, after: torch.Tensor) -> None:
    compaction = model.model.compaction
    assert compaction is not None  # noqa: S101 - for the type checker
    modules = (
        "SRM, CRM and SFM say the same of every image here, and are folded into the decoders."
        if compaction.constant
        else "SRM, CRM and SFM say different things of different images here, and stay as they are."
    )
    difference = (before - after).abs()
    scores = (
        f" The scores of {len(after)} validation images, between 0 and 1, change by {difference.mean():.3f} on average "
        f"and by {difference.max():.3f} at most."
        if len(after)
        else ""
    )
    Console().print(modules + scores, soft_wrap=True)
