# SPDX-License-Identifier: Apache-2.0
"""The ablations in the layout of the paper's Tables 2 and 3."""

from anomalib_scdae.benchmark.published import EXPERIMENTS, SERIES, TABLE_2, TABLE_3
from anomalib_scdae.benchmark.report import tables
from anomalib_scdae.benchmark.report.accuracy import PAPER_NOTE, auroc_columns, deviation_notes, paper_columns
from anomalib_scdae.benchmark.report.results import KINDS, Results
from anomalib_scdae.benchmark.report.tables import DAGGER, Heading, Table, Value

REFERENCE = "1"
MEASURED = "measured here"
DELTA = "Δ to exp. 1"
USED, UNUSED = Value("✓", 1.0, "used"), Value("", 0.0, "not used")
NAMES = {REFERENCE: "1 (baseline)", "11": "11 (SCDAE)", SERIES: "Fig. 8, series"}

#: What a table is about, heading to attribute of the paper's experiment, and the experiments in it.
LAYOUTS = (
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


def ablation_tables(results: Results, dataset: str) -> list[Table]:
    """Give Tables 2 and 3 beside the paper's figures and their differences to experiment 1."""
    finished = results.finished(dataset=dataset).drop_duplicates("experiment")
    rows = dict(zip(finished["experiment"], finished["row"], strict=True))
    categories = results.categories(dataset)
    where = categories[0] if len(categories) == 1 else f"{len(categories)} categories"
    found = []
    for subject, parts, experiments in LAYOUTS:
        shown = [experiment for experiment in experiments if experiment != SERIES or experiment in rows]
        lines = [_line(results, dataset, rows, experiment, parts) for experiment in shown]
        frame = tables.best_marked(tables.table_frame(lines), [MEASURED])
        notes = [
            "Differences are in percentage points, over the cells (category and seed) that both experiments have.",
            *deviation_notes(results, frame),
            PAPER_NOTE,
        ]
        found.append(Table(f"Ablation of {subject}: image AUROC in % on {dataset}, {where}.", frame, notes))
    return found


def _line(
    results: Results, dataset: str, rows: dict[str, str], experiment: str, parts: dict[str, str]
) -> dict[Heading, Value]:
    paper, row = EXPERIMENTS.get(experiment), rows.get(experiment, "")
    hint = "; ".join([row, *results.remarks(row)]) if row else "not among the finished cells"
    order = 99.0 if experiment == SERIES else float(experiment)
    style = "headline" if row and row == results.text("headline") else ""
    line = {("", "Experiment"): Value(NAMES.get(experiment, experiment), order, hint, style)}
    for heading, part in parts.items():
        # The series variant, which the paper's tables do not have, ends one autoencoder with both modules.
        line["", heading] = USED if (getattr(paper, part) if paper else part in {"srm", "crm"}) else UNUSED
    line |= auroc_columns(results, row, dataset, MEASURED)
    line |= paper_columns(paper.average if paper else None, f"paper{DAGGER}")
    if experiment != REFERENCE:
        line |= auroc_columns(results, row, dataset, f"measured {DELTA}", minus=rows.get(REFERENCE, ""))
    if paper and experiment != REFERENCE:
        for label in KINDS.values():
            start, own = (getattr(each.average, label) for each in (EXPERIMENTS[REFERENCE], paper))
            line[f"paper{DAGGER} {DELTA}", label] = tables.published_percent(round(own - start, 1), difference=True)
    return line
