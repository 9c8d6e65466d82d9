# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import find_external_code


@pytest.mark.parametrize(
    ("name", "text", "package"),
    [
        ("__editable__.shop-1.0.pth", "/srv/app/releases/r1/src\n", "shop"),
        (
            "__editable___shop_1_0_finder.py",
            "MAPPING: dict[str, str] = {'shop': '/srv/app/releases/r1/shop'}\n",
            "shop",
        ),
        ("shop.egg-link", "/srv/app/releases/r1\n.", "shop"),
        ("easy-install.pth", "/srv/app/releases/r1\n", "easy-install"),
        ("_shop.pth", "/srv/app/releases/r1/src", "_shop"),
        ("distutils-precedence.pth", "import os; os.environ.get('x')\n", None),
        ("__editable__.shop-1.0.pth", "{venv}/src/shop\n", None),
        ("shop.py", "PATH = '/srv/app'\n", None),
    ],
)
def test_code_outside_of_a_venv_is_found(tmp_path, name, text, package):
    packages = tmp_path / "venv/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (packages / name).write_text(text.format(venv=tmp_path / "venv") if "{venv}" in text else text)
    found = find_external_code(str(tmp_path / "venv"))
    assert found == package or package and package in (found or "")
