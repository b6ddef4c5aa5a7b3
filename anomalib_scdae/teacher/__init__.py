# SPDX-License-Identifier: Apache-2.0
"""The frozen patch description network: loading its weights, and distilling new ones."""
