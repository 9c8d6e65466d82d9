# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of a fleet makes of its figures."""

from __future__ import annotations

from xml.etree import ElementTree

import fleet
import fleet_plot
import fleet_report
import fleet_results
import fleet_sizing
import page
import pytest
from fleet_results import Results, Run
from fleet_sizing import Cost

NET_DEV = """\
Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame |bytes    packets errs drop fifo colls
    lo:     100       1    0    0    0     0      100       1    0    0    0     0
  eth0: 1234567    2905    0    0    0     0    98765    2905    0    0    0     0
"""


def run(scale: float) -> Run:
    return Run(executions=scale, wall=scale, cpu=scale, sent=1000 * scale)


def results(*counts: int, ansistrano: bool = True) -> Results:
    sizes = {}
    for count in counts:
        runs = {"floor": run(1), "first/ours": Run(20, 30, 3, None), "first/stock": Run(60, 40, 3, None)}
        for number, job in enumerate(fleet_results.ROUND, 2):
            runs[f"{job}/ours"] = Run(8, number, 1 + 0.5 * count, 2000)
            runs[f"{job}/stock"] = run(4 * number)
        if ansistrano:
            runs |= {"deploy/ansistrano": run(10), "rollback/ansistrano": run(5)}
        sizes[count] = runs
    return Results("2026-01-01, a machine.", 2, sizes)


def test_the_median_is_taken_of_each_figure():
    runs = [Run(8, 3.0, 1.0, 10), Run(8, 1.0, 3.0, 30), Run(8, 2.0, 2.0, 20)]
    assert fleet_results.median(runs) == Run(8, 2.0, 2.0, 20)


def test_received_bytes_are_those_of_the_network():
    assert fleet.received_bytes(NET_DEV) == 1234567


def test_every_way_begins_a_round_once():
    ways = ["ours", "stock", "ansistrano"]
    orders = [fleet.rotated(ways, number) for number in (1, 2, 3)]
    assert {order[0] for order in orders} == set(ways)
    assert all(sorted(order) == sorted(ways) for order in orders)


def test_the_table_has_each_figure_with_its_ratio_to_the_floor():
    lines = fleet_report.table(results(10).sizes[10]).splitlines()
    assert lines[2] == "| one `ping` | the floor | 1 | 1.0 s | 1.0 s | 1 kB |"
    figures = "8 (8.0 ×) | 2.0 s (2.0 ×) | 6.0 s (6.0 ×) | 2 kB (2.0 ×)"
    assert f"| new release, known dependencies | this collection | {figures} |" in lines
    # What comes from mirrors is not what the controller sends.
    assert "| first run on a bare host | stock modules | 60 (60.0 ×) | 40.0 s (40.0 ×) | 3.0 s (3.0 ×) | – |" in lines


def test_what_was_not_measured_is_said():
    table = fleet_report.table(results(10, ansistrano=False).sizes[10])
    assert table.count("| Ansistrano | not measured |") == 2


def test_verdicts_are_those_of_ten_hosts():
    noop, stock, ansistrano = fleet_report.verdicts(results(1, 10, 20).sizes)
    assert noop.startswith("Whole site, nothing to do, 10 hosts: 4.00 × the time of a play of one `ping`")
    assert noop.endswith(": met.")
    assert "0.25 × the time of stock modules; the aim is 0.4 × at most: met." in stock
    assert "0.20 × the time of Ansistrano; the aim is 0.7 × at most: met." in ansistrano


def test_a_verdict_can_be_a_miss():
    sizes = results(10).sizes
    sizes[10]["noop/ours"] = run(6)
    assert fleet_report.verdicts(sizes)[0].endswith(
        "6.00 × the time of a play of one `ping`; the aim is 5 × at most: **missed**."
    )


def test_without_ten_hosts_or_ansistrano_the_verdicts_say_so():
    *_others, ansistrano = fleet_report.verdicts(results(1, 5, ansistrano=False).sizes)
    assert ansistrano == "New release, known dependencies, 5 hosts: not measured against Ansistrano."


