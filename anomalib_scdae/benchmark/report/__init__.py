# SPDX-License-Identifier: Apache-2.0
"""The benchmark's report: Markdown for a repository, and one self-contained HTML page to hand around."""

from anomalib_scdae.benchmark.report.write import write_report

__all__ = ["write_report"]
