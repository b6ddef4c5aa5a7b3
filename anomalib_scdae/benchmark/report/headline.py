# SPDX-License-Identifier: Apache-2.0
"""The sentences at the top: what the figures say about SCDAE against its baseline, and no more than that."""

from anomalib_scdae.benchmark.cells import FINISHED
from anomalib_scdae.benchmark.published import DATASET, EXPERIMENTS, published_method
from anomalib_scdae.benchmark.report.all_cells import environment_note, progress_sentence
from anomalib_scdae.benchmark.report.cost import FORMATS
from anomalib_scdae.benchmark.report.paired import Difference, pairs_of
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, WORDS, Average, Results, average, in_words
from anomalib_scdae.benchmark.report.tables import DAGGER, signed, times

#: Differences below this many percentage points print as 0.0.
VISIBLE = 0.05

AHEAD, BEHIND, LEVEL = "ahead of", "behind", "level with"


def summarise(results: Results) -> list[str]:
    """Say for every dataset where the headline's row stands, then its latency, then what the paper reports."""
    headline, baseline = results.text("headline"), results.text("baseline")
    if not headline or not baseline:
        return [f"This benchmark names no pair of rows to compare ({progress_sentence(results)})."]
    sentences = [sentence for dataset in results.datasets if (sentence := _dataset_sentences(results, dataset))]
    if not sentences:
        return [
            f"Too little to say yet: no category and seed is finished for both {headline} and {baseline} "
            f"({progress_sentence(results)})."
        ]
    others = [environment_note(results), _latency_sentence(results), _paper_sentence(results)]
    return [*sentences, *filter(None, others)]


def key_figures(results: Results) -> list[dict[str, str]]:
    """Give the figures for the top of the page: differences to the baseline, the latency ratio, the progress.

    Returns:
        For each its ``label``, its ``value``, the ``detail`` that it rests on, and the ``verdict``: ``good``, ``bad``
        or empty. The differences are those of the first dataset that has any.
    """
    figures = []
    dataset = next((dataset for dataset in results.datasets if differences(results, dataset)), "")
    verdicts = judgements(results, dataset)
    for label, difference in differences(results, dataset).items():
        pairs = "one pair of cells" if difference.count == 1 else f"{difference.count} pairs of cells"
        verdict = {AHEAD: "good", BEHIND: "bad"}.get(verdicts[label], "")
        figures.append((f"{label} AUROC, points", _points(difference), f"{dataset}: {pairs}", verdict))
    for name, ratio in list(latency_ratios(results).items())[:1]:
        figures.append(("latency ratio", times(ratio), f"{FORMATS[name]}, batch size 1", ""))
    done = (results.cells["status"] == FINISHED).sum()
    figures.append(("cells finished", f"{done} / {len(results.cells)}", progress_sentence(results), ""))
    return [dict(zip(("label", "value", "detail", "verdict"), each, strict=True)) for each in figures]


def differences(results: Results, dataset: str, category: str | None = None) -> dict[str, Average]:
    """Give the differences of the headline's row to the baseline, by label of the anomaly type; as fractions."""
    headline, baseline = results.text("headline"), results.text("baseline")
    averages = {
        label: results.average(headline, f"{IMAGE_AUROC}.{kind}", dataset, category, minus=baseline)
        for kind, label in KINDS.items()
    }
    return {label: difference for label, difference in averages.items() if difference is not None}


def judgements(results: Results, dataset: str, category: str | None = None) -> dict[str, str]:
    """Give the verdict on each of :func:`differences`."""
    row, pairs = results.text("headline"), pairs_of(results)
    kinds = {label: kind for kind, label in KINDS.items()}
    return {
        label: judge(difference, pairs.auroc(row, kinds[label], dataset, category))
        for label, difference in differences(results, dataset, category).items()
    }


def judge(difference: Average, interval: Difference | None = None) -> str:
    """Give the verdict on a difference: :data:`AHEAD`, :data:`BEHIND` or :data:`LEVEL`.

    Level is what lies within its own standard error over the pairs of cells, or prints as 0.0, and what has a 95 %
    interval that holds 0. A single pair says nothing of another training, and so has no verdict: the text is empty.
    """
    if difference.standard_error is None:
        return ""
    undecided = interval is not None and interval.low is not None and interval.low <= 0 <= (interval.high or 0)
    if undecided or abs(difference.mean) <= max(difference.standard_error, VISIBLE / 100):
        return LEVEL
    return AHEAD if difference.mean > 0 else BEHIND


