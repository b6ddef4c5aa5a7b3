# SPDX-License-Identifier: Apache-2.0
"""What runs inside a cell's own process: train, test, measure."""
