"""Draw terminal output as an SVG that follows the reader's light or dark theme."""

from __future__ import annotations

import re
from html import escape

SIZE, LEADING, MARGIN = 13, 19, 18
# The width of a monospace character. The text is stretched to it in all fonts.
ADVANCE = SIZE * 0.6
# The first pattern that matches a line decides its colour.
KINDS = {
    "prompt": re.compile(r"\$ "),
    "faint": re.compile(r"…|$"),
    "title": re.compile(r"(PLAY|TASK)\b"),
    "error": re.compile(r"\[ERROR\]|  File |    raise |fatal: |.*\bfailed=[1-9]"),
    "change": re.compile(r"changed: |.*\bchanged=[1-9]"),
}
STYLE = """
    text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre; }
    rect { fill: #f6f8fa; stroke: #d0d7de; }
    .plain { fill: #24292f; } .prompt, .title { fill: #24292f; font-weight: 600; } .faint { fill: #6e7781; }
    .error { fill: #b3261e; } .change { fill: #8a5a00; }
    @media (prefers-color-scheme: dark) {
      rect { fill: #161b22; stroke: #3d444d; }
      .plain { fill: #d1d7e0; } .prompt, .title { fill: #f0f6fc; } .faint { fill: #9198a1; }
      .error { fill: #ff8f88; } .change { fill: #e3b341; }
    }
"""


def classify_line(line: str) -> str:
    return next((kind for kind, pattern in KINDS.items() if pattern.match(line)), "plain")


def draw_terminal(title: str, text: str) -> str:
    """Return the SVG of a recording."""
    lines = text.splitlines()
    width = round(max(map(len, lines)) * ADVANCE + 2 * MARGIN)
    height = round(len(lines) * LEADING + 2 * MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">',
        f'  <title id="title">{escape(title)}</title>',
        f"  <style>{STYLE}  </style>",
        f'  <rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
    ]
    for number, line in enumerate(lines):
        if line:
            y = MARGIN + number * LEADING + SIZE
            place = f'x="{MARGIN}" y="{y}" textLength="{len(line) * ADVANCE:.1f}" lengthAdjust="spacingAndGlyphs"'
            parts.append(f'  <text class="{classify_line(line)}" {place}>{escape(line, quote=False)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