def latency_ratios(results: Results) -> dict[str, float]:
    """Give format to latency ratio of the headline's row to the baseline; OpenVINO FP32 first."""
    order = sorted(FORMATS, key=lambda name: name != "openvino_fp32")
    ratios = {name: results.median(results.text("headline"), f"latency.{name}.ratio.median") for name in order}
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def _dataset_sentences(results: Results, dataset: str) -> str:
    points = differences(results, dataset)
    if not points:
        return ""
    headline, baseline = results.text("headline"), results.text("baseline")
    kinds = [kind for kind, label in KINDS.items() if label in points]
    own, other = (_percents(results, dataset, kinds, *pair) for pair in ((headline, baseline), (baseline, headline)))
    first = next(iter(points.values()))
    names = results.categories(dataset)
    where = f"{first.scope}" if len(names) > 1 else f"{names[0]}, {first.scope}"
    error = "± the standard error over pairs of cells" if first.count > 1 else "one run each"
    sentence = (
        f"On {dataset} ({where}), {headline} reaches {own} % ({' / '.join(points)} image AUROC) against {other} % of "
        f"{baseline}: a difference of {' / '.join(map(_points, points.values()))} percentage points ({error})."
    )
    return " ".join(filter(None, [sentence, _verdict(results, dataset), _by_category(results, dataset)]))


def _percents(results: Results, dataset: str, kinds: list[str], row: str, partner: str) -> str:
    """Give a row's averages over those cells that its partner has too."""
    texts = []
    for path in (f"{IMAGE_AUROC}.{kind}" for kind in kinds):
        shared = average(results.shared_figures(row, partner, path, dataset))
        texts += [f"{100 * shared.mean:.1f}"] if shared else []
    return " / ".join(texts)


def _points(difference: Average) -> str:
    error = "" if difference.standard_error is None else f" ± {100 * difference.standard_error:.1f}"
    return signed(100 * difference.mean) + error


def _verdict(results: Results, dataset: str) -> str:
    verdicts = judgements(results, dataset)
    if "" in verdicts.values():
        return "One run each: without an estimate of the error there is no verdict."
    parts: list[str] = []
    for verdict in dict.fromkeys(verdicts.values()):
        labels = [words for label, words in in_words(verdicts).items() if verdicts[label] == verdict]
        within = " (within the error)" if verdict == LEVEL else ""
        parts.append(f"{verdict} {'it' if parts else results.text('baseline')}{within} on {_listed(labels)}")
    return f"{results.text('headline')} is {', '.join(parts)}."


def _by_category(results: Results, dataset: str) -> str:
    """Say in which categories the mean is better, worse or neither, of those that have more than one pair of cells."""
    found: dict[str, list[str]] = {AHEAD: [], BEHIND: [], LEVEL: []}
    for category in results.categories(dataset):
        difference = differences(results, dataset, category).get("mean")
        if difference is not None and (verdict := judgements(results, dataset, category)["mean"]):
            found[verdict].append(f"{category} ({signed(100 * difference.mean)})")
    parts = [f"{verdict.split()[0]} in {_listed(names)}" for verdict, names in found.items() if names]
    return f"By the mean it is {'; '.join(parts)}." if sum(map(len, found.values())) > 1 else ""


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _latency_sentence(results: Results) -> str:
    parts = [f"{times(ratio)} with {FORMATS[name]}" for name, ratio in latency_ratios(results).items()]
    if not parts:
        return "Latency was not measured yet."
    return f"Its latency at batch size 1 relative to {results.text('baseline')}, timed in turn: {', '.join(parts)}."


def _paper_sentence(results: Results) -> str:
    averages = []
    for row in (results.text("headline"), results.text("baseline")):
        experiment = EXPERIMENTS.get(results.of_row(row, "experiment"))
        published = experiment or published_method(results.of_row(row, "model"))
        averages += [published.average] if published else []
    if results.text("layout") not in {"methods", "ablation"} or len(set(averages)) < 2:
        return ""
    points = [signed(round(getattr(averages[0], kind) - getattr(averages[1], kind), 1)) for kind in WORDS]
    return f"The paper reports {' / '.join(points)} points on {DATASET}{DAGGER}, which was not measured here."
