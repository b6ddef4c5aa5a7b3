# SPDX-License-Identifier: Apache-2.0
"""The sentences at the top: what the figures say about SCDAE against its baseline, and no more than that."""

from anomalib_scdae.benchmark.published import DATASET, EXPERIMENTS, PublishedFigures, published_method
from anomalib_scdae.benchmark.report.accuracy import auroc_readers
from anomalib_scdae.benchmark.report.cost import FORMATS
from anomalib_scdae.benchmark.report.document import DAGGER, KeyFigure
from anomalib_scdae.benchmark.report.formatting import explain, points_entry, signed, times
from anomalib_scdae.benchmark.report.progress import progress_sentence
from anomalib_scdae.benchmark.report.results import KINDS, Results
from anomalib_scdae.benchmark.report.spread import Spread, difference, middle, paired, spread_over_seeds

#: Differences below this many percentage points print as 0.0.
VISIBLE = 0.05

NAMES = ("logical anomalies", "structural anomalies", "their mean")


def summarise(results: Results) -> list[str]:
    """Say for every dataset where the headline's row stands, then its latency, then what the paper reports."""
    if not results.headline or not results.baseline:
        return [f"This benchmark names no pair of rows to compare ({progress_sentence(results)})."]
    sentences = [sentence for dataset in results.datasets for sentence in _dataset_sentences(results, dataset)]
    if not sentences:
        return [
            f"Too little to say yet: no category and seed is finished for both {results.headline} and "
            f"{results.baseline} ({progress_sentence(results)})."
        ]
    return [*sentences, *_latency_sentence(results), *_paper_sentence(results)]


def key_figures(results: Results) -> list[KeyFigure]:
    """Give the differences to the baseline on the first dataset that has any, the latency ratio and the progress."""
    figures = []
    for dataset in results.datasets:
        spreads = differences(results, dataset)
        if any(spreads):
            for name, spread in zip(KINDS.values(), spreads, strict=True):
                if spread is not None:
                    tone = "" if _within_chance(spread) else {1: "good", -1: "bad"}.get(_direction(spread), "")
                    value = points_entry(spread).text
                    figures.append(KeyFigure(f"{name} AUROC, points", value, f"{dataset}: {explain(spread)}", tone))
            break
    for form, ratio in list(latency_ratios(results).items())[:1]:
        figures.append(KeyFigure("latency ratio", times(ratio), f"{FORMATS[form]}, batch size 1"))
    done = sum(cell.finished for cell in results.cells)
    figures.append(KeyFigure("cells finished", f"{done} / {len(results.cells)}", progress_sentence(results)))
    return figures


def differences(results: Results, dataset: str) -> list[Spread | None]:
    """Give the differences of the headline's row to the baseline: logical, structural, mean; as fractions."""
    pairs = paired(results, results.headline, results.baseline, dataset)
    return [difference(pairs, read) for read in auroc_readers()]


def latency_ratios(results: Results) -> dict[str, float]:
    """Give format to latency ratio of the headline's row to the baseline; OpenVINO FP32 first."""
    cells = results.of(results.headline)
    order = sorted(FORMATS, key=lambda name: name != "openvino_fp32")
    ratios = {name: middle(cells, "latency", name, "ratio", "median") for name in order}
    return {name: value for name, value in ratios.items() if value is not None}


def _dataset_sentences(results: Results, dataset: str) -> list[str]:
    pairs = paired(results, results.headline, results.baseline, dataset)
    spreads = differences(results, dataset)
    known = [(name, spread) for name, spread in zip(NAMES, spreads, strict=True) if spread is not None]
    if not known:
        return []
    readers = [read for read, spread in zip(auroc_readers(), spreads, strict=True) if spread is not None]
    kinds = [kind for kind, spread in zip(KINDS.values(), spreads, strict=True) if spread is not None]
    own = [spread_over_seeds((first for first, _ in pairs), read) for read in readers]
    theirs = [spread_over_seeds((second for _, second in pairs), read) for read in readers]
    sentence = (
        f"On {dataset} ({_scope(results, dataset, known[0][1])}), {results.headline} reaches {_percents(own)} % "
        f"({' / '.join(kinds)} image AUROC) against {_percents(theirs)} % of {results.baseline}: a difference of "
        f"{' / '.join(points_entry(spread).text for _, spread in known)} percentage points."
    )
    parts = [sentence, _verdict(results, known), _by_category(results, dataset), _weight([s for _, s in known])]
    return [" ".join(part for part in parts if part)]


