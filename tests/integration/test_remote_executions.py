# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the number of remote executions of each run, as defined in benchmarks/README.md."""

from __future__ import annotations

import json
import random
import re

import pytest

pytestmark = pytest.mark.xdist_group("site")

PROBE = [
    {"name": "Command", "ansible.builtin.command": "true"},
    {"name": "Commands", "ansible.builtin.command": "true", "loop": [1, 2]},
    {"name": "Script", "ansible.builtin.script": "probe.sh"},
    {"name": "Controller", "ansible.builtin.command": "true", "delegate_to": "localhost"},
    {"name": "Message", "ansible.builtin.debug": {"msg": "Nothing remote"}},
]


def test_counter_counts_only_remote_executions(count, tmp_path):
    (tmp_path / "probe.sh").write_text("true\n")
    (tmp_path / "probe.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": PROBE}]))
    counts = count(str(tmp_path / "probe.yml"))
    assert counts["Command (exec_command)"] == 1
    assert counts["Commands (exec_command)"] == 2
    assert counts["Script (put_file)"] == 1
    # Creating the directory, making the script executable, running it, and removing the directory.
    assert counts["Script (exec_command)"] >= 4
    assert {task.split()[0] for task in counts} == {"Command", "Commands", "Script"}


def test_unchanged_site_takes_one_execution(count, converged):
    assert sum(count("site").values()) == 1


def test_a_site_that_is_right_ends_after_the_comparison(site, converged):
    """A task costs the controller about as much whether it runs or is skipped, for each host."""
    tasks = re.findall(r"^TASK \[(.*)\]", site.play("site").output, re.MULTILINE)
    assert len(tasks) <= 16, "\n".join(tasks)
    assert any("Compare the host with its description" in task for task in tasks)
    assert any("Report the live releases" in task for task in tasks)


def test_live_release_takes_two_executions(count, converged):
    assert sum(count("deploy").values()) <= 2


def change(site, text):
    template = site.repository.path / "demo/templates/index.html"
    template.write_text(template.read_text().replace("</body>", f"<p>{text}</p></body>") + "\n")


def test_new_release_with_known_dependencies(site, count, converged):
    change(site, "Changed")
    site.repository.commit()
    counts = count("deploy")
    assert any("Activate the release after its health check" in task for task in counts), "Nothing was activated."
    # One of them ends the rollout: it releases the deploy lock and reads the live release.
    assert sum(counts.values()) <= 5


def test_new_release_too_large_for_the_module(site, count, converged):
    change(site, "Changed, with a film")
    (site.repository.path / "demo/film.bin").write_bytes(random.Random(1).randbytes(3 * 1024**2))
    site.repository.commit()
    counts = count("deploy")
    assert any("put_file" in task for task in counts), "The archive was not sent as a file."
    assert sum(counts.values()) <= 9


def test_rollback_to_the_previous_release(count, converged):
    counts = count("rollback")
    assert any("Activate the release after its health check" in task for task in counts), "Nothing was activated."
    assert sum(counts.values()) <= 3


def test_doctor(count, converged):
    assert sum(count("doctor").values()) == 1
