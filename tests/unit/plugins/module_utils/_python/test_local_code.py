# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import local_code

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIRECTORIES = (".", "libs", "libs/one", "lib two", "app", "app/libs", "app/libs/own", "src", "src/my_shop")


def is_directory(path):
    return path in DIRECTORIES


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("flask>=3", None),
        ("flask", None),
        ("flask[async]>=3 ; python_version < '4'", None),
        ("flask @ https://example.org/flask.whl", None),
        ("git+https://example.org/x.git", None),
        ("-e git+https://example.org/x.git@main#egg=x", None),
        ("x @ git+ssh://git@example.org/x.git", None),
        ("https://example.org/x/y.tar.gz", None),
        (".", "."),
        ("..", ".."),
        ("./", "./"),
        (".[pg,async]", "."),
        ("-e .", "."),
        ("-e.", "."),
        ("-e '.[pg]'", "."),
        ("--editable .", "."),
        ("--editable=./libs/one", "./libs/one"),
        ("-e ./libs/one[extra]", "./libs/one"),
        ("-e libs", "libs"),
        ("libs/one", "libs/one"),
        ("libs/one#egg=one", "libs/one"),
        ("/srv/app/lib", "/srv/app/lib"),
        ("./wheels/x-1-py3-none-any.whl ; python_version > '3'", "./wheels/x-1-py3-none-any.whl"),
        ("x-1-py3-none-any.whl --hash=sha256:aa", "x-1-py3-none-any.whl"),
        ("./libs/one ; python_version >= '3.8'", "./libs/one"),
        ("x @ file:///srv/wheels/x.whl", "/srv/wheels/x.whl"),
        ("x @ file:./x.whl", "./x.whl"),
        ("x[a] @ file:libs/one", "libs/one"),
        ("x @ ./libs/one", "./libs/one"),
        ("file://localhost/srv/x.whl", "/srv/x.whl"),
        ("file:lib%20two#egg=two", "lib two"),
        ("-e file:libs#egg=one&subdirectory=one", "libs/one"),
    ],
)
def test_local_paths_are_recognized(line, path):
    found = local_code.parse_local_requirement(line)
    assert (found.path if found else None) == path


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        ("-e .", "/copy"),
        (".[pg]", "/copy[pg]"),
        ("--editable=libs/one", "/copy/libs/one"),
        ("-e libs", "/copy/libs"),
        ("./libs/one ; python_version >= '3.8'", "/copy/libs/one ; python_version >= '3.8'"),
        ("x[a] @ file:libs/one ; os_name == 'posix'", "x[a] @ file:///copy/libs/one ; os_name == 'posix'"),
        ("-e file:libs#egg=one[b]&subdirectory=one", "one[b] @ file:///copy/libs/one"),
        ("x @ file:lib%20two", "x @ file:///copy/lib%20two"),
        ("./libs/own", "/copy/app/libs/own"),
        ("flask>=3 --hash=sha256:aa", "flask>=3 --hash=sha256:aa"),
        ("./wheels/x-1-py3-none-any.whl", "./wheels/x-1-py3-none-any.whl"),
        ("-r other.txt", "-r other.txt"),
        ("--index-url https://example.org/simple", "--index-url https://example.org/simple"),
    ],
)
def test_directories_are_taken_from_the_copy(line, rewritten):
    rewrite = local_code.rewrite_requirements
    assert rewrite(line, "app/requirements.txt", is_directory, "/copy") == (rewritten + "\n", [])
    separate = [rewritten] if rewritten != line else []
    kept = "" if separate else rewritten + "\n"
    assert rewrite(line, "app/requirements.txt", is_directory, "/copy", separate=True) == (kept, separate)


PROJECT = '[project]\nname = "My.Shop"\n[build-system]\nrequires = []\n'
UV_LOCK = '[[package]]\nname = "my-shop"\nversion = "1"\nsource = { editable = "." }\n'


