# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluation of the fleet benchmark's figures."""

from __future__ import annotations

from xml.etree import ElementTree

import fleet
import fleet_plot
import fleet_report
import fleet_results
import fleet_sizing
import page
import pytest
from fleet_results import FleetResults, Measurement
from fleet_sizing import Cost

NET_DEV = """\
Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame |bytes    packets errs drop fifo colls
    lo:     100       1    0    0    0     0      100       1    0    0    0     0
  eth0: 1234567    2905    0    0    0     0    98765    2905    0    0    0     0
"""


def make_run(scale: float) -> Measurement:
    return Measurement(executions=scale, wall=scale, cpu=scale, sent=1000 * scale)


def make_results(*counts: int, ansistrano: bool = True) -> FleetResults:
    sizes = {}
    for count in counts:
        runs = {
            "floor": make_run(1),
            "first/ours": Measurement(20, 30, 3, None),
            "first/stock": Measurement(60, 40, 3, None),
        }
        for number, job in enumerate(fleet_results.ROUND, 2):
            runs[f"{job}/ours"] = Measurement(8, number, 1 + 0.5 * count, 2000)
            runs[f"{job}/stock"] = make_run(4 * number)
        if ansistrano:
            runs |= {"deploy/ansistrano": make_run(10), "rollback/ansistrano": make_run(5)}
        sizes[count] = runs
    return FleetResults("2026-01-01, a machine.", 2, sizes)


def test_median_applies_to_each_figure():
    runs = [Measurement(8, 3.0, 1.0, 10), Measurement(8, 1.0, 3.0, 30), Measurement(8, 2.0, 2.0, 20)]
    assert fleet_results.compute_median(runs) == Measurement(8, 2.0, 2.0, 20)


def test_received_bytes_exclude_the_loopback_interface():
    assert fleet.parse_received_bytes(NET_DEV) == 1234567


def test_each_method_is_first_in_one_round():
    ways = ["ours", "stock", "ansistrano"]
    orders = [fleet.rotate(ways, number) for number in (1, 2, 3)]
    assert {order[0] for order in orders} == set(ways)
    assert all(sorted(order) == sorted(ways) for order in orders)


def test_table_has_figures_and_ratios_to_the_floor():
    lines = fleet_report.tabulate_runs(make_results(10).sizes[10]).splitlines()
    assert lines[2] == "| one `ping` | the floor | 1 | 1.0 s | 1.0 s | 1 kB |"
    figures = "8 (8.0 ×) | 2.0 s (2.0 ×) | 6.0 s (6.0 ×) | 2 kB (2.0 ×)"
    assert f"| new release, known dependencies | this collection | {figures} |" in lines
    # Downloads from mirrors are not sent by the controller.
    assert "| first run on a bare host | stock modules | 60 (60.0 ×) | 40.0 s (40.0 ×) | 3.0 s (3.0 ×) | – |" in lines


def test_missing_figures_are_marked():
    table = fleet_report.tabulate_runs(make_results(10, ansistrano=False).sizes[10])
    assert table.count("| Ansistrano | not measured |") == 2


def test_verdicts_use_the_fleet_of_ten_hosts():
    noop, stock, ansistrano = fleet_report.format_verdicts(make_results(1, 10, 20).sizes)
    assert noop.startswith("Whole site, nothing to do, 10 hosts: 4.00 × the time of a play of one `ping`")
    assert noop.endswith(": met.")
    assert "0.25 × the time of stock modules; the aim is 0.4 × at most: met." in stock
    assert "0.20 × the time of Ansistrano; the aim is 0.7 × at most: met." in ansistrano


def test_missed_aim_is_marked():
    sizes = make_results(10).sizes
    sizes[10]["noop/ours"] = make_run(6)
    assert fleet_report.format_verdicts(sizes)[0].endswith(
        "6.00 × the time of a play of one `ping`; the aim is 5 × at most: **missed**."
    )


