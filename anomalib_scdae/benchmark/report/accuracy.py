# SPDX-License-Identifier: Apache-2.0
"""Tables of accuracy: Tables 1, 2 and 3 in the paper's layout, each part's own AUROC, AU-sPRO and the other metrics."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import pandas as pd

from anomalib_scdae.benchmark import published
from anomalib_scdae.benchmark.published import EXPERIMENTS, SERIES, TABLE_2, TABLE_3
from anomalib_scdae.benchmark.report import tables
from anomalib_scdae.benchmark.report.paired import pairs_of
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, Results
from anomalib_scdae.benchmark.report.tables import DAGGER, MISSING, PARTIAL, Columns, Heading, Table, Value, make_frame
from anomalib_scdae.metrics.spro import FPR_LIMITS

#: Headings of the metrics to where a cell has them; the limits are false-positive rates.
SPRO = {
    (f"FPR ≤ {limit}", label): f"accuracy.au_spro.{kind}.{limit}"
    for limit in FPR_LIMITS
    for kind, label in KINDS.items()
}
OTHER_METRICS = {
    ("", "image AUROC, all anomalies"): "accuracy.image_auroc_all",
    ("", "image F1"): "accuracy.image_f1",
    ("", "pixel AUROC"): "accuracy.pixel_auroc",
}

PAPER_NOTE = (
    f"{DAGGER} Published figures ({published.PAPER}): measured by its authors on {published.DATASET}, with their own "
    "training. They are NOT measured on the data of this report and are printed for orientation only; averages as "
    "printed, also where they are not the mean of the printed classes."
)
#: What the parts' scores are.
PARTS_NOTE = (
    "The score is the map's maximum, as for the combined map; that of the context is the distance of the image as a "
    "whole, which the model adds to the combined map's."
)
NO_SCORES = (
    "There are no intervals of the differences to {}: they are drawn from the scores of the single images, of which "
    "both rows' cells need the same (scores.csv in a cell's folder beside these results)."
)
DIFFERENCE_NOTE = "Differences are in percentage points, over the cells (category and seed) that both experiments have."

REFERENCE = "1"
MEASURED = "measured here"
DELTA = "Δ to exp. 1"
USED, UNUSED = Value("✓", 1.0, "used"), Value("", 0.0, "not used")
NAMES = {REFERENCE: "1 (baseline)", "11": "11 (SCDAE)", SERIES: "Fig. 8, series"}

#: What a table of ablations is about, heading to attribute of the paper's experiment, and the experiments in it.
ABLATIONS: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
    (
        "SRM, CRM and parallel autoencoders (layout of the paper's Table 2)",
        {"parallel dual AE": "dual_autoencoder", "SRM": "srm", "CRM": "crm"},
        (*TABLE_2, SERIES),
    ),
    (
        "SFM and CSF loss (layout of the paper's Table 3)",
        {"dual AE + SRM + CRM": "whole_architecture", "SFM": "fusion", "CSF loss": "cosine"},
        TABLE_3,
    ),
)


def accuracy_tables(results: Results) -> list[Table]:
    """Give image AUROC of every dataset in the layout that the benchmark asks for."""
    found = []
    layout = results.text("layout")
    for dataset in results.finished()["dataset"].unique():
        found += ablation_tables(results, dataset) if layout == "ablation" else []
        # On a single category, the ablations' tables have all figures of the methods' table, if no row is left over.
        rows = results.finished(dataset=dataset).drop_duplicates("row")
        all_are_experiments = rows["experiment"].astype(bool).all() and rows["experiment"].is_unique
        if layout != "ablation" or len(results.categories(dataset)) > 1 or not all_are_experiments:
            found.append(method_table(results, dataset, beside_paper=layout == "methods"))
    return found


def method_table(results: Results, dataset: str, beside_paper: bool) -> Table:
    """Give Table 1's layout for a dataset: a line for each method, per category and on average.

    Args:
        results: The benchmark.
        dataset: The dataset.
        beside_paper: Whether to print the paper's figures beside, if the dataset has categories of the paper.
    """
    categories = results.categories(dataset)
    beside_paper = beside_paper and any(category in published.CATEGORIES for category in categories)
    columns = {**tables.row_names(results)}
    # The averages come first: in the paper's order a narrow screen would show them last.
    columns |= _auroc(results, dataset, "average") if len(categories) > 1 else {}
    if beside_paper:
        of_row = {row: published.published_method(results.of_row(row, "model")) for row in results.rows}
        columns |= _paper(f"paper's average{DAGGER}", {row: method.average for row, method in of_row.items() if method})
    for category in categories:
        columns |= _auroc(results, dataset, category, category)
    frame = tables.best_marked(make_frame(results.rows, columns, "Measured here" if beside_paper else ""))
    notes = [*_remarks(results), *deviation_notes(results, frame), *_scores_note(results, dataset)]
    if beside_paper:
        frame = pd.concat([frame, _published_methods(categories).reindex(columns=frame.columns, fill_value=MISSING)])
        notes.append(PAPER_NOTE)
        notes += [f"{DAGGER} {row.name}, found by us: {row.remark}." for row in published.TABLE_1 if row.remark]
    caption = f"Image AUROC in % on {dataset}, from raw scores: logical / structural anomalies and their mean."
    return Table(caption, frame, notes)


def ablation_tables(results: Results, dataset: str) -> list[Table]:
    """Give Tables 2 and 3 beside the paper's figures and their differences to experiment 1."""
    finished = results.finished(dataset=dataset).drop_duplicates("experiment")
    rows = dict(zip(finished["experiment"], finished["row"], strict=True))
    categories = results.categories(dataset)
    where = categories[0] if len(categories) == 1 else f"{len(categories)} categories"
    found = []
    for subject, parts, experiments in ABLATIONS:
        shown = [experiment for experiment in experiments if experiment != SERIES or experiment in rows]
        frame = make_frame(shown, _ablation_columns(results, dataset, rows, parts))
        frame = tables.best_marked(frame, [MEASURED])
        notes = [DIFFERENCE_NOTE, *deviation_notes(results, frame), *_scores_note(results, dataset), PAPER_NOTE]
        found.append(Table(f"Ablation of {subject}: image AUROC in % on {dataset}, {where}.", frame, notes))
    return found


