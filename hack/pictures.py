#!/usr/bin/env python3
"""Draws the panels of the dashboard of what e2e/monitoring/ranges.py found in a run of the lab: a file for every row.

    hack/pictures.py target/pictures/ranges.json docs/pictures

The same findings are the same pictures, to the byte.
"""

import json
import pathlib
import re
import sys
from html import escape

# All in pixels.
PANEL, GAP, PLOT, LEFT, LINE, MARGIN = 304, 22, 130, 52, 15, 16
SHEET = 3 * PANEL + 2 * GAP
# The first ones are told apart by whoever sees fewer colours, too (Okabe and Ito).
COLOURS = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#444444", "#7b3294", "#b2182b", "#1b7837", "#999999",
]
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#222}.title{font-size:13px;font-weight:600}.axis{fill:#666;font-size:10px}"
    ".number{font-size:30px;font-weight:600}.grid{stroke:#e4e4e4}.mark{stroke:#888;stroke-dasharray:2 3}"
    ".line{fill:none;stroke-width:1.5;stroke-linejoin:round}"
)


def short(value):
    """A number without the zeros that say nothing."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def shown(value, unit):
    if unit == "percentunit":
        return f"{short(value * 100)} %"
    if unit == "bytes":
        return f"{short(value / 2**20)} MiB"
    if unit == "pps":
        return f"{short(value)}/s"
    if unit == "s" and value:
        return f"{short(value * 1000)} ms" if value < 1 else f"{short(value)} s"
    return short(value)


def ceiling(most, unit):
    """The end of an axis that has four parts: a round number above everything."""
    if most <= 0:
        return 4.0 if unit == "short" else 1.0
    scale = 2.0**20 if unit == "bytes" else 1.0
    part, size = most / scale / 4, 1.0
    while size > part:
        size /= 10
    while size * 10 <= part:
        size *= 10
    if unit == "short":
        size = max(size, 1.0)
    steps = [size * step for step in (1, 2, 2.5, 3, 4, 5, 6, 8, 10)]
    return next(4 * scale * step for step in steps if step >= part and not (unit == "short" and step % 1))


class Sheet:
    """A picture that grows downwards."""

    def __init__(self):
        self.parts = []

    def text(self, x, y, words, kind="", anchor="start"):
        name = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}"{name} text-anchor="{anchor}">{escape(words)}</text>')

    def stroke(self, x1, y1, x2, y2, kind, colour=None):
        colour = f' stroke="{colour}"' if colour else ""
        self.parts.append(f'<path class="{kind}"{colour} d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')

    def curve(self, points, colour):
        """A gap of more than two seconds is a gap; a point on a line between its neighbours is left out."""
        path, before = [], None
        for at, (second, x, y) in enumerate(points):
            if before is None or second - before > 2:
                path.append(f"M{x:.1f} {y:.1f}")
            elif not (0 < at < len(points) - 1 and points[at - 1][2] == y == points[at + 1][2] and points[at + 1][0] - second <= 2):
                path.append(f"L{x:.1f} {y:.1f}")
            before = second
        self.parts.append(f'<path class="line" stroke="{colour}" d="{"".join(path)}"/>')

    def written(self, height):
        wide, high = SHEET + 2 * MARGIN, round(height) + 2 * MARGIN
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} {-MARGIN} {wide} {high}" width="{wide}" height="{high}">'
        ground = f'<style>{STYLE}</style><rect x="{-MARGIN}" y="{-MARGIN}" width="{wide}" height="{high}" fill="#fff"/>'
        return "\n".join([head, ground, *self.parts, "</svg>"]) + "\n"


def plot(sheet, panel, run, x, y, left, height, parts=4):
    """The lines of a panel between its axes; the names of those that are not always nothing, and how many are."""
    lines = [line for line in panel["lines"] if any(value for _, value in line["points"])]
    nothing = len(panel["lines"]) - len(lines)
    # Where nothing ever happened, that is what there is to see.
    drawn = lines or panel["lines"][:1]
    top = ceiling(max((value for line in drawn for _, value in line["points"]), default=0), panel["unit"])
    wide = PANEL - left
    for part in range(parts + 1):
        level = y + height - height * part / parts
        sheet.stroke(x + left, level, x + PANEL, level, "grid")
        sheet.text(x + left - 5, level + 4, shown(top * part / parts, panel["unit"]), "axis", "end")
    for minute in range(run["seconds"] // 60 + 1):
        sheet.text(x + left + wide * minute * 60 / run["seconds"], y + height + 13, f"{minute} min" if minute else "0", "axis", "middle")
    for at, (second, _) in enumerate(run["marks"]):
        place = x + left + wide * second / run["seconds"]
        sheet.stroke(place, y, place, y + height, "mark")
        sheet.text(place, y - 3, chr(ord("a") + at), "axis", "middle")
    for at, line in enumerate(drawn):
        points = [(second, x + left + wide * second / run["seconds"], y + height - height * value / top) for second, value in line["points"]]
        sheet.curve(points, COLOURS[at % len(COLOURS)])
    return drawn, nothing if lines else 0


def legend(sheet, names, more, x, y):
    """Names beside their colours, as many a line as fit; where the next thing may stand."""
    place = x
    for at, name in enumerate(names + ([f"{more} more, always 0"] if more else [])):
        wide = 24 + 6.2 * len(name)
        if place > x and place + wide > x + PANEL:
            place, y = x, y + LINE
        if at < len(names):
            sheet.stroke(place, y - 4, place + 10, y - 4, "line", COLOURS[at % len(COLOURS)])
        sheet.text(place + (14 if at < len(names) else 0), y, name)
        place += wide
    return y + LINE


def numbers(sheet, row, run, y):
    """Tiles: a number as it was in the end, and how it came to be."""
    lowest = y
    for at, panel in enumerate(row["panels"]):
        x, top = at % 3 * (PANEL + GAP), y + at // 3 * 110
        sheet.text(x, top + 14, panel["title"], "title")
        drawn, _ = plot(sheet, panel, run, x, top + 32, 90, 45, parts=1)
        points = drawn[0]["points"] if drawn else []
        sheet.text(x, top + 68, shown(points[-1][1], panel["unit"]) if points else "–", "number")
        lowest = max(lowest, top + 110)
    return lowest


def curves(sheet, row, run, y):
    for first in range(0, len(row["panels"]), 3):
        lowest = y
        for at, panel in enumerate(row["panels"][first:first + 3]):
            x = at * (PANEL + GAP)
            sheet.text(x, y + 14, panel["title"], "title")
            drawn, nothing = plot(sheet, panel, run, x, y + 36, LEFT, PLOT)
            lowest = max(lowest, legend(sheet, [line["name"] for line in drawn], nothing, x, y + 36 + PLOT + 32))
        y = lowest + 12
    return y


def main(findings, folder):
    run = json.loads(pathlib.Path(findings).read_text(encoding="utf-8"))
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for row in run["rows"]:
        sheet = Sheet()
        draw = numbers if row["panels"][0]["kind"] == "stat" else curves
        y = draw(sheet, row, run, 0)
        for at, (_, words) in enumerate(run["marks"]):
            sheet.text(at % 2 * SHEET / 2, y + 12 + at // 2 * LINE, f"{chr(ord('a') + at)}: {words}")
        y += 12 + -(-len(run["marks"]) // 2) * LINE
        name = re.sub(r"\W+", "-", row["title"].lower())
        (folder / f"{name}.svg").write_text(sheet.written(y), encoding="utf-8")


main(*sys.argv[1:])
