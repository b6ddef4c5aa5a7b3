# SPDX-License-Identifier: Apache-2.0
"""Measuring models and machines: time, arithmetic, memory, size on disk, and what they were measured on."""
