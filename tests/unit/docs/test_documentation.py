# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation matches the roles, playbooks and examples."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import generate_docs
import pytest
import yaml

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.names import RESULT_VARIABLES

ROOT = generate_docs.ROOT
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("examples/**/*.md")]
)
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/site.yml"))
REPOSITORY = "https://github.com/flaskops/production"
# Links to files of the repository, relative or as URLs.
LINK = re.compile(rf"\]\((?={REPOSITORY}/(?:blob|tree)/main/|(?![a-z]+:))([^)#\s]*)(?:#([^)\s]*))?\)")
# Variables of playbooks and hooks.
OTHER_VARIABLES = {
    "flask_apps",
    "flask_app_hosts",
    "flask_app_serial",
    "flask_app_max_fail_percentage",
    "flask_app_only",
}


def read_options(role: str) -> dict:
    return generate_docs.read_argument_spec(role)["options"]


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text()) or {}


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_all_roles_are_documented():
    assert sorted(generate_docs.ROLES) == ROLES


@pytest.mark.parametrize("document", generate_docs.list_documents(), ids=relative_name)
def test_tables_are_up_to_date(document):
    text = document.read_text()
    assert ":begin" in text, "the document has no place for a table"
    assert generate_docs.generate_document(document) == text, "run: python3 tools/generate_docs.py"


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_of_the_specification(role):
    defaults = read_yaml(ROOT / "roles" / role / "defaults/main.yml")
    specified = {key: option["default"] for key, option in read_options(role).items() if "default" in option}
    if role == "flask_app":
        assert "undef(" in defaults.pop("flask_app_name")
        assert set(read_options(role)) - set(specified) == {"flask_app_name", "flask_app_env"}
    else:
        assert set(specified) == set(read_options(role))
    assert defaults == specified
    types = {key: type(value) for key, value in defaults.items()}
    assert types == {key: type(value) for key, value in specified.items()}


@pytest.mark.parametrize("role", ROLES)
def test_variables_have_the_prefix_of_their_role(role):
    assert [key for key in read_options(role) if not key.startswith(f"{role}_")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_name)
def test_variables_in_the_text_exist(document):
    known = (
        OTHER_VARIABLES
        | RESULT_VARIABLES
        | {key for role in ROLES for key in read_options(role)}
        | {key for role in ROLES for key in read_yaml(ROOT / "roles" / role / "vars/main.yml")}
    )
    words = re.findall(rf"\b(?:{'|'.join(ROLES)})_[a-z0-9_]+", document.read_text())
    assert sorted(set(words) - known - modules()) == []


def modules() -> set[str]:
    return {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_name)
def test_names_in_the_collection_exist(document):
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    words = re.findall(r"\bflaskops\.production\.([a-z_]+)", document.read_text())
    assert sorted(set(words) - playbooks - set(ROLES) - modules()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_name)
def test_tests_named_in_the_text_exist(document):
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(set(re.findall(r"`(test_\w+\.py)`", document.read_text())) - tests) == []


def test_scenarios_and_targets_in_the_security_page_exist():
    text = (ROOT / "docs/security.md").read_text()
    for words, pattern in (
        ("scenarios?", "molecule/*/molecule.yml"),
        ("targets?", "tests/integration/targets/*/tasks"),
    ):
        named = re.findall(rf"\b{words} ((?:`\w+`(?:, | and )?)+)", text)
        there = {path.parent.name for path in ROOT.glob(pattern)}
        assert named and {name for names in named for name in re.findall(r"`(\w+)`", names)} <= there


@pytest.mark.parametrize("page", ["README.md", "docs/playbooks.md"])
def test_all_playbooks_are_listed(page):
    text = (ROOT / page).read_text()
    playbooks = [path.stem for path in (ROOT / "playbooks").glob("*.yml")]
    assert [playbook for playbook in playbooks if f"| `flaskops.production.{playbook}` |" not in text] == []


def test_all_settings_are_listed_by_task():
    text = (ROOT / "docs/settings.md").read_text()
    assert [key for role in ROLES for key in read_options(role) if f"| `{key}` |" not in text] == []


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_name)
def test_links_are_not_broken(document):
    missing = []
    for target, fragment in LINK.findall(document.read_text()):
        within = re.sub(rf"{REPOSITORY}/(blob|tree)/main/", "", target)
        path = ROOT / within if within != target else document.parent / target if target else document
        if not path.exists() or (fragment and fragment not in list_anchors(path)):
            missing.append(f"{target}#{fragment}" if fragment else target)
    assert missing == []


def list_anchors(document: Path) -> list[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return [re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_name)
def test_yaml_in_the_text_parses(document):
    for block in re.findall(r"```yaml\n(.*?)```", document.read_text(), re.DOTALL):
        assert yaml.safe_load(block)


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/*.yml")), ids=relative_name)
def test_examples_parse(path):
    assert read_yaml(path)


@pytest.mark.parametrize("variables", sorted(ROOT.glob("examples/*/group_vars/*.yml")), ids=relative_name)
def test_examples_set_variables_that_exist(variables):
    known = {key for role in ROLES for key in read_options(role)} | OTHER_VARIABLES
    assert sorted(set(read_yaml(variables)) - known) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=relative_name)
def test_examples_are_playbooks(example, tmp_path):
    collection = tmp_path / "ansible_collections/flaskops/production"
    collection.parent.mkdir(parents=True)
    collection.symlink_to(ROOT)
    environment = os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "ANSIBLE_HOME": str(tmp_path / "home")}
    command = ["ansible-playbook", "-i", "inventory.yml", "--syntax-check", "site.yml"]
    done = subprocess.run(command, check=False, cwd=example, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "playbook: site.yml" in done.stdout


def test_examples_are_complete():
    assert [path.name for path in EXAMPLES] == ["existing-repo", "fleet", "quickstart"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Set O(venv_installer=uv).", "Set `venv_installer: uv`."),
        ("O(flaskops.production.flask_app#role:flask_app_user)", "`flask_app_user`"),
        (r"C(f(\)) and V(a|b)", r"`f()` and `a\|b`"),
        ("P(flaskops.production.venv#role)", "[venv](../venv/README.md)"),
        ("M(ansible.builtin.apt)", "`ansible.builtin.apt`"),
        ("B(before) a\n  line ends", "**before** a line ends"),
    ],
)
def test_markup_is_converted_to_markdown(text, expected):
    assert generate_docs.format_markdown(text, ROOT / "roles/release/README.md") == expected
