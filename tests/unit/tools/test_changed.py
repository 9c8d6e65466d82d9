# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which unit tests a change asks for."""

from __future__ import annotations

import changed
import pytest

MODULES = "tests/unit/plugins/modules"


@pytest.fixture
def tests_for(monkeypatch):
    def select(*files):
        monkeypatch.setattr(changed, "changed_files", lambda _since: set(files))
        return set(changed.unit_tests()[0])

    return select


def test_a_module_asks_for_its_own_tests_and_not_for_those_of_others(tests_for):
    found = tests_for("plugins/modules/symlink_swap.py")
    assert f"{MODULES}/test_symlink_swap.py" in found
    assert f"{MODULES}/test_venv.py" not in found


def test_a_helper_asks_for_the_tests_of_all_that_use_it_however_far_away(tests_for):
    found = tests_for("plugins/module_utils/_symlink.py")
    assert {f"{MODULES}/test_{name}.py" for name in ("symlink_swap", "release_activate", "host_state")} <= found
    assert "tests/unit/plugins/module_utils/test_symlink.py" in found


def test_what_takes_long_is_asked_for_by_what_it_imports_itself(tests_for):
    slow = f"{MODULES}/test_venv.py"
    assert all(slow in tests_for(f"plugins/module_utils/{name}.py") for name in ("_installer", "_dependency_set"))
    assert slow in tests_for(slow)
    assert slow not in tests_for("plugins/module_utils/_symlink.py")


def test_a_test_asks_for_itself(tests_for):
    assert f"{MODULES}/test_tree.py" in tests_for(f"{MODULES}/test_tree.py")


def test_a_role_asks_for_the_tests_of_what_roles_write(tests_for):
    found = tests_for("roles/gunicorn_systemd/templates/etc/systemd/system/app.service.j2")
    assert "tests/unit/roles/test_gunicorn_units.py" in found


def test_what_all_tests_share_asks_for_all_of_them(tests_for):
    everything = {str(path.relative_to(changed.ROOT)) for path in changed.TESTS.rglob("test_*.py")}
    assert tests_for("tests/unit/conftest.py") == tests_for("pyproject.toml") == everything


def test_what_some_tests_share_asks_for_these(tests_for):
    found = tests_for("tests/unit/roles/playing.py")
    assert {name for name in found if not name.startswith("tests/unit/docs/")} == {
        str(path.relative_to(changed.ROOT)) for path in (changed.TESTS / "roles").glob("test_*.py")
    }


def test_the_documents_are_always_read(tests_for):
    assert tests_for() == {name for name in tests_for() if name.startswith("tests/unit/docs/")} != set()


def test_imports_are_found_in_either_form(tmp_path):
    file = tmp_path / "module.py"
    package = "ansible_collections.flaskops.production.plugins"
    first = f"from {package}.module_utils import _record, _releases as releases\n"
    file.write_text(f"{first}from {package}.module_utils._files.walk import (\n    a,\n    b,\n)\n")
    expected = {f"plugins/module_utils/_{name}.py" for name in ("record", "releases", "files/walk")}
    assert changed.imports(file) >= expected