def test_figures_survive_their_file():
    assert Results.read(results(1, 5).text()) == results(1, 5)


@pytest.mark.parametrize("highest", [0.3, 1, 2.4, 9.9, 10, 47, 120, 1000])
def test_a_scale_has_a_few_round_marks_and_holds_the_highest(highest):
    marks = fleet_plot.ticks(highest)
    assert marks[0] == 0
    assert marks[-2] < highest <= marks[-1]
    assert 3 <= len(marks) <= 7


@pytest.mark.parametrize("counts", [(1,), (1, 5, 10, 20)])
def test_the_plot_is_svg_with_a_panel_for_each_job(counts):
    root = ElementTree.fromstring(fleet_plot.svg(results(*counts).sizes))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {fleet_results.capital(fleet_results.JOBS[job]) for job in fleet_results.ROUND} <= set(texts)
    assert {"this collection", "stock modules", "Ansistrano", "one ping"} <= set(texts)
    _left, _top, width, height = map(float, root.get("viewBox").split())
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.get("cx")) <= width
        assert 0 <= float(circle.get("cy")) <= height


def test_a_way_that_was_not_measured_is_not_in_the_plot():
    assert "Ansistrano" not in fleet_plot.svg(results(1, 5, ansistrano=False).sizes)


def test_many_hosts_are_bound_by_the_processors():
    cost = Cost(start=1, cpu=0.5, own=4, processors=2)
    assert cost.wall(1000, forks=100) == 1 + 1000 * 0.5 / 2
    assert cost.wall(1000, forks=1000) == cost.wall(1000, forks=100)


def test_few_forks_are_bound_by_the_hosts():
    cost = Cost(start=1, cpu=0.5, own=4, processors=2)
    assert cost.wall(100, forks=5) == 1 + 20 * 4


def test_forks_are_of_use_until_the_processors_are_busy():
    cost = Cost(start=1, cpu=0.5, own=4, processors=2)
    assert cost.forks() == 16
    assert cost.wall(160, forks=16) == 1 + 160 * 0.5 / 2
    assert cost.wall(160, forks=15) > cost.wall(160, forks=16)


def test_costs_are_fitted_to_the_figures():
    cost = fleet_sizing.cost("deploy", results(1, 5, 10))
    assert cost.start == pytest.approx(1)
    assert cost.cpu == pytest.approx(0.5)
    assert cost.own == pytest.approx(2 - 1)


def test_one_batch_is_a_deploy_and_more_take_longer():
    whole, last = Cost(1, 0.5, 4, 2), Cost(1, 0.2, 2, 2)
    at_once = fleet_sizing.in_batches(whole, last, hosts=100, forks=50, batch=100)
    assert at_once == whole.wall(100, 50)
    assert fleet_sizing.in_batches(whole, last, hosts=100, forks=50, batch=1) == pytest.approx(at_once - 10 + 100 * 2)


@pytest.mark.parametrize(("seconds", "said"), [(8.4, "8 s"), (300, "5 min"), (9000, "2.5 h")])
def test_durations_are_said_as_people_do(seconds, said):
    assert fleet_sizing.duration(seconds) == said


def test_the_sizing_page_has_every_size_and_the_machine():
    text = fleet_sizing.sizing(results(1, 5, 10))
    assert "2026-01-01, a machine." in text
    for hosts in ("10", "100", "1,000"):
        assert f"\n| {hosts} |" in text


def test_new_text_replaces_what_is_between_its_markers():
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    assert page.between(text, "x", "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="x:begin"):
        page.between("nothing", "x", "new")


@pytest.mark.parametrize(("path", "name"), [(fleet.README, "fleet"), (fleet.SIZING, "sizing")])
def test_the_pages_have_a_place_for_what_is_written(path, name):
    assert "new" in page.between(path.read_text(), name, "new")
