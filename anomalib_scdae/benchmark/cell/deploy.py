# SPDX-License-Identifier: Apache-2.0
"""What a cell's model weighs and how fast it is once deployed, against the baseline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.cell.build import build_model


def deployment(
    model: AnomalibModule, datamodule: AnomalibDataModule, config: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure sizes and latencies; nothing that goes wrong here costs the cell its accuracy.

    Args:
        model: The trained model.
        datamodule: Its data.
        config: The cell's configuration.
        folder: The cell's folder.

    Returns:
        ``size`` and ``latency`` of the cell's result.
    """
    try:
        from anomalib_scdae.benchmark.measure.deployment import measure_deployment

        baseline = build_model(config["latency"]["baseline"], config["image_size"])
        measured = measure_deployment(
            model, baseline, datamodule, folder / "deployment", image_size=config["image_size"]
        )
    except Exception as error:  # noqa: BLE001 - recorded, as the figures of the test are already there
        return {}, {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return measured.get("size", {}), measured.get("latency", {})
