# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code blocks of the documentation are accepted by the programs for which they are written."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import generate_docs
import pytest
import yaml
from ansible.cli.galaxy import GalaxyCLI
from ansible.cli.playbook import PlaybookCLI
from ansible.config.manager import ConfigManager
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader

from ansible_collections.flaskops.production.tests.unit.programs import needs

ROOT = generate_docs.ROOT
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("roles/*/README.md"),
    *ROOT.glob("examples/*/README.md"),
]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
SPEC = {
    name: option
    for role in generate_docs.ROLES
    for name, option in generate_docs.read_argument_spec(role)["options"].items()
}
# Variables of plays, and variables that only playbooks use.
PLAY_VARIABLES = {
    "flask_apps",
    "flask_app_hosts",
    "flask_app_serial",
    "flask_app_max_fail_percentage",
    "flask_app_only",
}
PLAYBOOK_VARIABLES = set(
    re.findall(r"\b[a-z]+_\w+", "\n".join(path.read_text() for path in ROOT.glob("playbooks/**/*.yml")))
)
COLLECTION_VARIABLE = re.compile(rf"(?:{'|'.join(generate_docs.ROLES)})_\w+$")
PLAYBOOKS = {f"flaskops.production.{path.stem}" for path in ROOT.glob("playbooks/*.yml")}


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def page(self) -> str:
        return self.document.read_text()


def find_blocks(document: Path) -> list[Block]:
    text, found = document.read_text(), []
    for fence in FENCE.finditer(text):
        body = re.sub(rf"^{fence['indent']}", "", fence["text"], flags=re.MULTILINE)
        found.append(Block(document, text[: fence.start()].count("\n") + 1, fence["language"], body))
    return found


BLOCKS = [block for document in sorted(DOCUMENTS) for block in find_blocks(document)]


def parametrize_blocks(*languages: str):
    return pytest.mark.parametrize(
        "block", [block for block in BLOCKS if block.language in languages], ids=lambda block: block.name
    )


def load_yaml(block: Block) -> object:
    return yaml.safe_load(block.text)


def is_tasks(found: object) -> bool:
    return isinstance(found, list) and isinstance(found[0], dict)


def is_playbook(found: object) -> bool:
    return is_tasks(found) and bool({"hosts", "import_playbook", "ansible.builtin.import_playbook"} & set(found[0]))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_blocks_have_a_language_that_is_checked(block):
    checked = {"yaml", "console", "sh", "python", "ini", "systemd"}
    assert block.language in checked | {"text"}, f"{block.language!r} is checked by no test"


def find_variable_errors(variables: dict) -> list[str]:
    """Validate variables with literal values against the specifications of the roles. Return the errors."""
    plain = {
        name: value for name, value in variables.items() if name in SPEC and "{{" not in json.dumps(value, default=str)
    }
    unknown = [
        name
        for name in variables
        if COLLECTION_VARIABLE.match(name) and name not in SPEC and name not in PLAY_VARIABLES
    ]
    options = {name: {key: value for key, value in SPEC[name].items() if key != "required"} for name in plain}
    wrong = ArgumentSpecValidator(options).validate(plain).error_messages
    return [f"{name} is not a variable" for name in unknown] + list(wrong)


def find_variables(found: object):
    """Yield all mappings that set a variable of the collection."""
    if isinstance(found, dict):
        if any(isinstance(name, str) and COLLECTION_VARIABLE.match(name) for name in found):
            yield found
        for value in found.values():
            yield from find_variables(value)
    elif isinstance(found, list):
        for value in found:
            yield from find_variables(value)


@parametrize_blocks("yaml")
def test_variables_match_the_specifications(block):
    assert [fault for variables in find_variables(load_yaml(block)) for fault in find_variable_errors(variables)] == []


def test_invalid_variables_are_found():
    assert find_variable_errors({"release_keep": 3, "flask_apps": [], "release_git_ref": "{{ ref }}"}) == []
    assert len(find_variable_errors({"release_keep": "some", "release_kept": 3, "venv_installer": "poetry"})) == 3


