# SPDX-License-Identifier: Apache-2.0
"""From a drawing of matplotlib's to an inline ``svg`` element that takes its colours and font from the page.

matplotlib knows no CSS variables. Colours are therefore drawn as numbers, ``#000001`` and so on (black would not be
written down), and each of them becomes a variable of the page's style sheet: a drawing follows light and dark mode.
"""

import io
import re
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

VARIABLES = ("ink", "quiet", "rule", "card", *(f"s{index}" for index in range(8)))

#: Colours of text, lesser text, grid and ground, and of series; more than eight series take them again, dashed.
INK, QUIET, RULE, CARD, *SERIES = (f"#{number:06x}" for number in range(1, len(VARIABLES) + 1))

TOOLTIP = "tooltip: "


def new_axes(width: float, height: float, margins: tuple[float, float, float, float]) -> Axes:
    """Make an empty drawing; size and margins (left, right, top, bottom) are in units of about one CSS pixel."""
    left, right, top, bottom = margins
    figure = Figure(figsize=(width / 72, height / 72))  # not pyplot's, which are global
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, pad=6, labelsize=11, labelcolor=QUIET)
    axes.set_axisbelow(True)
    return axes


def add_tooltip(artist: Artist, text: str) -> None:
    """Give a part of a drawing a tooltip."""
    artist.set_gid(f"{TOOLTIP}{text}")


def to_svg(axes: Axes, label: str) -> str:
    """Give a drawing as an ``svg`` element, with ``label`` for those who cannot see it; unique in the page."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        axes.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})  # type: ignore[union-attr]
    root = ET.fromstring(buffer.getvalue())  # noqa: S314
    for element in list(root.iter()):
        # HTML knows SVG without namespaces.
        element.tag = element.tag.partition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if element.tag == "g" and (name := element.attrib.pop("id", "")).startswith(TOOLTIP):
            ET.SubElement(element, "title").text = name.removeprefix(TOOLTIP)
        if style := element.get("style"):
            style = re.sub(r"font-family: [^;]*; ?", "", style)
            element.set("style", re.sub("#0000([0-9a-f]{2})", _variable, style))
    root.remove(root[0])  # about the file
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ET.tostring(root, encoding="unicode")


def _variable(colour: re.Match[str]) -> str:
    return f"var(--{VARIABLES[int(colour[1], 16) - 1]})"
