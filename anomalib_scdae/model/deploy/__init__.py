# SPDX-License-Identifier: Apache-2.0
"""What comes before and after the networks, also in an exported model, and the exports."""
