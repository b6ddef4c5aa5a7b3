# SPDX-License-Identifier: Apache-2.0
"""The documentation's tables say what the code does."""

import pytest

from anomalib_scdae.data.synthetic import CATEGORIES, load_category
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "synthetic_loco.md"


@pytest.mark.parametrize("name", CATEGORIES)
def test_the_page_lists_every_rule_and_every_defect(name: str) -> None:
    lines = PAGE.read_text().splitlines()
    category = load_category(name)
    section = lines[lines.index(f"### {name}") :]
    for rule in category.rules:
        assert f"| `{rule.name}` | {rule.text} |" in section
    for logical in category.logical:
        assert f"| `{logical.name}` | `{logical.rule}` | {logical.mask} |" in section
    for structural in category.structural:
        assert f"| `{structural.name}` | {structural.text} |" in section
    picture = PAGE.parent / "images" / f"synthetic_{name}.webp"
    assert picture.stat().st_size <= 250_000
