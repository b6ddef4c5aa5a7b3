# SPDX-License-Identifier: Apache-2.0
"""Provenance cards: what a teacher was made of, beside its weights; and the ``teachers`` command that shows them."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing, sha256_of, write_json
from anomalib_scdae.inputs.pdn import NETWORKS
from anomalib_scdae.inputs.teacher import BUNDLED_FOLDER, find_published

#: Of a curve that are printed at most.
POINTS = 8


@dataclass(frozen=True)
class Card:
    """Where a teacher comes from; written as JSON beside the weights, under the same name.

    Attributes:
        name: For people.
        size: Of the PDN, ``small`` or ``medium``.
        out_channels: Its output channels.
        sha256: Of the weights file.
        validation_mse: 1 - R^2 on the held-out photographs, of the weights in the file.
        backbone: timm's name of the network whose features were learnt.
        layers: The layers they were taken from.
        backbone_weights: The file or tag of its weights.
        backbone_sha256: Hash of that file, if there is one.
        licences: Of weights and images.
        images: The photographs.
        command: That made the teacher.
        version: Of this package.
        versions: Of the libraries that it ran on.
        created: Date and time, ISO 8601.
        curve: Learning curve, ``[steps, validation MSE]``.
    """

    name: str
    size: str
    out_channels: int
    sha256: str
    validation_mse: float
    backbone: str
    layers: str
    backbone_weights: str
    backbone_sha256: str
    licences: str
    images: str
    command: str
    version: str
    versions: str
    created: str
    curve: list[tuple[int, float]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the card to ``path``."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Card":
        """Read a card.

        Raises:
            UserError: If the file is no card.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{entry.name: content[entry.name] for entry in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{path} is no teacher's card: remove it, or make the teacher again with `anomalib-scdae distill`."
            raise UserError(msg) from error


def write_curve(curve: list[tuple[int, float]], output: Path) -> None:
    """Save a learning curve as ``output.csv`` and ``output.png``, whatever the suffix of ``output``."""
    with replacing(output.with_suffix(".csv")) as file:
        pd.DataFrame(curve, columns=["step", "validation_mse"]).to_csv(file, index=False)
    from matplotlib.figure import Figure  # not pyplot, which would choose a backend for the whole process

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve, strict=True), marker=".")
    axes.set(xlabel="step", ylabel="validation MSE, 1 - R²", title=output.stem)
    axes.grid(alpha=0.3)
    with replacing(output.with_suffix(".png")) as file:
        figure.savefig(file, dpi=120, format="png")


def teachers(folder: Path | None = None) -> None:
    """List the teachers at hand: bundled with this package, published by Anomalib, and your own.

    Args:
        folder: Folder with teachers made by ``anomalib-scdae distill``; each is shown with its whole card.
    """
    console = Console()
    if folder is not None and not folder.is_dir():
        msg = f"There is no folder {folder}: give the one that holds your teachers."
        raise UserError(msg)
    cards = [*sorted(BUNDLED_FOLDER.glob("*.json")), *(sorted(folder.glob("*.json")) if folder else [])]
    for path in cards:
        if path.with_suffix(".safetensors").is_file():
            console.print(_card_table(Card.read(path), path.with_suffix(".safetensors")))
    console.print(_published_table())


def _card_table(card: Card, weights: Path) -> Table:
    """Show one card, and whether the weights beside it are the ones that it describes."""
    intact = sha256_of(weights) == card.sha256
    table = Table(
        title=f"{card.name} ({'bundled' if weights.parent == BUNDLED_FOLDER else weights})", show_header=False
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in asdict(card).items():
        if name not in {"name", "curve"}:
            table.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    table.add_row("curve", _curve_line(card.curve))
    state = "hash agrees" if intact else "ALTERED OR TRUNCATED: its hash is not the card's"
    table.add_row("file", f"{weights.stat().st_size / 1e6:.1f} MB, {state}")
    return table


def _curve_line(curve: list[tuple[int, float]]) -> str:
    """Show a curve in a line: evenly chosen points, the last among them."""
    if not curve:
        return "-"
    chosen = sorted({round(i * (len(curve) - 1) / (POINTS - 1)) for i in range(POINTS)})
    return ", ".join(f"{curve[i][1]:.3f} at {curve[i][0]}" for i in chosen)


def _published_table() -> Table:
    """Show Anomalib's published teachers, whose files are downloaded when first needed."""
    table = Table(title="published by Anomalib for EfficientAd (no cards)")
    for heading in ("size", "channels", "source", "state"):
        table.add_column(heading, overflow="fold")
    for size in NETWORKS:
        path = find_published(size)
        state = "not downloaded" if path is None else f"at {path}"
        table.add_row(size, "384", "WideResNet-101, ImageNet", state)
    return table
