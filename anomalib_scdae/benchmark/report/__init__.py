# SPDX-License-Identifier: Apache-2.0
"""The benchmark's report: Markdown for a repository, a self-contained HTML page to hand around, a picture for a slide.

``results`` reads all cells into one DataFrame and averages its columns. ``accuracy``, ``cost`` and ``all_cells`` make
tables of it, ``headline`` sentences, ``charts`` drawings; ``paired`` compares each row with the baseline, within what
``bootstrap`` says of chance; ``outcome`` draws the pair of rows that matters most; ``page`` puts them together.
"""

from anomalib_scdae.benchmark.report.page import write_report

__all__ = ["write_report"]