def create_missing_content(found: list, place: Path) -> None:
    """Create empty roles and modules of other collections, so that a block is checked without installing them."""
    for name in re.findall(r"'role': '([^']+)'|'ansible\.builtin\.import_role': \{'name': '([^']+)'", repr(found)):
        role = name[0] or name[1]
        if not role.startswith("flaskops.production."):
            (place / "roles" / role / "tasks").mkdir(parents=True, exist_ok=True)
            (place / "roles" / role / "tasks/main.yml").write_text("[]\n")
    for namespace, name, module in set(re.findall(r"'(community)\.(\w+)\.(\w+)'", repr(found))):
        plugin = place / "ansible_collections" / namespace / name / f"plugins/modules/{module}.py"
        plugin.parent.mkdir(parents=True, exist_ok=True)
        plugin.write_text("")


def check_syntax(place: Path, *playbooks: str) -> subprocess.CompletedProcess:
    collection = place / "ansible_collections/flaskops/production"
    collection.parent.mkdir(parents=True, exist_ok=True)
    if not collection.exists():
        collection.symlink_to(ROOT)
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(place),
        "ANSIBLE_HOME": str(place / "home"),
        "ANSIBLE_NOCOLOR": "true",
        "COLUMNS": "1000",
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "--syntax-check", *playbooks]
    return subprocess.run(command, check=False, cwd=place, env=environment, capture_output=True, text=True)


def test_playbooks_and_tasks_are_accepted_by_ansible(tmp_path):
    """All blocks are checked in one run of Ansible, because its start takes a second."""
    names = []
    for block in BLOCKS:
        found = load_yaml(block) if block.language == "yaml" else None
        if is_tasks(found):
            create_missing_content(found, tmp_path)
            plays = found if is_playbook(found) else [{"hosts": "localhost", "tasks": found}]
            for play in plays:
                for name in (play.get("ansible.builtin.import_playbook"), play.get("import_playbook")):
                    if name and name.endswith(".yml"):
                        (tmp_path / name).write_text("- hosts: localhost\n")
            names.append(f"{re.sub('[/:]', '_', block.name)}.yml")
            (tmp_path / names[-1]).write_text(yaml.safe_dump(plays, sort_keys=False))
    done = check_syntax(tmp_path, *names)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^playbook: ", done.stdout, re.MULTILINE)) == len(names) > 15


def test_invalid_playbooks_are_found(tmp_path):
    (tmp_path / "bad.yml").write_text("- hosts: localhost\n  tasks:\n    - ansible.builtin.copyy: {}\n")
    assert check_syntax(tmp_path, "bad.yml").returncode != 0


def find_inventories() -> list[Block]:
    def is_inventory(found: object) -> bool:
        return isinstance(found, dict) and all(
            isinstance(group, dict) and bool({"hosts", "children"} & set(group)) for group in found.values()
        )

    return [block for block in BLOCKS if block.language == "yaml" and is_inventory(load_yaml(block))]


@pytest.mark.parametrize("block", find_inventories(), ids=lambda block: block.name)
def test_inventories_have_hosts(block, tmp_path):
    path = tmp_path / "inventory.yml"
    path.write_text(block.text)
    inventory = InventoryManager(loader=DataLoader(), sources=[str(path)])
    assert inventory.get_hosts()
    assert inventory.get_hosts("flask"), "the playbooks would find no host"


def split_command(command: str) -> list[str]:
    """Split a command into words, up to the next shell operator."""
    words = shlex.split(command, comments=True)
    ends = [index for index, word in enumerate(words) if word in ("||", "&&", "|", ";")]
    return words[: ends[0]] if ends else words


