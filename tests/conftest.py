# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.utils.collection_loader import AnsibleCollectionConfig

# Ansible finds the plugins of the collection, as in a run; ansible-test has done the same. Ansible's loader cannot load
# a collection that Python's own has begun to load, so it is installed before any test is imported.
if AnsibleCollectionConfig.collection_finder is None:
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([str(Path(__file__).resolve().parents[1] / ".cache/collections")])


def pytest_addoption(parser):
    parser.addoption(
        "--platforms",
        choices=("some", "all"),
        default="some",
        help="run each scenario and target on one platform, or on all of them",
    )


@pytest.fixture(scope="session")
def requires_docker():
    """Skip tests on hosts if Docker does not run."""
    import packages

    if not packages.is_docker_running():
        pytest.skip("Docker does not run")