def test_verdicts_without_ten_hosts_or_ansistrano():
    *_others, ansistrano = fleet_report.format_verdicts(make_results(1, 5, ansistrano=False).sizes)
    assert ansistrano == "New release, known dependencies, 5 hosts: not measured against Ansistrano."


def test_figures_can_be_written_and_read():
    assert FleetResults.read(make_results(1, 5).text()) == make_results(1, 5)


@pytest.mark.parametrize("highest", [0.3, 1, 2.4, 9.9, 10, 47, 120, 1000])
def test_scales_have_few_ticks_and_include_the_highest_value(highest):
    marks = fleet_plot.compute_ticks(highest)
    assert marks[0] == 0
    assert marks[-2] < highest <= marks[-1]
    assert 3 <= len(marks) <= 7


@pytest.mark.parametrize("counts", [(1,), (1, 5, 10, 20)])
def test_plot_has_a_panel_for_each_job(counts):
    root = ElementTree.fromstring(fleet_plot.draw_plot(make_results(*counts).sizes))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {fleet_results.capitalize(fleet_results.JOBS[job]) for job in fleet_results.ROUND} <= set(texts)
    assert {"this collection", "stock modules", "Ansistrano", "one ping"} <= set(texts)
    _left, _top, width, height = map(float, root.get("viewBox").split())
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.get("cx")) <= width
        assert 0 <= float(circle.get("cy")) <= height


def test_plot_omits_methods_without_figures():
    assert "Ansistrano" not in fleet_plot.draw_plot(make_results(1, 5, ansistrano=False).sizes)


def test_processors_limit_many_hosts():
    cost = Cost(start=1, cpu=0.5, own=4, processors=2)
    assert cost.wall(1000, forks=100) == 1 + 1000 * 0.5 / 2
    assert cost.wall(1000, forks=1000) == cost.wall(1000, forks=100)


def test_hosts_limit_few_forks():
    cost = Cost(start=1, cpu=0.5, own=4, processors=2)
    assert cost.wall(100, forks=5) == 1 + 20 * 4


def test_useful_forks_keep_the_processors_busy():
    cost = Cost(start=1, cpu=0.5, own=4, processors=2)
    assert cost.forks() == 16
    assert cost.wall(160, forks=16) == 1 + 160 * 0.5 / 2
    assert cost.wall(160, forks=15) > cost.wall(160, forks=16)


def test_costs_are_fitted_to_the_figures():
    cost = fleet_sizing.estimate_cost("deploy", make_results(1, 5, 10))
    assert cost.start == pytest.approx(1)
    assert cost.cpu == pytest.approx(0.5)
    assert cost.own == pytest.approx(2 - 1)


def test_more_batches_take_longer():
    whole, last = Cost(1, 0.5, 4, 2), Cost(1, 0.2, 2, 2)
    at_once = fleet_sizing.estimate_batches(whole, last, hosts=100, forks=50, batch=100)
    assert at_once == whole.wall(100, 50)
    assert fleet_sizing.estimate_batches(whole, last, hosts=100, forks=50, batch=1) == pytest.approx(
        at_once - 10 + 100 * 2
    )


@pytest.mark.parametrize(("seconds", "expected"), [(8.4, "8 s"), (300, "5 min"), (9000, "2.5 h")])
def test_durations_have_readable_units(seconds, expected):
    assert fleet_sizing.format_duration(seconds) == expected


def test_sizing_page_has_all_sizes_and_the_machine():
    text = fleet_sizing.format_sizing(make_results(1, 5, 10))
    assert "2026-01-01, a machine." in text
    for hosts in ("10", "100", "1,000"):
        assert f"\n| {hosts} |" in text


def test_section_between_markers_is_replaced():
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    assert page.replace_section(text, "x", "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="x:begin"):
        page.replace_section("nothing", "x", "new")


@pytest.mark.parametrize(("path", "name"), [(fleet.README, "fleet"), (fleet.SIZING, "sizing")])
def test_pages_have_markers_for_their_sections(path, name):
    assert "new" in page.replace_section(path.read_text(), name, "new")
