# SPDX-License-Identifier: Apache-2.0
"""Scores and maps on disk: written during a test, and evaluated by whoever reads them."""
