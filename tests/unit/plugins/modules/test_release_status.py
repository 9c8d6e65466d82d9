# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.modules import release_status
from ansible_collections.flaskops.production.plugins.modules.release_status import rollout


def entry(run, before, release, time="2026-04-21T12:00:00Z"):
    return {"run": run, "before": before, "release": release, "time": time, "action": "deploy", "by": "ada"}


@pytest.mark.parametrize(
    ("activations", "expected"),
    [
        ([], {}),
        ([entry("1", None, "v1")], {"run": "1", "before": ""}),
        ([entry("1", None, "v1"), entry("2", "v1", "v2")], {"run": "2", "before": "v1"}),
        # An adoption and the first deploy are one run.
        ([entry("1", None, "v1"), entry("2", "v1", "v2"), entry("2", "v2", "v3")], {"run": "2", "before": "v1"}),
    ],
)
def test_the_last_rollout_is_told_with_what_was_live_before_it(activations, expected):
    found = rollout(activations)
    assert {key: found[key] for key in expected} == expected
    assert bool(found) == bool(activations)


def test_the_time_is_that_of_its_last_activation():
    log = [entry("1", None, "v1", "2026-04-21T12:00:00Z"), entry("1", "v1", "v2", "2026-04-21T12:00:09Z")]
    assert rollout(log)["time"] == "2026-04-21T12:00:09Z"


def test_what_can_not_be_read_is_a_sentence(tmp_path, run_module):
    log = tmp_path / ".deploy/activations.log"
    log.mkdir(parents=True)
    told = run_module(release_status, {"name": "myapp", "root": str(tmp_path)})
    assert told["msg"] == f"{log}: Is a directory."
