# SPDX-License-Identifier: Apache-2.0
"""SCDAE: the networks, their loss and their maps, and the model as Anomalib sees it.

``SCDAE`` is in :mod:`.lightning_model`, ``SCDAEModel`` in :mod:`.torch_model`. Of the rest of the package this folder
needs the small modules at its bottom, the loaders of its inputs and the figures that a test reports.
"""