def _percents(spreads: list[Spread | None]) -> str:
    return " / ".join(f"{100 * spread.mean:.1f}" for spread in spreads if spread is not None)


def _scope(results: Results, dataset: str, spread: Spread) -> str:
    total = len(results.categories(dataset))
    categories = f"{spread.covered} of {total} categories" if spread.covered < total else f"{total} categories"
    if total == 1:
        categories = results.categories(dataset)[0]
    return f"{categories}, {spread.seeds} seed{'' if spread.seeds == 1 else 's'}" if spread.seeds else categories


def _direction(spread: Spread) -> int:
    points = 100 * spread.mean
    return 0 if abs(points) < VISIBLE else (1 if points > 0 else -1)


def _verdict(results: Results, known: list[tuple[str, Spread]]) -> str:
    sides = {1: "ahead on", -1: "behind on", 0: "level on"}
    parts = []
    for direction, words in sides.items():
        names = [name for name, spread in known if _direction(spread) == direction]
        if names:
            parts.append(f"{words} {' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)}")
    return f"{results.headline} is {', '.join(parts)}."


def _by_category(results: Results, dataset: str) -> str:
    """Say in how many categories the mean is better, and name those where it is worse."""
    better, worse, total = 0, [], 0
    for category in results.categories(dataset):
        pairs = paired(results, results.headline, results.baseline, dataset, category)
        spread = difference(pairs, auroc_readers()[-1])
        if spread is not None:
            total += 1
            better += _direction(spread) == 1
            worse += [f"{category} ({signed(100 * spread.mean)})"] if _direction(spread) == -1 else []
    if total < 2:
        return ""
    return f"By the mean it is ahead in {better} of {total} categories{'; behind in ' * bool(worse)}{', '.join(worse)}."


def _within_chance(spread: Spread) -> bool:
    return spread.deviation is None or abs(spread.mean) <= spread.deviation


def _weight(spreads: list[Spread]) -> str:
    """Say how far the differences can be trusted."""
    if all(spread.seeds < 2 for spread in spreads):
        return "With fewer than two seeds, chance cannot be told from difference."
    within = [spread for spread in spreads if _within_chance(spread)]
    if len(within) == len(spreads):
        return "All of it lies within the spread over seeds: too little to call a difference."
    return "Part of it lies within the spread over seeds." if within else ""


def _latency_sentence(results: Results) -> list[str]:
    ratios = latency_ratios(results)
    if not ratios:
        return ["Latency was not measured yet."]
    parts = [f"{times(value)} with {FORMATS[name]}" for name, value in ratios.items()]
    return [f"Its latency at batch size 1 relative to {results.baseline}, timed in turn: {', '.join(parts)}."]


def _paper_sentence(results: Results) -> list[str]:
    own, other = (_paper_average(results, row) for row in (results.headline, results.baseline))
    if results.layout not in {"methods", "ablation"} or own is None or other is None or own == other:
        return []
    kinds = ("logical", "structural", "mean")
    points = [signed(round(getattr(own, kind) - getattr(other, kind), 1)) for kind in kinds]
    return [f"The paper reports {' / '.join(points)} points on {DATASET}{DAGGER}, which was not measured here."]


def _paper_average(results: Results, row: str) -> PublishedFigures | None:
    experiment = EXPERIMENTS.get(results.experiment_of(row))
    published = experiment or published_method(results.model_of(row))
    return None if published is None else published.average
