# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's report for a terminal."""

from __future__ import annotations

from collections.abc import Mapping


def told(findings: list[Mapping]) -> list[str]:
    """The lines of findings, the worst first."""
    lines = []
    for item in findings:
        lines.append(f"  {item['severity'].upper()} {item['id']}: {item['title']}.")
        lines.append(f"    seen: {item['seen']}")
        lines.append(f"    expected: {item['expected']}")
        lines.append(f"    why: {item['why']}")
        lines.append(f"    remedy: {item['mend']}")
    return lines


def doctor_text(report: Mapping) -> list[str]:
    """The lines of the report: each host and application with what is wrong, then what is wrong with the fleet."""
    lines = []
    for host, apps in report["hosts"].items():
        for app, result in apps.items():
            state = "healthy" if result["worst"] in ("ok", "note") else result["worst"]
            lines.append(f"{host}: {app} ({result['root']}, {result['release'] or 'no release'}): {state}")
            lines += [f"  guessed: {guess}" for guess in result["guesses"]]
            lines += told(result["findings"])
    for host, findings in report["unread"].items():
        lines += [f"{host}:", *told(findings)]
    for app, findings in report["fleet"].items():
        lines += [f"{app} on all hosts:", *told(findings)]
    return [*lines, f"Found: {report['summary']}."]


class FilterModule:
    """The filter for doctor.yml."""

    def filters(self) -> dict:
        return {"doctor_text": doctor_text}
