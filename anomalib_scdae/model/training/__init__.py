# SPDX-License-Identifier: Apache-2.0
"""What goes on around the training steps: callbacks of the trainer, and what is kept in memory."""
