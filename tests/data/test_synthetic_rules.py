# SPDX-License-Identifier: Apache-2.0
"""The scenes' descriptions: every rule holds in normal scenes, and each logical defect breaks exactly one."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_scdae.data.synthetic import CATEGORIES, load_category
from anomalib_scdae.data.synthetic.category import Category, LogicalDefect, StructuralDefect
from anomalib_scdae.data.synthetic.generate import describe, jobs
from anomalib_scdae.data.synthetic.recipe import Recipe

SEEDS = st.integers(0, 2**32)
DIFFICULTIES = st.floats(0, 1)


def _logical() -> Iterator[tuple[Category, LogicalDefect]]:
    for name in CATEGORIES:
        category = load_category(name)
        yield from ((category, defect) for defect in category.logical)


def _structural() -> Iterator[tuple[Category, StructuralDefect]]:
    for name in CATEGORIES:
        category = load_category(name)
        yield from ((category, defect) for defect in category.structural)


def _name(value: object) -> str:
    return getattr(value, "name", str(value))


@pytest.mark.parametrize("name", CATEGORIES)
@settings(max_examples=60)
@given(seed=SEEDS, difficulty=DIFFICULTIES)
def test_normal_scenes_obey_all_rules(name: str, seed: int, difficulty: float) -> None:
    category = load_category(name)
    assert category.violations(category.sample(np.random.default_rng(seed), difficulty)) == []


@pytest.mark.parametrize(("category", "defect"), list(_logical()), ids=_name)
@settings(max_examples=25)
@given(seed=SEEDS, difficulty=DIFFICULTIES)
def test_logical_defects_break_exactly_their_rule(
    category: Category, defect: LogicalDefect, seed: int, difficulty: float
) -> None:
    rng = np.random.default_rng(seed)
    scene, faults = defect.apply(category.sample(rng, difficulty), rng)
    assert category.violations(scene) == [defect.rule]
    assert [fault.defect for fault in faults] == [defect.name]
    assert faults[0].regions
    assert scene.damage is None


@pytest.mark.parametrize(("category", "defect"), list(_structural()), ids=_name)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_structural_defects_break_no_rule(category: Category, defect: StructuralDefect, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = category.damaged(category.sample(rng, 1.0), defect, rng)
    assert category.violations(scene) == []
    assert scene.damage is not None
    assert scene.damage.name == defect.name
    assert scene.damage.part in defect.parts(scene)


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_rule_can_be_broken(name: str) -> None:
    category = load_category(name)
    rules = [rule.name for rule in category.rules]
    assert len(set(rules)) == len(rules)
    assert {defect.rule for defect in category.logical} == set(rules)


@pytest.mark.parametrize("name", CATEGORIES)
def test_names_are_those_of_one_category_only_once(name: str) -> None:
    category = load_category(name)
    names = [defect.name for defect in (*category.logical, *category.structural)]
    assert len(set(names)) == len(names)
    assert category.name == name


@pytest.mark.parametrize("name", CATEGORIES)
def test_each_image_of_a_recipe_is_what_its_folder_says(name: str) -> None:
    recipe = Recipe(name, train=12, validation=6, good=6, logical=40, structural=20)
    category = load_category(name)
    rules = {defect.name: defect.rule for defect in category.logical}
    seen = set()
    for job in jobs(recipe):
        scene, faults, _ = describe(recipe, job)
        seen |= {fault.defect for fault in faults} | ({scene.damage.name} if scene.damage else set())
        assert category.violations(scene) == [rules[fault.defect] for fault in faults], job
        assert bool(faults) == (job.folder == "test/logical_anomalies")
        assert (scene.damage is not None) == (job.folder == "test/structural_anomalies")
    assert seen == {defect.name for defect in (*category.logical, *category.structural)}


@pytest.mark.parametrize("name", CATEGORIES)
def test_without_difficulty_the_line_stands_still(name: str) -> None:
    category = load_category(name)
    looks = {category.sample(np.random.default_rng(seed), 0.0).look for seed in range(5)}
    assert len(looks) == 1
