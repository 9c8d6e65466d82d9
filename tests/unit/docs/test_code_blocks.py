# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader copies from the documentation works: each block of code is parsed by what it is written for."""

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
# What describes a run or several applications, and what is asked for by a playbook alone.
OF_THE_RUN = {
    "flask_apps",
    "flask_app_hosts",
    "flask_app_serial",
    "flask_app_max_fail_percentage",
    "flask_app_only",
}
ASKED = set(re.findall(r"\b[a-z]+_\w+", "\n".join(path.read_text() for path in ROOT.glob("playbooks/**/*.yml"))))
OURS = re.compile(rf"(?:{'|'.join(generate_docs.ROLES)})_\w+$")
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


def blocks_of(document: Path) -> list[Block]:
    text, found = document.read_text(), []
    for fence in FENCE.finditer(text):
        body = re.sub(rf"^{fence['indent']}", "", fence["text"], flags=re.MULTILINE)
        found.append(Block(document, text[: fence.start()].count("\n") + 1, fence["language"], body))
    return found


BLOCKS = [block for document in sorted(DOCUMENTS) for block in blocks_of(document)]


def blocks(*languages: str):
    return pytest.mark.parametrize(
        "block", [block for block in BLOCKS if block.language in languages], ids=lambda block: block.name
    )


def data(block: Block) -> object:
    return yaml.safe_load(block.text)


def is_tasks(found: object) -> bool:
    return isinstance(found, list) and isinstance(found[0], dict)


def is_playbook(found: object) -> bool:
    return is_tasks(found) and bool({"hosts", "import_playbook", "ansible.builtin.import_playbook"} & set(found[0]))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_every_block_says_what_it_is(block):
    checked = {"yaml", "console", "sh", "python", "ini", "systemd"}
    assert block.language in checked | {"text"}, f"{block.language!r} is checked by no test"


def faults(variables: dict) -> list[str]:
    """What the specifications of the roles say about variables that are written out."""
    plain = {
        name: value for name, value in variables.items() if name in SPEC and "{{" not in json.dumps(value, default=str)
    }
    unknown = [name for name in variables if OURS.match(name) and name not in SPEC and name not in OF_THE_RUN]
    options = {name: {key: value for key, value in SPEC[name].items() if key != "required"} for name in plain}
    wrong = ArgumentSpecValidator(options).validate(plain).error_messages
    return [f"{name} is no variable" for name in unknown] + list(wrong)


def variables_in(found: object):
    """Every mapping in which a variable of the collection is set."""
    if isinstance(found, dict):
        if any(isinstance(name, str) and OURS.match(name) for name in found):
            yield found
        for value in found.values():
            yield from variables_in(value)
    elif isinstance(found, list):
        for value in found:
            yield from variables_in(value)


@blocks("yaml")
def test_variables_are_what_the_specifications_ask_for(block):
    assert [fault for variables in variables_in(data(block)) for fault in faults(variables)] == []


def test_the_check_of_variables_finds_faults():
    assert faults({"release_keep": 3, "flask_apps": [], "release_git_ref": "{{ ref }}"}) == []
    assert len(faults({"release_keep": "some", "release_kept": 3, "venv_installer": "poetry"})) == 3


def needed_by(found: list, place: Path) -> None:
    """Stand-ins for roles and modules of others, so that a block is checked without installing them."""
    for name in re.findall(r"'role': '([^']+)'|'ansible\.builtin\.import_role': \{'name': '([^']+)'", repr(found)):
        role = name[0] or name[1]
        if not role.startswith("flaskops.production."):
            (place / "roles" / role / "tasks").mkdir(parents=True, exist_ok=True)
            (place / "roles" / role / "tasks/main.yml").write_text("[]\n")
    for namespace, name, module in set(re.findall(r"'(community)\.(\w+)\.(\w+)'", repr(found))):
        plugin = place / "ansible_collections" / namespace / name / f"plugins/modules/{module}.py"
        plugin.parent.mkdir(parents=True, exist_ok=True)
        plugin.write_text("")


def syntax_check(place: Path, *playbooks: str) -> subprocess.CompletedProcess:
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
    """All of them in one run of Ansible, because it takes a second to start."""
    names = []
    for block in BLOCKS:
        found = data(block) if block.language == "yaml" else None
        if is_tasks(found):
            needed_by(found, tmp_path)
            plays = found if is_playbook(found) else [{"hosts": "localhost", "tasks": found}]
            for play in plays:
                for name in (play.get("ansible.builtin.import_playbook"), play.get("import_playbook")):
                    if name and name.endswith(".yml"):
                        (tmp_path / name).write_text("- hosts: localhost\n")
            names.append(f"{re.sub('[/:]', '_', block.name)}.yml")
            (tmp_path / names[-1]).write_text(yaml.safe_dump(plays, sort_keys=False))
    done = syntax_check(tmp_path, *names)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^playbook: ", done.stdout, re.MULTILINE)) == len(names) > 15


def test_the_check_of_playbooks_finds_faults(tmp_path):
    (tmp_path / "bad.yml").write_text("- hosts: localhost\n  tasks:\n    - ansible.builtin.copyy: {}\n")
    assert syntax_check(tmp_path, "bad.yml").returncode != 0


def inventories() -> list[Block]:
    def is_inventory(found: object) -> bool:
        return isinstance(found, dict) and all(
            isinstance(group, dict) and bool({"hosts", "children"} & set(group)) for group in found.values()
        )

    return [block for block in BLOCKS if block.language == "yaml" and is_inventory(data(block))]