@pytest.mark.parametrize(
    ("name", "text", "installer", "expected"),
    [
        ("requirements.txt", "flask\n\n-e .\nlibs/one\n./missing\n", "pip", [(3, "."), (4, "libs/one")]),
        ("app/requirements.txt", "./libs\n./libs/own\n", "pip", [(1, "libs"), (2, "app/libs/own")]),
        ("pylock.toml", '[[packages]]\ndirectory = { path = ".", editable = true }\n', "uv", [(2, ".")]),
        ("pylock.toml", "[[packages]]\ndirectory={editable=true,path='libs/one'}\n", "uv", [(2, "libs/one")]),
        ("app/pylock.dev.toml", "[packages.directory]\npath = 'libs/own'\n", "uv", [(2, "app/libs/own")]),
        ("pylock.toml", "[packages.archive]\npath = 'x.zip'\n", "uv", []),
        ("uv.lock", 'source = { registry = "https://pypi.org/simple" }\n', "uv", []),
        ("uv.lock", 'source = { editable = "libs/one" }\n', "uv", [(1, "libs/one")]),
        ("uv.lock", 'source = { directory = "../libs" }\n', "uv", [(1, "../libs")]),
        ("app/uv.lock", 'source = { directory = "../libs" }\n', "uv", [(1, "libs")]),
        ("uv.lock", 'source = { virtual = "." }\n', "uv", []),
        ("uv.lock", UV_LOCK, "uv", [(4, ".")]),
        ("uv.lock", UV_LOCK.replace("my-shop", "other"), "uv", []),
        ("pyproject.toml", PROJECT, "pip", [(1, ".")]),
        ("pyproject.toml", PROJECT.replace("My.Shop", "other"), "pip", []),
        ("pyproject.toml", PROJECT.partition("[build")[0], "pip", []),
        ("app/pyproject.toml", PROJECT, "pip", []),
        ("pyproject.toml", 'dependencies = ["one @ file:libs/one"]\n', "pip", [(1, "libs/one")]),
        ("pyproject.toml", "[tool.uv.sources]\none = { path = 'libs/one' }\n", "uv", [(2, "libs/one")]),
        ("pyproject.toml", "[tool.uv.sources]\none.path = 'libs/one'\n", "uv", [(2, "libs/one")]),
        ("pyproject.toml", "[tool.uv.sources.one]\nworkspace = true\n", "uv", [(2, ".")]),
        ("pyproject.toml", "[tool.uv.sources]\none = { path = 'one-1.tar.gz' }\n", "uv", []),
        ("pyproject.toml", "[tool.uv.sources]\none = { path = 'libs/one' }\n", "pip", []),
    ],
)
def test_directories_are_found(name, text, installer, expected):
    found = local_code.find_directories(name, text, is_directory, installer)
    assert [(item.line, item.path) for item in found] == expected


@pytest.mark.parametrize(
    ("name", "text", "moving"),
    [
        ("requirements.txt", "flask\nflask==3\n-r base.txt\n", False),
        ("requirements.txt", "x @ git+https://example.org/x.git", True),
        ("requirements.txt", "-e git+https://example.org/x.git@main#egg=x", True),
        ("requirements.txt", "git+ssh://git@example.org/x.git@v1.0", True),
        ("requirements.txt", "x @ hg+https://example.org/x", True),
        ("requirements.txt", f"x @ git+https://example.org/x.git@{COMMIT}", False),
        ("requirements.txt", f"git+ssh://git@example.org/x.git@{COMMIT}#egg=x&subdirectory=y", False),
        ("requirements.txt", f"git+https://example.org/x.git@{COMMIT[:12]}", True),
        ("requirements.txt", "# git+https://example.org/x.git", False),
        ("requirements.txt", "-r https://example.org/base.txt", True),
        ("requirements.txt", "--constraint=https://example.org/base.txt", True),
        ("requirements.txt", "-r ${BASE}/base.txt", True),
        ("requirements.txt", "--index-url https://${TOKEN}@example.org/simple", False),
        ("pyproject.toml", "dependencies = ['x @ git+https://example.org/x.git', 'y']", True),
        ("pyproject.toml", f"dependencies = ['x @ git+https://example.org/x.git@{COMMIT}']", False),
        ("pyproject.toml", "[tool.uv.sources]\nx = { git = 'https://example.org/x.git', branch = 'main' }", True),
        ("pyproject.toml", f"[tool.uv.sources]\nx = {{ git = 'https://h/x.git', rev = '{COMMIT}' }}", False),
        ("uv.lock", f'source = {{ git = "https://example.org/x.git?branch=main#{COMMIT}" }}', False),
    ],
)
def test_references_that_move_are_found(name, text, moving):
    assert bool(local_code.find_moving_references([(name, text)], [], "uv")) == moving


def test_branch_of_an_added_package_is_found():
    assert local_code.find_moving_references([], ["x @ git+https://example.org/x.git", "y"]) == [
        "git+https://example.org/x.git"
    ]
