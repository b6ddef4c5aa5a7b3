# SPDX-License-Identifier: Apache-2.0
"""The paper's tables, against their own arithmetic."""

import os
import re
from pathlib import Path
from statistics import fmean

import pytest
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.classes import MODEL_MODULES, find_class
from anomalib_scdae.benchmark.published import (
    CATEGORIES,
    EXPERIMENTS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    PublishedFigures,
    published_method,
)

ROWS = {row.name: row for row in TABLE_1}

#: Where the printed averages are not the classes' mean (slips of the paper).
PAPER_SLIPS = {("SPADE", "logical"), ("SPADE", "structural"), ("STPM", "structural")}


def test_averages_of_the_headline() -> None:
    assert ROWS["SCDAE"].average == PublishedFigures(89.4, 94.9, 92.1)
    assert ROWS["EfficientAD"].average == PublishedFigures(86.7, 94.1, 90.4)
    assert ROWS["DSKD"].average == PublishedFigures(81.2, 86.9, 84.0)


@pytest.mark.parametrize("kind", ["logical", "structural"])
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.categories])
def test_printed_averages_are_the_classes_means_but_for_known_slips(name: str, kind: str) -> None:
    """A slip of the OCR or of the typist in any class would break this equality."""
    row = ROWS[name]
    assert tuple(row.categories) == CATEGORIES
    mean = fmean(getattr(figures, kind) for figures in row.categories.values())
    agrees = abs(mean - getattr(row.average, kind)) <= 0.0501
    assert agrees == ((name, kind) not in PAPER_SLIPS)


@pytest.mark.parametrize("figures", [*(row.average for row in TABLE_1), *(row.average for row in EXPERIMENTS.values())])
def test_mean_is_that_of_both_types(figures: PublishedFigures) -> None:
    assert figures.mean == pytest.approx((figures.logical + figures.structural) / 2, abs=0.0501)


def test_ablations_end_at_the_rows_of_table_1() -> None:
    assert EXPERIMENTS["1"].average == ROWS["EfficientAD"].average
    assert EXPERIMENTS["11"].average == ROWS["SCDAE"].average
    assert {*TABLE_2, *TABLE_3} == set(EXPERIMENTS) == {str(number) for number in range(1, 12)}
    assert all(EXPERIMENTS[number].whole_architecture for number in ("7", "9", "10", "11"))
    assert not any(EXPERIMENTS[number].fusion or EXPERIMENTS[number].cosine for number in TABLE_2)


def test_every_method_can_be_run() -> None:
    for row in TABLE_1:
        assert find_class(row.model, MODEL_MODULES, AnomalibModule, "here").__name__ == row.model
        assert published_method(row.model) is row
    assert published_method("anomalib.models.EfficientAd") is ROWS["EfficientAD"]
    assert {name: row.variants for name, row in ROWS.items() if row.variants} == {
        "RD": ("ReverseDistillationAdapted",), "EfficientAD": ("EfficientAdMended", "EfficientAdAsShipped"),
    }  # fmt: skip
    for row in TABLE_1:
        for variant in row.variants:
            assert find_class(variant, MODEL_MODULES, AnomalibModule, "here").__name__ == variant
            assert published_method(variant) is row
    assert published_method("EfficientAdWithContext") is None  # the paper's score has no such part
    assert published_method("Padim") is None


def test_what_was_found_about_the_table_is_what_its_figures_say() -> None:
    assert {name for name, row in ROWS.items() if row.remark} == {"SPADE", "STPM"}
    for kind, mean in (("logical", "71.0"), ("structural", "66.9")):
        found = fmean(getattr(figures, kind) for figures in ROWS["SPADE"].categories.values())
        assert f"{found:.1f}" == mean
        assert mean in ROWS["SPADE"].remark
    assert ROWS["STPM"].categories["juice_bottle"].structural == 74.7


@pytest.mark.shared_data
def test_tables_are_those_of_the_paper() -> None:
    """Every row, against the paper's own text."""
    shared = Path(os.environ.get("SCDAE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    paper = shared / "paper.txt"
    if not paper.is_file():
        pytest.skip(f"needs the paper's text in {paper}")
    lines = [re.sub(r"(?<=[\d.]) +(?=[\d./])|(?<=/) +", "", line) for line in paper.read_text().splitlines()]
    for row in TABLE_1:
        name = "本文" if row.name == "SCDAE" else row.name
        line = next(line for line in lines if line.startswith(f"{name}\t"))
        pairs = [*row.categories.values(), row.average]
        printed = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", line)]
        assert printed == [x for pair in pairs for x in (pair.logical, pair.structural)] + [row.average.mean]
    for number, row in EXPERIMENTS.items():
        found = [line for line in lines if re.match(rf"{number}(\(Baseline\))?\t", line)]
        assert len(found) == (number in TABLE_2) + (number in TABLE_3)
        for line in found:
            printed = [float(figure) for figure in re.findall(r"\d+\.\d+", line)]
            assert printed == [row.average.logical, row.average.structural, row.average.mean]
