# SPDX-License-Identifier: Apache-2.0
"""Side-by-side benchmarks of SCDAE, its ablations and other Anomalib models."""
