# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format the doctor's report for a terminal."""

from __future__ import annotations

from collections.abc import Mapping


def format_findings(findings: list[Mapping]) -> list[str]:
    """Return the lines of findings."""
    lines = []
    for item in findings:
        lines.append(f"  {item['severity'].upper()} {item['id']}: {item['title']}.")
        lines.append(f"    found: {item['found']}")
        lines.append(f"    expected: {item['expected']}")
        lines.append(f"    reason: {item['reason']}")
        lines.append(f"    remedy: {item['remedy']}")
    return lines


def doctor_text(report: Mapping) -> list[str]:
    """Return the lines of the report: findings by host and application, then those of the fleet."""
    lines = []
    for host, apps in report["hosts"].items():
        for app, result in apps.items():
            state = "healthy" if result["worst"] in ("ok", "note") else result["worst"]
            lines.append(f"{host}: {app} ({result['root']}, {result['release'] or 'no release'}): {state}")
            lines += [f"  guessed: {guess}" for guess in result["guesses"]]
            lines += format_findings(result["findings"])
    for host, findings in report["unread"].items():
        lines += [f"{host}:", *format_findings(findings)]
    for app, findings in report["fleet"].items():
        lines += [f"{app} on all hosts:", *format_findings(findings)]
    return [*lines, f"Found: {report['summary']}."]


class FilterModule:
    """Filter of doctor.yml."""

    def filters(self) -> dict:
        return {"doctor_text": doctor_text}
