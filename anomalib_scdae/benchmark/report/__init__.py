# SPDX-License-Identifier: Apache-2.0
"""The benchmark's report: Markdown for a repository, and one self-contained HTML page to hand around.

``results`` reads all cells into one DataFrame and ``averages`` summarises its columns. ``accuracy``, ``ablation``,
``cost`` and ``cells`` make DataFrames of what is shown, and ``markdown`` and ``html`` write those down.
"""

from anomalib_scdae.benchmark.report.write import write_report

__all__ = ["write_report"]