@pytest.mark.parametrize("block", inventories(), ids=lambda block: block.name)
def test_inventories_have_hosts(block, tmp_path):
    path = tmp_path / "inventory.yml"
    path.write_text(block.text)
    inventory = InventoryManager(loader=DataLoader(), sources=[str(path)])
    assert inventory.get_hosts()
    assert inventory.get_hosts("flask"), "the playbooks would find no host"


def arguments(command: str) -> list[str]:
    """The words of a command, up to what the shell would do next."""
    words = shlex.split(command, comments=True)
    ends = [index for index, word in enumerate(words) if word in ("||", "&&", "|", ";")]
    return words[: ends[0]] if ends else words


def commands_of(text: str) -> list[str]:
    """The commands of a block: what stands after a prompt, or all of it where there is none."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith(("$ ", "# "))] or lines


def extra_variables(given: list[str]) -> dict:
    found: dict = {}
    for text in given:
        if text.startswith("{"):
            found |= json.loads(text)
        elif not text.startswith("@"):
            found |= dict(word.split("=", 1) for word in shlex.split(text))
    return found


def playbook_faults(words: list[str], page: str) -> list[str]:
    """What is wrong with the words of an ansible-playbook command on this page."""
    parser = PlaybookCLI(words)
    parser.init_parser()
    try:
        options = parser.parser.parse_args(words[1:])
    except SystemExit:
        return [f"{shlex.join(words)}: not accepted by ansible-playbook"]
    known = PLAYBOOKS | set(re.findall(r"[\w./-]+\.yml", page)) | {"site.yml"}
    wrong = [f"{name} is no playbook" for name in options.args if name not in known]
    given = extra_variables(options.extra_vars)
    asked = "\n".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    others = [name for name in given if not OURS.match(name) and name not in ASKED]
    wrong += [f"{name} is asked for by nothing" for name in others if name not in asked]
    # What a shell puts in is not known here.
    return wrong + faults(
        {name: value for name, value in given.items() if "$" not in str(value) and "<" not in str(value)}
    )


def shell_faults(script: str, page: str) -> list[str]:
    """What bash says to a script, and what is wrong with the commands of Ansible in it."""
    done = subprocess.run(["bash", "-n"], check=False, input=script, capture_output=True, text=True)
    wrong = done.stderr.splitlines()
    for line in script.splitlines():
        words = arguments(line) if re.match(r"\s*(/\S+/)?(ansible|make)\b", line) else []
        program = Path(words[0]).name if words else ""
        if program == "ansible-playbook":
            wrong += playbook_faults(words, page)
        elif program == "ansible-galaxy":
            GalaxyCLI(words).init_parser()
        elif program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            wrong += [f"make {name}: no target" for name in words[1:] if "=" not in name and name not in targets]
    return wrong


@blocks("console", "sh")
def test_commands_are_what_a_shell_and_ansible_accept(block):
    assert shell_faults("\n".join(commands_of(block.text)), block.page) == []


@pytest.mark.parametrize(
    "command",
    [
        "ansible-playbook flaskops.production.deplo",
        "ansible-playbook flaskops.production.deploy -e release_reff=main",
        "ansible-playbook flaskops.production.deploy -e release_unlock=perhaps",
        "ansible-playbook flaskops.production.deploy --no-such-option",
        "ansible-playbook flaskops.production.deploy -e nobody_asks=1",
        "ansible-playbook flaskops.production.doctor -e doctor_jason=x",
        "make no-such-target",
        "if true",
    ],
)
def test_the_check_of_commands_finds_faults(command, capsys):
    assert shell_faults(command, f"$ {command}\n") != []


@blocks("python")
def test_python_compiles(block):
    ast.parse(block.text)


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(text)
    return parser


@blocks("ini")
def test_settings_are_those_of_ansible(block):
    definitions = ConfigManager().get_configuration_definitions()
    known = {(ini["section"], ini["key"]) for one in definitions.values() for ini in one.get("ini", [])}
    # Settings of plugins.
    known.add(("connection", "pipelining"))
    settings = parsed(block.text)
    assert [(name, key) for name in settings.sections() for key in settings[name] if (name, key) not in known] == []


@needs("systemd-analyze")
@blocks("systemd")
def test_units_are_accepted_by_systemd(block, tmp_path):
    assert parsed(block.text).sections()
    # The program is on the hosts.
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


def pipelines(*needed: str):
    def is_pipeline(block: Block) -> bool:
        found = data(block) if block.language == "yaml" else None
        return isinstance(found, dict) and set(needed) <= set(found)

    found = [block for block in BLOCKS if is_pipeline(block)]
    assert found, f"no pipeline with {needed}"
    return pytest.mark.parametrize("block", found, ids=lambda block: block.name)


@pipelines("jobs")
def test_workflows_of_github(block):
    workflow = data(block)
    # YAML 1.1 reads `on` as true.
    assert {"name", True, "permissions", "jobs"} <= set(workflow)
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", step.get("uses", "actions/checkout@v5"))
            assert set(step) <= {"name", "uses", "with", "run", "env", "working-directory"}
            assert shell_faults(step.get("run", ""), block.page) == []


@pipelines("stages")
def test_pipelines_of_gitlab(block):
    pipeline = data(block)
    jobs = {name: job for name, job in pipeline.items() if name != "stages"}
    for name, job in jobs.items():
        whole = {**jobs.get(job.get("extends"), {}), **job}
        assert whole["image"]
        assert shell_faults("\n".join(whole["before_script"] + whole.get("script", [])), block.page) == []
        if not name.startswith("."):
            assert whole["script"]
            assert whole["stage"] in pipeline["stages"]


@pipelines("collections")
def test_requirements_name_where_a_collection_comes_from(block):
    for collection in data(block)["collections"]:
        assert set(collection) <= {"name", "type", "version", "source"}
        assert collection["type"] == "git"
