# SPDX-License-Identifier: Apache-2.0
"""The same functions for less work: what could be left out without a trace in the result."""
