# SPDX-License-Identifier: Apache-2.0
"""AU-sPRO against its definition, and the streaming mode against the exact one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_scdae.metrics.ground_truth import GroundTruth, Region, Saturation
from anomalib_scdae.metrics.spro import FPR_LIMITS, Curve, SPROAccumulator, area_under_curve
from tests.spro_reference import Channel, brute_force_au_spro

TYPE = "structural_anomalies"


def truth_of(shape, channels):
    regions = []
    for channel in channels:
        pixels = np.flatnonzero(channel.mask)
        regions.append(Region(pixels, Saturation(channel.threshold, channel.relative).area(pixels.size)))
    return GroundTruth(shape, tuple(regions))


def accumulate(maps, channels, **options):
    accumulator = SPROAccumulator(**options)
    for anomaly_map, own in zip(maps, channels, strict=True):
        if own:
            accumulator.add_anomalous(TYPE, anomaly_map, truth_of(anomaly_map.shape, own))
        else:
            accumulator.add_good(anomaly_map)
    return accumulator


SHAPE = (6, 9)
SATURATIONS = st.one_of(
    st.tuples(st.floats(0.01, 1.0), st.just(True)), st.tuples(st.integers(1, 60).map(float), st.just(False))
)


@st.composite
def score_maps(draw):
    kind = draw(st.sampled_from(["smooth", "ties", "constant", "tiny interval", "offset"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.normal(size=SHAPE)
    changed = {
        "smooth": lambda: values,
        "ties": lambda: np.round(values * 2),
        "constant": lambda: np.full(SHAPE, np.round(values[0, 0])),
        "tiny interval": lambda: 0.5 + 1e-4 * values,
        "offset": lambda: 1e6 + values,
    }[kind]()
    return changed.astype(draw(st.sampled_from([np.float32, np.float64])))


@st.composite
def channel_lists(draw, smallest=0):
    channels = []
    for _ in range(draw(st.integers(smallest, 3))):
        random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        mask = random.random(SHAPE) < draw(st.sampled_from([0.02, 0.2, 0.6]))
        mask[tuple(draw(st.tuples(st.integers(0, 5), st.integers(0, 8))))] = True
        mask[0, 0] = False  # one pixel stays free of defects, or there is no false-positive rate
        if not mask.any():
            mask[1, 1] = True
        channels.append(Channel(mask, *draw(SATURATIONS)))
    return channels


@st.composite
def image_sets(draw):
    channels = [draw(channel_lists(smallest=1)), *draw(st.lists(channel_lists(), max_size=4))]
    return [draw(score_maps()) for _ in channels], channels


@given(image_sets())
@settings(max_examples=100, deadline=None)
def test_exact_mode_equals_the_definition(images):
    maps, channels = images
    values = accumulate(maps, channels, exact=True).au_spro(TYPE)
    assert values == pytest.approx(brute_force_au_spro(maps, channels), rel=0, abs=1e-6)


@given(image_sets())
@settings(max_examples=30, deadline=None)
def test_streaming_mode_equals_the_definition_on_small_sets(images):
    maps, channels = images
    values = accumulate(maps, channels).au_spro(TYPE)
    assert values == pytest.approx(brute_force_au_spro(maps, channels), rel=0, abs=1e-6)


@given(image_sets(), st.randoms())
@settings(max_examples=30, deadline=None)
def test_neither_order_nor_split_matters(images, random):
    maps, channels = images
    order = random.sample(range(len(maps)), len(maps))
    cut = random.randint(0, len(maps))
    first, second = (
        accumulate([maps[i] for i in part], [channels[i] for i in part], exact=True)
        for part in (order[:cut], order[cut:])
    )
    first.merge(second)
    expected = accumulate(maps, channels, exact=True).au_spro(TYPE)
    assert first.au_spro(TYPE) == pytest.approx(expected, abs=1e-9)


@given(image_sets())
@settings(max_examples=30, deadline=None)
def test_types_that_are_merged_are_as_one(images):
    maps, channels = images
    merged = SPROAccumulator(exact=True)
    for index, (scores, of_image) in enumerate(zip(maps, channels, strict=True)):
        truth = truth_of(scores.shape, of_image)
        merged.add_anomalous(f"type{index}", scores, truth) if of_image else merged.add_good(scores)
    merged.merge_types(TYPE, merged.types)
    assert merged.types == [TYPE]
    assert merged.au_spro(TYPE) == pytest.approx(accumulate(maps, channels, exact=True).au_spro(TYPE), abs=1e-9)


@given(image_sets())
@settings(max_examples=30, deadline=None)
def test_a_strictly_monotone_change_of_the_scores_changes_nothing(images):
    maps, channels = images
    ranks = np.unique(np.concatenate([m.ravel() for m in maps]))
    ranked = [np.searchsorted(ranks, m).astype(np.float32) for m in maps]
    expected = accumulate(maps, channels, exact=True).au_spro(TYPE)
    assert accumulate(ranked, channels, exact=True).au_spro(TYPE) == pytest.approx(expected, abs=1e-12)


def blob(shape, random, largest):
    mask = np.zeros(shape, dtype=bool)
    height, width = random.integers(2, largest, 2)
    top, left = random.integers(0, shape[0] - height), random.integers(0, shape[1] - width)
    mask[top : top + height, left : left + width] = True
    return mask


DISTRIBUTIONS = {
    "gamma": lambda x, _: np.exp(x),
    "heavy tail": lambda x, _: np.exp(6 * x),
    "tiny interval": lambda x, _: 0.5 + 1e-5 * x,
    "offset": lambda x, _: 3e4 + x,
    "negative": lambda x, _: x - 50,
    "ties": lambda x, _: np.round(3 * x),
    "clamped": lambda x, _: np.clip(x, 0, 1),
    "constant": lambda x, _: np.zeros_like(x),
    "constant per image": lambda x, index: np.full_like(x, index % 7),
    "range shrinks as images come": lambda x, index: 0.5 + x * 10.0 ** -min(index, 6),
    "range grows as images come": lambda x, index: x * 10.0 ** min(index, 6),
}


def stream(distribution, random, images, shape, largest):
    """Maps with and without regions, in which the regions' scores are raised."""
    for index in range(images):
        values = random.normal(size=shape)
        channels = []
        if index % 3:
            for _ in range(random.integers(1, 4)):
                channels.append(Channel(blob(shape, random, largest), float(random.uniform(0.05, 1)), relative=True))
                values[channels[-1].mask] += random.choice([0, 1, 3])
        yield DISTRIBUTIONS[distribution](values, index).astype(np.float32), channels


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_streaming_mode_is_within_a_thousandth(distribution):
    images = list(stream(distribution, np.random.default_rng(7), images=20, shape=(240, 320), largest=200))
    maps, channels = zip(*images, strict=True)
    streaming = accumulate(maps, channels)
    if distribution in {"gamma", "heavy tail", "negative"}:  # the others have few distinct float32 scores
        assert streaming.error_bound(TYPE) > 0, "nothing was reduced: the test shows nothing"
    assert streaming.error_bound(TYPE) <= 1e-3
    assert streaming.au_spro(TYPE) == pytest.approx(
        accumulate(maps, channels, exact=True).au_spro(TYPE), rel=0, abs=1e-3
    )