def extract_commands(text: str) -> list[str]:
    """Return the commands of a block: lines after a prompt, or all lines if there is no prompt."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith(("$ ", "# "))] or lines


def parse_extra_variables(given: list[str]) -> dict:
    found: dict = {}
    for text in given:
        if text.startswith("{"):
            found |= json.loads(text)
        elif not text.startswith("@"):
            found |= dict(word.split("=", 1) for word in shlex.split(text))
    return found


def find_playbook_errors(words: list[str], page: str) -> list[str]:
    """Return the errors in an ansible-playbook command of this page."""
    parser = PlaybookCLI(words)
    parser.init_parser()
    try:
        options = parser.parser.parse_args(words[1:])
    except SystemExit:
        return [f"{shlex.join(words)}: not accepted by ansible-playbook"]
    known = PLAYBOOKS | set(re.findall(r"[\w./-]+\.yml", page)) | {"site.yml"}
    wrong = [f"{name} is not a playbook" for name in options.args if name not in known]
    given = parse_extra_variables(options.extra_vars)
    asked = "\n".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    others = [name for name in given if not COLLECTION_VARIABLE.match(name) and name not in PLAYBOOK_VARIABLES]
    wrong += [f"{name} is not used by a playbook" for name in others if name not in asked]
    # Values that the shell expands are unknown here.
    return wrong + find_variable_errors(
        {name: value for name, value in given.items() if "$" not in str(value) and "<" not in str(value)}
    )


def find_shell_errors(script: str, page: str) -> list[str]:
    """Return syntax errors of a shell script, and errors in its Ansible commands."""
    done = subprocess.run(["bash", "-n"], check=False, input=script, capture_output=True, text=True)
    wrong = done.stderr.splitlines()
    for line in script.splitlines():
        words = split_command(line) if re.match(r"\s*(/\S+/)?(ansible|make)\b", line) else []
        program = Path(words[0]).name if words else ""
        if program == "ansible-playbook":
            wrong += find_playbook_errors(words, page)
        elif program == "ansible-galaxy":
            GalaxyCLI(words).init_parser()
        elif program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            wrong += [f"make {name}: no target" for name in words[1:] if "=" not in name and name not in targets]
    return wrong


@parametrize_blocks("console", "sh")
def test_commands_are_valid(block):
    assert find_shell_errors("\n".join(extract_commands(block.text)), block.page) == []


@pytest.mark.parametrize(
    "command",
    [
        "ansible-playbook flaskops.production.deplo",
        "ansible-playbook flaskops.production.deploy -e release_reff=main",
        "ansible-playbook flaskops.production.deploy -e release_unlock=perhaps",
        "ansible-playbook flaskops.production.deploy --no-such-option",
        "ansible-playbook flaskops.production.deploy -e unknown_variable=1",
        "ansible-playbook flaskops.production.doctor -e doctor_jason=x",
        "make no-such-target",
        "if true",
    ],
)
def test_invalid_commands_are_found(command, capsys):
    assert find_shell_errors(command, f"$ {command}\n") != []


@parametrize_blocks("python")
def test_python_compiles(block):
    ast.parse(block.text)


def parse_ini(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(text)
    return parser


@parametrize_blocks("ini")
def test_settings_of_ansible_exist(block):
    definitions = ConfigManager().get_configuration_definitions()
    known = {(ini["section"], ini["key"]) for one in definitions.values() for ini in one.get("ini", [])}
    # Settings of plugins.
    known.add(("connection", "pipelining"))
    settings = parse_ini(block.text)
    assert [(name, key) for name in settings.sections() for key in settings[name] if (name, key) not in known] == []


@needs("systemd-analyze")
@parametrize_blocks("systemd")
def test_units_are_accepted_by_systemd(block, tmp_path):
    assert parse_ini(block.text).sections()
    # The program exists on the hosts only.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", block.text, flags=re.MULTILINE)
    unit = tmp_path / "block.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
        check=False,
        capture_output=True,
        text=True,
    )
    assert [line for line in done.stderr.splitlines() if "block.service" in line] == []


def parametrize_pipelines(*needed: str):
    def is_pipeline(block: Block) -> bool:
        found = load_yaml(block) if block.language == "yaml" else None
        return isinstance(found, dict) and set(needed) <= set(found)

    found = [block for block in BLOCKS if is_pipeline(block)]
    assert found, f"no pipeline with {needed}"
    return pytest.mark.parametrize("block", found, ids=lambda block: block.name)


@parametrize_pipelines("jobs")
def test_github_workflows_are_valid(block):
    workflow = load_yaml(block)
    # YAML 1.1 reads `on` as true.
    assert {"name", True, "permissions", "jobs"} <= set(workflow)
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", step.get("uses", "actions/checkout@v5"))
            assert set(step) <= {"name", "uses", "with", "run", "env", "working-directory"}
            assert find_shell_errors(step.get("run", ""), block.page) == []


@parametrize_pipelines("stages")
def test_gitlab_pipelines_are_valid(block):
    pipeline = load_yaml(block)
    jobs = {name: job for name, job in pipeline.items() if name != "stages"}
    for name, job in jobs.items():
        whole = {**jobs.get(job.get("extends"), {}), **job}
        assert whole["image"]
        assert find_shell_errors("\n".join(whole["before_script"] + whole.get("script", [])), block.page) == []
        if not name.startswith("."):
            assert whole["script"]
            assert whole["stage"] in pipeline["stages"]


@parametrize_pipelines("collections")
def test_requirements_name_a_git_source(block):
    for collection in load_yaml(block)["collections"]:
        assert set(collection) <= {"name", "type", "version", "source"}
        assert collection["type"] == "git"