def _ablation_columns(results: Results, dataset: str, rows: dict[str, str], parts: dict[str, str]) -> Columns:
    def name(experiment: str) -> Value:
        row = rows.get(experiment, "")
        hint = "; ".join([row, *results.remarks(row)]) if row else "not among the finished cells"
        order = 99.0 if experiment == SERIES else float(experiment)
        style = "headline" if row and row == results.text("headline") else ""
        return Value(NAMES.get(experiment, experiment), order, hint, style)

    def has(part: str, experiment: str) -> Value:
        paper = EXPERIMENTS.get(experiment)
        # The series variant, which the paper's tables do not have, ends one autoencoder with both modules.
        return USED if (getattr(paper, part) if paper else part in {"srm", "crm"}) else UNUSED

    columns: dict[Heading, Any] = {("", "Experiment"): name}
    columns |= {("", heading): partial(has, part) for heading, part in parts.items()}
    columns |= _auroc(results, dataset, MEASURED, rows=rows)
    columns |= _paper(f"paper{DAGGER}", {key: experiment.average for key, experiment in EXPERIMENTS.items()})
    others = {key: row for key, row in rows.items() if key != REFERENCE}
    columns |= _auroc(results, dataset, f"measured {DELTA}", rows=others, minus=rows.get(REFERENCE, ""))
    start = EXPERIMENTS[REFERENCE].average

    def gain(label: str, experiment: str) -> Value:
        if experiment == REFERENCE or experiment not in EXPERIMENTS:
            return MISSING
        own = getattr(EXPERIMENTS[experiment].average, label)
        return tables.published_percent(round(own - getattr(start, label), 1), difference=True)

    return columns | {(f"paper{DAGGER} {DELTA}", label): partial(gain, label) for label in KINDS.values()}


def part_tables(results: Results) -> list[Table]:
    """Give image AUROC of each part alone, whatever the models call their maps."""
    names = list(dict.fromkeys(column.split(".")[1] for column in results.cells if column.startswith("maps.")))
    names.sort(key=lambda name: (name == "combined") - (name == "local"))
    paths = {(name, label): f"maps.{name}.{kind}" for name in names for kind, label in KINDS.items()}
    caption = "Image AUROC in % of each part alone on {}, average over categories."
    # No map is best: they are parts of a method, not rivals.
    return _average_tables(results, paths, caption, [PARTS_NOTE], ())


def spro_tables(results: Results) -> list[Table]:
    """Give AU-sPRO at every limit of the false-positive rate."""
    caption = "AU-sPRO in % on {}, up to each limit of the false-positive rate; average over categories."
    return _average_tables(results, SPRO, caption)