@given(
    st.sampled_from(sorted(DISTRIBUTIONS)), st.integers(0, 2**32 - 1), st.sampled_from([32, 100]), st.integers(10, 100)
)
@settings(max_examples=60, deadline=None)
def test_the_error_bound_holds(distribution, seed, resolution, images):
    maps, channels = zip(
        *stream(distribution, np.random.default_rng(seed), images, shape=(30, 40), largest=20), strict=True
    )
    streaming = accumulate(maps, channels, resolution=resolution)
    exact = accumulate(maps, channels, exact=True).au_spro(TYPE)
    bound = streaming.error_bound(TYPE) * 1.05  # steps that grow with the mass are a little longer than 1 / resolution
    assert streaming.au_spro(TYPE) == pytest.approx(exact, rel=0, abs=bound + 1e-9)


def test_memory_grows_with_the_logarithm_of_the_images_only():
    accumulator = SPROAccumulator(resolution=64)
    random = np.random.default_rng(0)
    per_buffer = 2 * 64 * (1 + np.log(100)) + 2  # a step makes at most two points
    for images in range(1, 601):
        accumulator.add_good(random.random((30, 30), dtype=np.float32))
        kept = sum(buffer.points.scores.size for buffer in accumulator._good._buffers())
        assert kept <= 7 * (1 + np.log(images) / np.log(8)) * per_buffer
    assert kept < 600 * 900 / 20


def test_curve_runs_from_zero_to_one():
    maps, channels = zip(*stream("gamma", np.random.default_rng(1), 6, (40, 50), 20), strict=True)
    curve = accumulate(maps, channels).curve(TYPE)
    assert (curve.fpr[0], curve.spro[0]) == (0, 0)
    assert (curve.fpr[-1], curve.spro[-1]) == (1, pytest.approx(1))
    assert (np.diff(curve.fpr) >= 0).all()
    assert (np.diff(curve.spro) >= -1e-12).all()


def test_a_perfect_and_a_useless_map():
    mask = blob((20, 20), np.random.default_rng(0), 10)
    channels = [Channel(mask, 0.5, relative=True)]
    perfect = accumulate([mask.astype(np.float32), np.zeros((20, 20), np.float32)], [channels, []])
    assert perfect.au_spro(TYPE) == pytest.approx(dict.fromkeys(FPR_LIMITS, 1.0))
    constant = accumulate([np.zeros((20, 20), np.float32)], [channels])
    assert constant.au_spro(TYPE) == pytest.approx({limit: limit / 2 for limit in FPR_LIMITS})


def test_saturation_lets_part_of_a_region_suffice():
    mask = np.zeros((10, 10), dtype=bool)
    mask[:4] = True
    half_found = np.where(np.arange(100).reshape(10, 10) < 20, 1.0, 0.0).astype(np.float32)
    whole, half = (
        accumulate([half_found], [[Channel(mask, threshold, relative=True)]]).au_spro(TYPE)[0.01]
        for threshold in (1.0, 0.5)
    )
    assert whole == pytest.approx(0.5, abs=0.01)
    assert half == pytest.approx(1.0)


def test_limit_between_two_points_is_interpolated():
    curve = Curve(np.array([0.0, 0.0, 0.2, 1.0]), np.array([0.0, 0.4, 0.8, 1.0]))
    assert area_under_curve(curve, 0.1) == pytest.approx((0.4 + 0.6) / 2)


def test_type_without_a_defect_free_pixel_has_no_figure():
    everywhere = Channel(np.ones((4, 4), dtype=bool), 1.0, relative=True)
    assert accumulate([np.ones((4, 4), np.float32)], [[everywhere]]).au_spro(TYPE) is None


def test_all_normal_images_have_no_type():
    assert accumulate([np.zeros((4, 4), np.float32)], [[]]).types == []


def test_map_of_another_size_than_the_ground_truth_is_refused():
    with pytest.raises(ValueError, match="shape"):
        SPROAccumulator().add_anomalous(TYPE, np.zeros((3, 4), np.float32), GroundTruth((4, 4)))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        SPROAccumulator().add_good(np.array([[0, np.nan]], np.float32))
