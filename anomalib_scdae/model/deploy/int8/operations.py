# SPDX-License-Identifier: Apache-2.0
"""Which operations may be in INT8."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openvino import Model, Node


#: Operations that may be in INT8. All others stay in floating point: antialiased resizing (matrix products), the
#: products and sums of SRM, CRM and SFM, the distances (differences of features that are nearly equal) and their
#: normalisation. They are few, and 8 bits of each would show in the maps.
INT8_OPERATIONS = frozenset({"Convolution", "GroupConvolution", "AvgPool"})


def floating_point_operations(model: "Model") -> list[str]:
    """Return the names of the operations that stay in floating point: all but :data:`INT8_OPERATIONS`.

    The average pooling between two convolutions may pass 8 bits on, which saves half of the time. That of SRM reads
    features that are needed in floating point too.
    A bias is part of its convolution, although it is an operation of its own in the graph.
    """
    return [node.get_friendly_name() for node in model.get_ordered_ops() if _stays_in_floating_point(node)]


def _stays_in_floating_point(node: "Node") -> bool:
    kind = node.get_type_name()
    if kind in {"Constant", "Parameter", "Result"} or _is_bias(node):
        return False
    return kind not in INT8_OPERATIONS or _pools_features(node)


def _pools_features(node: "Node") -> bool:
    """Tell SRM's pooling from that of the networks, which comes after ReLU."""
    return node.get_type_name() == "AvgPool" and node.input_value(0).get_node().get_type_name() != "Relu"


def _is_bias(node: "Node") -> bool:
    if node.get_type_name() != "Add":
        return False
    inputs = {source.get_source_output().get_node().get_type_name() for source in node.inputs()}
    return inputs == {"Convolution", "Constant"}
