# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of adoption_activate."""

from __future__ import annotations

import os

import pytest

from ansible_collections.flaskops.production.plugins.modules import adoption_activate

RUN = {"run": "run-1", "by": "ada", "controller": "ci"}
DEPLOYMENT = {"directory": "/home/ada/shop", "code": "/home/ada/shop", "unit": "web.service"}
SITE = {"path": "/etc/nginx/sites-available/shop.conf", "content": ""}


@pytest.fixture
def run(tmp_path, as_root, run_module):
    return lambda **options: run_module(
        adoption_activate, {"name": "shop", "root": str(tmp_path / "shop"), "run": RUN, **options}
    )


def test_a_recovery_without_an_adoption_changes_nothing(run, tmp_path):
    result = run(only="recover")
    assert (result["changed"], result["recovered"]) == (False, "")
    assert not (tmp_path / "shop").exists()


def test_missing_options_are_named(run):
    assert run(adoption=DEPLOYMENT)["msg"] == "release, site must be given, unless only is 'recover'."


@pytest.mark.parametrize(
    ("adoption", "message"),
    [
        (DEPLOYMENT, "The release v1 is not on this host"),
        ({"directory": "/home/ada/shop"}, "The option adoption is not a result of the module adoption_plan: "),
        (
            {**DEPLOYMENT, "moves": [{"kind": "data"}]},
            "The option adoption is not a result of the module adoption_plan: ",
        ),
        (
            {**DEPLOYMENT, "rewrites": [["/home/ada/shop"]]},
            "The option adoption is not a result of the module adoption_plan: ",
        ),
    ],
)
def test_invalid_options_change_nothing(run, tmp_path, adoption, message):
    result = run(release="v1", adoption=adoption, site=SITE)
    assert result["failed"] and result["msg"].startswith(message)
    assert not os.path.exists(tmp_path / "shop/.deploy/lock")
    assert not os.path.exists(tmp_path / "shop/.deploy/adoption.json")
