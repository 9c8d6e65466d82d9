# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import requirements

HASH = "--hash=sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("requirements.txt", "requirements"),
        ("requirements/production.txt", "requirements"),
        ("pyproject.toml", "pyproject.toml"),
        ("/srv/x/pyproject.toml", "pyproject.toml"),
        ("pylock.toml", "pylock.toml"),
        ("locks/pylock.production.toml", "pylock.toml"),
        ("uv.lock", "uv.lock"),
        ("my-pylock.toml", "requirements"),
    ],
)
def test_format_is_detected_from_the_name(name, kind):
    assert requirements.detect_format(name) == kind


@pytest.mark.parametrize("name", ["Flask-SQLAlchemy", "flask_sqlalchemy", "flask.SQLAlchemy", "flask-_.sqlalchemy"])
def test_names_are_normalized_as_in_pep_503(name):
    assert requirements.normalize_name(name) == "flask-sqlalchemy"


def test_continuation_lines_are_joined_and_comments_removed():
    text = "\ufeff# head\nflask==3 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2  # two\n\nx @ https://h/x.whl#sha256=1\n"
    assert [(line.number, line.text.split()) for line in requirements.parse_lines(text)] == [
        (2, ["flask==3", "--hash=sha256:1", "--hash=sha256:2"]),
        (6, ["x", "@", "https://h/x.whl#sha256=1"]),
    ]


def test_comment_ends_a_continued_line():
    assert [line.text for line in requirements.parse_lines("flask \\\n# why\nclick\\")] == ["flask", "click"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-r base.txt", ["base.txt"]),
        ("-rbase.txt", ["base.txt"]),
        ("--requirement=base.txt", ["base.txt"]),
        ("--requirement base.txt # why", ["base.txt"]),
        ("-c 'constraints.txt'", ["constraints.txt"]),
        ("--constraint=../c.txt", ["../c.txt"]),
        ("-r a.txt\n-r a.txt\n-c b.txt", ["a.txt", "b.txt"]),
        ("-r https://example.org/c.txt", []),
        ("-r ${STAGE}.txt", []),
        ("# -r base.txt", []),
        ("--require-hashes", []),
        ("requests", []),
    ],
)
def test_includes_are_found(line, found):
    assert requirements.find_includes(line) == found


@pytest.mark.parametrize(
    ("including", "included", "name"),
    [
        ("requirements.txt", "base.txt", "base.txt"),
        ("requirements/production.txt", "base.txt", "requirements/base.txt"),
        ("requirements/production.txt", "../constraints.txt", "constraints.txt"),
        ("requirements.txt", "/etc/pip/c.txt", "/etc/pip/c.txt"),
    ],
)
def test_include_is_relative_to_its_file(including, included, name):
    assert requirements.resolve_include(including, included) == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Flask", "flask"),
        ("Flask_Login[async]>=3,<4 ; python_version >= '3.11'", "flask-login"),
        ("gunicorn==24.1.1 " + HASH, "gunicorn"),
        ("gunicorn --hash sha256:1", "gunicorn"),
        ("gunicorn @ https://example.org/gunicorn-24.tar.gz", "gunicorn"),
        ("gunicorn[gevent]@https://example.org/x.zip", "gunicorn"),
        ("git+https://example.org/x.git@main#egg=Gunicorn", "gunicorn"),
        ("-e git+ssh://git@example.org/x.git#subdirectory=a&egg=my_lib", "my-lib"),
        ("https://example.org/my_lib-1.0-py3-none-any.whl", "my-lib"),
        ("https://example.org/my-lib-1.0.tar.gz#sha256=1", "my-lib"),
        ("./wheels/my_lib-1.0-py3-none-any.whl", "my-lib"),
        ("wheels/my_lib-1.0.zip", "my-lib"),
        ("git+https://example.org/x.git", None),
        (".", None),
        ("-e .", None),
    ],
)
def test_requirement_names_are_parsed(line, name):
    assert requirements.parse_name(line) == name


