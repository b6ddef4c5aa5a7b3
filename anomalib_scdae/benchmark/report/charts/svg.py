# SPDX-License-Identifier: Apache-2.0
"""A little drawing board: SVG elements and round numbers for axes.

ElementTree escapes whatever text it is given, and the page's style sheet colours the classes, so that a drawing
follows light and dark mode and can be styled in one place.
"""

import math
from collections.abc import Sequence
from xml.etree import ElementTree as ET

#: Number of the page's colours for series; later series take the same colours again, dashed.
COLOURS = 8


class Drawing:
    """An ``svg`` element under construction.

    Args:
        width: Width in the drawing's own units, about one CSS pixel.
        height: Height in the same units.
        label: What the drawing shows, for those who cannot see it.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width = width
        self.height = height
        self.root = ET.Element("svg", {"viewBox": f"0 0 {_short(width)} {_short(height)}", "role": "img"})
        self.root.set("aria-label", label)

    def add(self, tag: str, style: str = "", tooltip: str = "", **attributes: float | str) -> ET.Element:
        """Add an element with a CSS class and a tooltip; ``_`` in an attribute's name stands for ``-``."""
        element = ET.SubElement(self.root, tag)
        if style:
            element.set("class", style)
        for name, value in attributes.items():
            element.set(name.replace("_", "-"), value if isinstance(value, str) else _short(value))
        if tooltip:
            ET.SubElement(element, "title").text = tooltip
        return element

    def text(self, x: float, y: float, text: str, style: str = "label", anchor: str = "start") -> None:
        """Write ``text`` with its base line at ``y``."""
        self.add("text", style, x=x, y=y, text_anchor=anchor).text = text

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str, tooltip: str = "") -> None:
        """Draw a straight line."""
        self.add("line", style, tooltip, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Sequence[tuple[float, float]], style: str, tooltip: str = "") -> None:
        """Draw a line through ``points``."""
        steps = " ".join(f"{'L' if index else 'M'}{_short(x)} {_short(y)}" for index, (x, y) in enumerate(points))
        self.add("path", style, tooltip, d=steps)

    def finish(self) -> str:
        """Give the element as text."""
        return ET.tostring(self.root, encoding="unicode")


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def series_style(index: int) -> str:
    """Give the CSS class of a series' colour."""
    return f"s{index % COLOURS}" + (" dashed" if index >= COLOURS else "")


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Give about ``count`` round numbers whose ends enclose ``low`` to ``high``."""
    span = high - low or abs(high) or 1.0
    rough = span / max(count - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def decade_ticks(low: float, high: float) -> list[float]:
    """Give numbers for a logarithmic axis whose ends enclose ``low`` to ``high``: 1, 2, 5 of each decade, or 1."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    start = max((index for index, tick in enumerate(ticks) if tick <= low * 1.000001), default=0)
    end = min((index for index, tick in enumerate(ticks) if tick >= high * 0.999999), default=len(ticks) - 1)
    return ticks[start : max(end, start + 1) + 1]


def tick_label(value: float) -> str:
    """Give an axis' number as short as can be."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
