"""One self-contained HTML page: text, tables, SVG plots and images; it sends no request.

page = Page("First model")
page.section("Scores", table(("class", "IoU"), [("grasper", 0.9)]))
page.write(Path("report.html"))
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import write_atomic
from trocar.contract.media.pictures import encode_picture

_STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #5b6675; --line: #dde2e8; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  color: var(--ink); background: #fff; }
header, main, footer { max-width: 1060px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 36px; }
h1 { font-size: 28px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 40px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 15px; margin: 20px 0 6px; }
p.lead { color: var(--soft); margin: 0 0 12px; }
nav a { color: var(--accent); text-decoration: none; margin-right: 14px; white-space: nowrap; }
table { border-collapse: collapse; margin: 8px 0 16px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; padding-left: 14px; padding-right: 14px; }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; }
table.wide { font-size: 13px; }
table.wide th, table.wide td { padding-right: 6px; }
table.wide td.n, table.wide th.n { padding-left: 6px; }
.columns { display: flex; flex-wrap: wrap; column-gap: 44px; align-items: flex-start; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; min-width: 132px; }
.tile b { display: block; font-size: 22px; font-weight: 650; }
.tile span { color: var(--soft); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 20px;
  align-items: start; }
.plots svg { max-width: 100%; height: auto; }
figure { margin: 0 0 18px; break-inside: avoid; }
figure img { max-width: 100%; border-radius: 4px; display: block; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 4px; }
pre { background: #f5f7f9; border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px;
  font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }
.warn { border-left: 4px solid #d55e00; padding: 6px 14px; background: #fff7f0; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; border: 1px solid #0003; }
footer { color: var(--soft); font-size: 13px; margin-top: 40px; padding-bottom: 32px; }
@page { margin: 14mm; }
@media print {
  nav { display: none; }
  body { font-size: 12px; }
  header, main, footer { padding: 0; }
  h2, h3 { break-after: avoid; }
  tr, pre, .tiles, .plots > div { break-inside: avoid; }
  table.short { break-inside: avoid; }
  .plots { grid-template-columns: 1fr 1fr; }
  .swatch { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


class Page:
    """Collects sections in order and writes them to one file.

    Args:
        title: Heading of the page.
        lead: One line under it.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self._title = title
        self._lead = lead
        self._sections: list[tuple[str, str]] = []

    def section(self, title: str, *blocks: str) -> None:
        """Adds a section of HTML blocks; empty blocks are left out."""
        body = "\n".join(block for block in blocks if block)
        if body:
            self._sections.append((title, body))

    def html(self) -> str:
        """The page as HTML text."""
        links = " ".join(
            f'<a href="#s{i}">{escape(title)}</a>' for i, (title, _) in enumerate(self._sections)
        )
        body = "\n".join(
            f'<section id="s{i}"><h2>{escape(title)}</h2>\n{content}</section>'
            for i, (title, content) in enumerate(self._sections)
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            # No request may leave the page: not even a favicon.
            '<link rel="icon" href="data:,">'
            f"<title>{escape(self._title)}</title><style>{_STYLE}</style></head>\n"
            f"<body><header><h1>{escape(self._title)}</h1>"
            f'<p class="lead">{escape(self._lead)}</p><nav>{links}</nav></header>\n'
            f"<main>{body}</main>\n"
            "<footer>Written by Trocar. For research use only; not a medical device.</footer>"
            "</body></html>\n"
        )

    def write(self, path: Path) -> None:
        """Writes the page under a temporary name, then renames it."""
        write_atomic(path, self.html().encode())


def escape(text: object) -> str:
    """Text made safe for HTML."""
    return html.escape(str(text))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; numbers are right-aligned, floats have four digits after the point.

    In print a short table stays on one page. In a wide table column names may wrap.
    """
    body = []
    numeric = [False] * len(head)
    for row in rows:
        cells = []
        for i, value in enumerate(row):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            numeric[i] = numeric[i] or number
            text = number_text(value) if isinstance(value, (int, float)) else escape(value)
            cells.append(f'<td class="n">{text}</td>' if number else f"<td>{text}</td>")
        body.append("<tr>" + "".join(cells) + "</tr>")
    names = [escape(name).replace("_", "_<wbr>") for name in head]
    top = "".join(
        f'<th class="n">{name}</th>' if n else f"<th>{name}</th>"
        for name, n in zip(names, numeric, strict=True)
    )
    kinds = {"wide": len(head) > 8, "short": len(body) <= 24}
    classes = f' class="{" ".join(kind for kind, applies in kinds.items() if applies)}"'
    return f"<table{classes}><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def columns(head: Sequence[str], rows: Sequence[Sequence[object]], *, count: int = 3) -> str:
    """Splits a long table into ``count`` tables side by side."""
    length = max(-(-len(rows) // count), 1)
    parts = [table(head, rows[i : i + length]) for i in range(0, len(rows), length)]
    return f'<div class="columns">{"".join(parts)}</div>' if rows else ""


def number_text(value: float) -> str:
    """A number as tables print it; NaN is a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u2009")
    if value != value:
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """A row of large figures: ``(figure, what it is)``."""
    html_text = "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(name)}</span></div>'
        for figure, name in values
    )
    return f'<div class="tiles">{html_text}</div>' if html_text else ""


def plots(*svgs: str) -> str:
    """Plots side by side."""
    return '<div class="plots">' + "".join(f"<div>{svg}</div>" for svg in svgs if svg) + "</div>"


def figure(image: NDArray[np.uint8], caption: str, *, width: int = 960) -> str:
    """An image as JPEG inside the page.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        caption: Text below it.
        width: Largest width in pixels; a larger image is shrunk.
    """
    if image.shape[1] > width:
        height = round(image.shape[0] * width / image.shape[1])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    text = base64.b64encode(encode_picture(image, ".jpg", quality=82)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{text}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def code(text: str) -> str:
    """Preformatted text."""
    return f"<pre>{escape(text)}</pre>"


def swatch(colour: tuple[int, int, int]) -> str:
    """A small square of a class's colour."""
    r, g, b = colour
    return f'<span class="swatch" style="background: rgb({r},{g},{b})"></span>'
