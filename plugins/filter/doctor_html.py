# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format the doctor's report as an HTML page without scripts and external resources."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ansible_collections.flaskops.production.plugins.filter.doctor_report import format_counts

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #fff; --ink: #1d1d1f; --soft: #63636b; --line: #dedce0;
  --error: #b3201b; --warning: #8a5a00; --note: #2b5ea7; --ok: #1f7a3d; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #141416; --card: #1d1d20; --ink: #ececee; --soft: #a3a3ab; --line: #36363b;
    --error: #ff8a80; --warning: #f2be5c; --note: #8ab8ff; --ok: #75d596; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); }
code { font: .875em/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line); }
th, td { overflow-wrap: break-word; }
th, td { text-align: left; padding: .5rem .75rem; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; font-size: .875rem; }
a { color: inherit; }
.mark { font-weight: 700; white-space: nowrap; }
.error { color: var(--error); } .warning { color: var(--warning); }
.note { color: var(--note); } .ok { color: var(--ok); }
details { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; }
summary { cursor: pointer; padding: .6rem .8rem; }
summary:focus-visible { outline: 2px solid var(--note); }
dl { margin: 0; padding: .25rem .8rem .8rem; display: grid; grid-template-columns: 6rem 1fr; gap: .35rem .75rem; }
dt { color: var(--soft); } dd { margin: 0; }
@media (max-width: 45rem) {
  tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  thead, .blank { display: none !important; }
  td, tbody th { overflow-wrap: anywhere; }
  td, tbody th { display: grid; grid-template-columns: 6rem 1fr; border: 0; padding: .15rem .75rem; }
  td::before, tbody th::before { content: attr(data-label); color: var(--soft); font-weight: 400; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
}
"""

# Browsers load no resources and execute no scripts, not even from file names.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
HEALTH = {"ok": "healthy", "note": "healthy", "warning": "needs care", "error": "broken"}


def format_mark(severity: str, text: str = "") -> str:
    return f'<span class="mark {severity}">{escape(text or severity)}</span>'


def format_cell(label: str, content: str, tag: str = "td") -> str:
    scope = ' scope="row"' if tag == "th" else ""
    return f'<{tag}{scope} data-label="{escape(label)}">{content}</{tag}>'


def format_row(host: str, app: str, result: Mapping) -> str:
    """Return a row of the overview."""
    first = result["findings"][0] if result["findings"] else None
    finding = f"{format_mark(first['severity'])} {escape(first['title'])}" if first else "none"
    name = f'<a href="#{format_anchor(host, app)}">{escape(host)}</a>'
    cells = [
        format_cell("Host", f"<span>{name}</span>", "th"),
        format_cell("Application", f"<span>{escape(app)}</span>"),
        format_cell("Release", f"<code>{escape(result['release'] or '–')}</code>"),
        format_cell("Health", format_mark(result["worst"], HEALTH[result["worst"]])),
        format_cell("Worst", f"<span>{finding}</span>"),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def format_anchor(host: str, app: str) -> str:
    return escape(f"{host}-{app}".replace(" ", "-"))


def format_finding(item: Mapping) -> str:
    """Return a finding as a disclosure element."""
    labels = {"found": "Found", "expected": "Expected", "reason": "Reason", "remedy": "Remedy"}
    listed = "".join(
        f"<dt>{label}</dt><dd>{escape(item[key])}</dd>"
        if key in ("expected", "reason")
        else f"<dt>{label}</dt><dd><code>{escape(item[key])}</code></dd>"
        for key, label in labels.items()
    )
    opened = ' open=""' if item["severity"] == "error" else ""
    summary = f'{format_mark(item["severity"])} {escape(item["title"])} <code class="soft">{escape(item["id"])}</code>'
    return f"<details{opened}><summary>{summary}</summary><dl>{listed}</dl></details>"


def doctor_html(report: Mapping) -> str:
    """Return the HTML page of a report."""
    each = [(host, app, result) for host, apps in report["hosts"].items() for app, result in apps.items()]
    rows = [format_row(*item) for item in each]
    for host, findings in report["unread"].items():
        name, health = (
            format_cell("Host", f"<span>{escape(host)}</span>", "th"),
            format_cell("Health", format_mark("error", "not read")),
        )
        worst = format_cell("Worst", f"<span>{format_mark('error')} {escape(findings[0]['title'])}</span>")
        blank = '<td class="blank"></td>'
        rows.append(f"<tr>{name}{blank * 2}{health}{worst}</tr>")
    sections = []
    for app, findings in report["fleet"].items():
        sections.append(f"<h2>{escape(app)} on all hosts</h2>{''.join(map(format_finding, findings))}")
    for host, findings in report["unread"].items():
        sections.append(f"<h2>{escape(host)}</h2>{''.join(map(format_finding, findings))}")
    for host, app, result in each:
        service = result["service"]
        facts = [result["root"], service["unit"], service["state"], service["user"], service["listen"]]
        known = " · ".join(f"<code>{escape(fact)}</code>" for fact in facts if fact)
        guesses = "".join(f'<p class="soft">Guessed: {escape(guess)}</p>' for guess in result["guesses"])
        found = "".join(map(format_finding, result["findings"])) or f"<p>{format_mark('ok', 'No findings.')}</p>"
        title = f'<h2 id="{format_anchor(host, app)}">{escape(app)} on {escape(host)}</h2>'
        sections.append(f"{title}<p>{known}</p>{guesses}{found}")
    counted = format_counts(report["counts"]) or {"ok": "No findings."}
    counts = " · ".join(format_mark(severity, text) for severity, text in counted.items())
    columns = ("Host", "Application", "Release", "Health", "Worst finding")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>
<title>Doctor's report</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Doctor's report</h1>
<p>{counts}</p>
<p class="soft">{escape(report["time"])}</p>
<h2>Overview</h2>
<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>
{"".join(sections)}
</body>
</html>
"""


class FilterModule:
    """Filter of doctor.yml."""

    def filters(self) -> dict:
        return {"doctor_html": doctor_html}