def test_complete_hashes_have_no_problems():
    files = {
        "requirements.txt": f"-r more.txt\n-c limits.txt\nflask==3.1.3 \\\n  {HASH}\n",
        "more.txt": f"x @ https://example.org/x.whl {HASH}\ngunicorn==24.1.1 ; os_name == 'posix' {HASH}\n",
        "limits.txt": "click<9\n",
        "pylock.toml": "lock-version = '1.0'",
        "uv.lock": "version = 1",
    }
    assert requirements.check_hashes(files, ["Gunicorn>=24"]) == []


@pytest.mark.parametrize(
    ("name", "text", "packages", "problem"),
    [
        ("requirements.txt", "flask==3\n", [], "requirements.txt, line 1: 'flask==3' has no --hash."),
        ("r.txt", "\nflask>=3 " + HASH, [], "r.txt, line 2: 'flask>=3' is not pinned with ==."),
        ("r.txt", "flask==3.* " + HASH, [], "r.txt, line 1: 'flask==3.*' is not pinned with ==."),
        ("r.txt", "flask " + HASH, [], "r.txt, line 1: 'flask' is not pinned with ==."),
        ("r.txt", "x @ https://me:secret@h/x.whl", [], "r.txt, line 1: 'x @ https://****@h/x.whl' has no --hash."),
        ("r.txt", "-e .", [], "r.txt, line 1: '.' comes from a work tree or a version control system,"),
        ("r.txt", "git+https://h/x.git " + HASH, [], "r.txt, line 1: 'git+https://h/x.git' comes from a work tree"),
        ("pyproject.toml", "", [], "pyproject.toml cannot contain hashes"),
        ("r.txt", "", ["gunicorn>=24"], "The added package 'gunicorn>=24' has no --hash; pin it with its hash in"),
    ],
)
def test_missing_hashes_are_reported(name, text, packages, problem):
    problems = requirements.check_hashes({name: text}, packages)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_file_that_is_included_and_a_constraint_is_checked():
    files = {"a/r.txt": "-r ../b.txt\n-c ../b.txt\n", "b.txt": "flask\n"}
    assert len(requirements.check_hashes(files)) == 1


@pytest.mark.parametrize(
    ("text", "needed"),
    [("flask", False), ("flask==3 " + HASH, True), ("--require-hashes", True), ("# --hash=sha256:1", False)],
)
def test_hash_mode_of_pip_is_detected(text, needed):
    assert requirements.needs_hashes(text) is needed


def test_missing_packages_are_found():
    files = {
        "r.txt": "Flask_Login\n-c limits.txt\n",
        "limits.txt": "gunicorn==26.0\n",
        "pylock.toml": "lock-version = '1.0'\n[[packages]]\nname = 'gevent'\n[[packages.wheels]]\nname = 'six'\n",
        "uv.lock": '[[package]]\nname = "click"\nversion = "8"\n',
    }
    packages = ["flask-login>=1", "gevent", "six", "Click", "gunicorn>=24"]
    assert requirements.find_missing_packages(packages, files) == ["six", "gunicorn>=24"]


@pytest.mark.parametrize(
    ("text", "hidden", "left_out"),
    [
        ("https://me:secret@h/simple", "https://****@h/simple", "https://h/simple"),
        ("x https://token@h/ y", "x https://****@h/ y", "x https://h/ y"),
        ("git+ssh://git@h/x.git@v1", "git+ssh://****@h/x.git@v1", "git+ssh://h/x.git@v1"),
        ("https://h/a@b", "https://h/a@b", "https://h/a@b"),
    ],
)
def test_url_credentials_are_removed_and_masked(text, hidden, left_out):
    assert requirements.mask_user_info(text) == hidden
    assert requirements.remove_user_info(text) == left_out


def test_python_of_one_package_is_not_that_of_the_lock_file():
    package = '[[packages]]\nname = "numpy"\nrequires-python = ">=3.12"\n'
    assert requirements.parse_requires_python(f'lock-version = "1.0"\n{package}') == ""
    assert requirements.parse_requires_python(f'requires-python = ">=3.9"\n{package}') == ">=3.9"
    assert requirements.parse_requires_python("[project]\nrequires-python = '>=3.10'\n") == ">=3.10"
