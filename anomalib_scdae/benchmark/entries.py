# SPDX-License-Identifier: Apache-2.0
"""What an entry of ``models`` and of ``datasets`` consists of, as the command line reads it.

The types matter: jsonargparse reads a text whose type it does not know as YAML once more, and makes a mapping of a
remark such as ``"EfficientAD: one plain autoencoder."``.
"""

from typing import Any, TypedDict


class RowEntry(TypedDict, total=False):
    """An entry of ``models``; :class:`anomalib_scdae.benchmark.grid.Row` explains the keys."""

    name: str
    class_path: str
    init_args: dict[str, Any]
    experiment: int | str
    trainer: dict[str, Any]
    data: dict[str, Any]
    latency: bool | None
    backbone_weights: str | None
    note: str | None


class DatasetEntry(TypedDict, total=False):
    """An entry of ``datasets``; :class:`anomalib_scdae.benchmark.grid.Dataset` explains the keys."""

    name: str
    class_path: str
    init_args: dict[str, Any]
    categories: str | list[str]


#: What the command line takes: a dictionary that is no proper entry gets through, as ``parse_grid`` tells the mistake
#: and its remedy better than a parser can.
GivenRow = RowEntry | dict[str, Any]
GivenDataset = DatasetEntry | dict[str, Any]