def other_metrics_tables(results: Results) -> list[Table]:
    """Give image AUROC over all anomalies, image F1 and pixel AUROC."""
    return _average_tables(results, OTHER_METRICS, "Other metrics in % on {}, average over categories.")


def _average_tables(
    results: Results,
    paths: Mapping[Heading, str],
    caption: str,
    notes: Sequence[str] = (),
    best_of: Collection[str] | None = None,
) -> list[Table]:
    """Give a table of averages for each dataset that has any."""
    found = []
    for dataset in results.datasets:
        columns = {**tables.row_names(results)}
        columns |= {heading: average_column(results, path, dataset) for heading, path in paths.items()}
        frame = tables.best_marked(tables.without_gaps(make_frame(results.rows, columns)), best_of)
        if len(frame):
            found.append(Table(caption.format(dataset), frame, [*notes, *deviation_notes(results, frame)]))
    return found


def average_column(
    results: Results,
    path: str,
    dataset: str,
    category: str | None = None,
    rows: Mapping[str, str] | None = None,
    minus: str | None = None,
) -> Any:
    """Give a column of averages, see :meth:`Results.average`; ``rows`` has the row of each line that is not one."""

    def value(line: str) -> Value:
        row = line if rows is None else rows.get(line, "")
        return tables.percent(results.average(row, path, dataset, category, minus), minus is not None)

    return value


def _auroc(results: Results, dataset: str, group: str, category: str | None = None, **options: Any) -> Columns:
    """Give the columns of image AUROC below the heading ``group``."""
    paths = {(group, label): f"{IMAGE_AUROC}.{kind}" for kind, label in KINDS.items()}
    return {heading: average_column(results, path, dataset, category, **options) for heading, path in paths.items()}


def _paper(group: str, figures: Mapping[str, published.PublishedFigures]) -> Columns:
    """Give the columns of the paper's image AUROC below the heading ``group``."""

    def value(label: str, line: str) -> Value:
        return tables.published_percent(getattr(figures.get(line), label, None))

    return {(group, label): partial(value, label) for label in KINDS.values()}


def _published_methods(categories: Sequence[str]) -> pd.DataFrame:
    """Give Table 1. Below an average measured here, which may be over other categories, none of it belongs."""
    methods = {method.name: method for method in published.TABLE_1}

    def name(line: str) -> Value:
        return Value(f"{line}{DAGGER}", line.lower(), methods[line].reference)

    columns: dict[Heading, Any] = {("", "Method"): name}
    columns |= _paper(f"paper's average{DAGGER}", {line: method.average for line, method in methods.items()})
    for category in categories:
        of_category = {line: m.categories[category] for line, m in methods.items() if category in m.categories}
        columns |= _paper(category, of_category)
    return make_frame(list(methods), columns, f"{DAGGER} Published figures on {published.DATASET}, not measured here")


def _remarks(results: Results) -> list[str]:
    """What the configuration remarks on rows; rows with the same remark together."""
    rows: dict[str, list[str]] = {}
    for row in results.rows:
        for remark in results.remarks(row):
            rows.setdefault(remark, []).append(row)
    return [f"{', '.join(names)}: {remark}" for remark, names in rows.items()]


def deviation_notes(results: Results, frame: pd.DataFrame) -> list[str]:
    """Say what ``±`` and ``*`` mean, if the table has any."""
    texts = " ".join(value.text for value in frame.iloc[:, 1:].to_numpy().ravel())
    notes = []
    if "±" in texts:
        seeds = results.finished().groupby(["row", "dataset", "category"])["seed"].nunique()
        count = f"{seeds.min()} to {seeds.max()}" if seeds.min() < seeds.max() else seeds.max()
        notes.append(f"± is the standard deviation over the seeds, for two or more (here {count} seeds).")
    if PARTIAL in texts:
        notes.append(f"{PARTIAL} Average over those categories only that are finished so far.")
    return notes


def _scores_note(results: Results, dataset: str) -> list[str]:
    """Say why there are no intervals, where the scores of the single images are missing."""
    finished, baseline = results.finished(dataset=dataset), results.text("baseline")
    if baseline not in set(finished["row"]) or finished["row"].nunique() < 2:
        return []
    pairs = pairs_of(results)
    known = (pairs.auroc(row, kind, dataset) for row, kind in product(pairs.rows, KINDS))
    return [] if any(known) else [NO_SCORES.format(baseline)]
