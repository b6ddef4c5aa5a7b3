# SPDX-License-Identifier: Apache-2.0
"""The HTML page: complete, escaped, self-contained; and in a real browser."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from anomalib_scdae.benchmark.report import write_report
from anomalib_scdae.benchmark.report.charts import POINTS, accuracy_bars, latency_scatter, loss_curves, thinned_curve
from anomalib_scdae.benchmark.report.over_time import over_time_curves
from anomalib_scdae.benchmark.report.page import assemble
from anomalib_scdae.benchmark.report.pictures import embed
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, parse_results, read_results
from anomalib_scdae.benchmark.report.tables import Table
from tests.benchmark.chromium import Chromium, find_chromium
from tests.benchmark.report_data import METHODS, make_ablation, make_cell, make_results, write

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what the tests ask about, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    write(folder, make_results(folder))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_page_is_well_formed_and_self_contained(page: Page) -> None:
    assert page.open == []
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert not {"iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_style_and_script_load_nothing(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    code = "".join(re.findall(r"<(?:style|script)>.*?</(?:style|script)>", text, re.DOTALL))
    assert not re.search(r"url\(|@import|https?:|fetch\(|import\(|XMLHttpRequest", code)


def test_every_cell_is_shown_with_its_own_figure(page: Page, folder: Path) -> None:
    text = "".join(page.words)
    cells = read_results(folder).cells
    titles = [attributes.get("title") for tag, attributes in page.elements if tag == "th"]
    assert set(cells["id"]) <= set(titles)
    for mean in cells[f"{IMAGE_AUROC}.mean"].dropna():
        assert f"{100 * mean:.1f}" in text


def test_what_comes_from_users_is_text(page: Page) -> None:
    text = "".join(page.words)
    assert "RuntimeError: not enough memory for <script>alert('x')</script> | `code` & more" in text
    assert "SCDAE & <EfficientAD> side by side" in text
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 1
    assert not any(tag == "b" for tag, _ in page.elements)


def test_tables_and_pictures_are_accessible(page: Page) -> None:
    tables = sum(tag == "table" for tag, _ in page.elements)
    assert tables == sum(tag == "caption" for tag, _ in page.elements) > 5
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    # The first seed of five rows on three categories and of four rows on the fourth, four pictures each.
    assert len(pictures) == 4 * 19
    assert all(attributes.get("alt") for attributes in pictures)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_headings_of_groups_stand_above_their_columns(folder: Path) -> None:
    sections = assemble(read_results(folder))["sections"]
    tables = [item for section in sections for item in section["items"] if isinstance(item, Table)]
    assert len(tables) > 5
    for table in tables:
        assert [column for group in table.groups for column in group] == list(table.frame.columns)
        # The page emits one heading for each group but the first, which has a place of its own.
        above = [group[0][0] for group in table.groups[1:] for _ in group]
        assert above == [group for group, _ in table.frame.columns[1:]]


def tooltips(svg: str) -> dict[str, ET.Element]:
    """Give the parts of a drawing by their tooltips."""
    groups = [group for group in ET.fromstring(svg).iter("g") if group.find("title") is not None]
    return {group.findtext("title") or "": group for group in groups}


def abscissae(part: ET.Element) -> list[float]:
    paths = [path.get("d", "") for path in part.iter("path")]
    return [float(x) for path in paths for x in re.findall(r"[ML] (\S+) ", path)]


def test_bars_are_as_long_as_the_figures(folder: Path) -> None:
    results = read_results(folder)
    (charts,) = accuracy_bars(results)
    assert len(charts.drawings) == 1 + 3 + 1
    drawn = tooltips(charts.drawings["SyntheticLOCO: pushpins"])
    bars = {text.split(":")[0]: part for text, part in drawn.items() if "2 seeds)" in text}
    assert len(bars) == 3 * len(METHODS)
    expected = [
        100 * fmean(results.figures(row, f"{IMAGE_AUROC}.{kind}", None, "pushpins"))
        for row in results.rows
        for kind in KINDS
    ]
    names = [f"{row}, {label}" for row in results.rows for label in KINDS.values()]
    lengths = [max(xs) - min(xs) for xs in (abscissae(bars[name]) for name in names)]
    per_point = lengths[0] / (expected[0] - 50)
    assert lengths == pytest.approx([per_point * (value - 50) for value in expected], abs=0.02)
    assert sum("(seed 0), " in text for text in drawn) == len(bars)


def test_bar_over_fewer_categories_is_marked() -> None:
    record = make_results()
    for cell in record["cells"]:
        if (cell["row"], cell["dataset"]) == ("Stfpm", "SyntheticLOCO") and cell["category"] != "pushpins":
            cell["status"] = "pending"
    (charts,) = accuracy_bars(parse_results(Path("nowhere"), record))
    average = next(drawing for title, drawing in charts.drawings.items() if "average of" in title)
    assert len(re.findall(r">[0-9.]+\*</text>", average)) == len(KINDS)
    assert "*</text>" not in charts.drawings["SyntheticLOCO: pushpins"]


def test_rows_whose_colours_come_again_are_drawn_as_the_legend_says() -> None:
    """Dashed from the ninth on."""
    cells = []
    for number in range(10):
        cells.append(make_cell(f"Row {number}", "SCDAE", "SyntheticLOCO", "pushpins", 0))
        points = {"1": 60.0, "end": 100.0}
        cells[-1]["over_time"] = {
            key: {"step": 1, "seconds": seconds, "image_auroc": {"logical_anomalies": 0.5}}
            for key, seconds in points.items()
        }
    (charts,) = over_time_curves(parse_results(Path("nowhere"), {"name": "x", "cells": cells}))
    (drawing,) = charts.drawings.values()
    assert drawing.count("stroke-dasharray") == 2
    lines = {text: ET.tostring(part, "unicode") for text, part in tooltips(drawing).items()}
    assert {text[: len("Row 0")] for text, part in lines.items() if "dasharray" in part} == {"Row 8", "Row 9"}


def test_scatter_has_a_point_for_each_timed_method_in_order(folder: Path) -> None:
    (charts,) = latency_scatter(read_results(folder))
    points = tooltips(next(iter(charts.drawings.values())))
    assert len(points) == len(METHODS)
    shown = {text.split(":")[0]: float(next(part.iter("use")).get("x", "")) for text, part in points.items()}
    assert shown["EfficientAd (mended)"] < shown["SCDAE"] < shown["Stfpm"] < shown["Padim <b>|x|</b>"]


def test_drawings_take_every_colour_and_font_from_the_page(folder: Path) -> None:
    results = read_results(folder)
    for charts in (*accuracy_bars(results), *latency_scatter(results), *loss_curves(results)):
        for drawing in charts.drawings.values():
            assert "var(--ink)" in drawing or "var(--quiet)" in drawing
            assert not re.search(r"#[0-9a-f]{6}|font-family", drawing)
            assert len(list(ET.fromstring(drawing).iter("text"))) > 2


def test_long_curves_are_thinned_and_end_where_the_training_ended(tmp_path: Path) -> None:
    curve = [{"step": step, "loss": 1.0 + 1 / (1 + step)} for step in range(5000)]
    thinned = thinned_curve(curve, "loss")
    assert POINTS / 2 < len(thinned) <= POINTS
    assert thinned.index[-1] > 5000 - 2 * 5000 / POINTS
    record = make_results()
    record["cells"] = record["cells"][:1]
    record["cells"][0]["curve"] = curve
    (charts,) = loss_curves(read_results(write(tmp_path, record)))
    (line,) = tooltips(charts.drawings["SyntheticLOCO: breakfast_box"]).values()
    assert 2 <= len(abscissae(line)) <= POINTS


def test_pictures_stay_within_the_budget(tmp_path: Path) -> None:
    pictures = []
    for index in range(3):
        path = tmp_path / f"{index}.png"
        Image.effect_noise((1400, 300), 80).save(path)
        pictures.append((path.name, path))
    (tmp_path / "3.png").write_text("not a picture")
    pictures.append(("3.png", tmp_path / "3.png"))
    whole = embed(pictures)
    assert set(whole) == {"0.png", "1.png", "2.png"}
    sizes = sum(len(uri) for uri in whole.values())
    smaller = embed(pictures, budget=sizes // 3)
    assert set(smaller) == set(whole)
    assert sum(len(uri) for uri in smaller.values()) <= sizes / 3 * 4 / 3 + 200
    assert embed(pictures, budget=10) == {}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium), or its path in SCDAE_CHROMIUM")
    with Chromium(program, tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


COLUMN = """
(() => {
  const table = document.querySelector('#accuracy table');
  const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains('title'));
  return {
    names: rows.map((row) => row.cells[0].textContent),
    values: rows.map((row) => row.cells[3].dataset.sort).filter((x) => x !== undefined).map(Number),
    sorted: table.querySelectorAll('[aria-sort=ascending], [aria-sort=descending]').length,
    state: table.querySelector('button[data-column="3"]').closest('th').getAttribute('aria-sort'),
    published: [...table.tBodies[1].rows].slice(1).every((row) => row.cells[0].textContent.includes('†')),
  };
})()
"""
BUTTON = "document.querySelector('#accuracy table button[data-column=\"3\"]')"


def test_browser_opens_the_page_without_errors_or_requests(browser: Chromium, folder: Path) -> None:
    address = (folder / "report.html").as_uri()
    browser.open(address, 1280)
    assert browser.evaluate("document.title") == "SCDAE & <EfficientAD> side by side"
    browser.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.evaluate("[...document.images].forEach((image) => { image.loading = 'eager'; })")
    assert (
        browser.evaluate("Promise.all([...document.images].map((i) => i.decode())).then((all) => all.length)") == 4 * 19
    )
    assert browser.complaints() == []
    assert browser.requests() == [address]
    rows = "[...document.querySelectorAll('#cells tbody tr')].map((row) => row.cells[0].title)"
    assert browser.evaluate(rows) == list(read_results(folder).cells["id"])


def test_browser_sorts_by_click_and_by_keyboard(browser: Chromium, folder: Path) -> None:
    browser.open((folder / "report.html").as_uri(), 1280)
    before = browser.evaluate(COLUMN)
    browser.evaluate(f"{BUTTON}.click()")
    down = browser.evaluate(COLUMN)
    assert down["values"] == sorted(before["values"], reverse=True) != before["values"]
    assert (down["state"], down["sorted"]) == ("descending", 1)
    assert down["published"]
    browser.evaluate(f"{BUTTON}.focus()")
    browser.press("Enter")
    up = browser.evaluate(COLUMN)
    assert up["values"] == sorted(before["values"])
    assert (up["state"], up["sorted"]) == ("ascending", 1)
    assert sorted(up["names"]) == sorted(before["names"])
    assert browser.evaluate("document.getElementById('status').textContent") == "Sorted by mean, ascending."
    assert browser.complaints() == []


@pytest.mark.parametrize("layout", ["methods", "ablation", "empty"])
def test_browser_shows_no_horizontal_overflow_on_a_phone(
    browser: Chromium, folder: Path, tmp_path: Path, layout: str
) -> None:
    if layout != "methods":
        folder = write(tmp_path, make_ablation() if layout == "ablation" else {})
        write_report(folder)
    browser.open((folder / "report.html").as_uri(), 375, 812)
    assert browser.evaluate("window.innerWidth") == 375
    browser.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") == 375
    assert browser.evaluate("document.body.scrollWidth") == 375
    assert browser.complaints() == []


CONTRAST = """
(() => {
  const light = (c) => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const shade = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const e of document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, a, li, figcaption, text, th button')) {
    const style = getComputedStyle(e);
    const ink = shade(parse(e.tagName === 'text' ? style.fill : style.color));
    const [high, low] = [ink, shade(ground(e))].sort((a, b) => b - a);
    if ((high + 0.05) / (low + 0.05) < 4.5) poor.push(e.tagName + '.' + e.className + ': ' + e.textContent);
  }
  return poor;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_browser_shows_text_with_enough_contrast(browser: Chromium, folder: Path, dark: bool) -> None:
    """At least 4.5 to 1, the limit of WCAG's level AA for small text."""
    browser.open((folder / "report.html").as_uri(), 1280, dark=dark)
    assert browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    assert browser.evaluate(CONTRAST) == []


def test_browser_enlarges_a_picture(browser: Chromium, folder: Path) -> None:
    browser.open((folder / "report.html").as_uri(), 375, 812)
    browser.evaluate("document.querySelector('#gallery .zoom').click()")
    assert browser.evaluate("document.querySelector('#viewer').open && document.querySelector('#viewer img').alt")
    browser.press("Escape")
    assert browser.evaluate("document.querySelector('#viewer').open") is False
    assert browser.complaints() == []
