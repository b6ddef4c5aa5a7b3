# SPDX-License-Identifier: Apache-2.0
"""Charts of the report, as inline SVG that takes its colours from the page."""
