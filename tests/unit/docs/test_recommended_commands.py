# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All commands that messages recommend are run by a test.

The commands are collected from the code. A test must run a new command in the state in which it is recommended.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import KINDS
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import create_finding

COLLECTION = Path(__file__).parents[3]
KINDS_DIRECTORY = COLLECTION / "plugins/module_utils/_doctor/kinds"
DOCTOR = COLLECTION / "molecule/doctor"
PROGRAMS = (
    *("ansible-galaxy", "ansible-inventory", "ansible-playbook", "ansible-vault", "apt", "apt-get", "certbot", "chgrp"),
    *("chmod", "chown", "cp", "dmesg", "docker", "du", "findmnt", "git", "groupadd", "install", "journalctl", "kill"),
    *("ln", "mkdir", "mount", "mv", "namei", "nginx", "openssl", "pip", "rm", "setfacl", "ssh", "ssh-keygen", "sudo"),
    *("systemctl", "umount", "useradd", "usermod", "userdel", "uv"),
)
PLAYBOOKS = "|".join(sorted(path.stem for path in COLLECTION.glob("playbooks/*.yml")))
# A program with an argument, which distinguishes it from a word in a sentence, settings on a command line, and names of
# playbooks. Values of variables are shown as ….
COMMAND = re.compile(
    rf"(?<![\w/.-])(?:(?:{'|'.join(PROGRAMS)}) (?:-{{1,2}}[\w]|/|…|[\w.]+\.production\.)"
    r"|systemctl [a-z]|find -P |git config|-e [a-z_]+=|--limit …"
    rf"|(?:playbook |flaskops\.production\.)(?:{PLAYBOOKS})\b)[^\"',;:()]*"
)

# For each command, the file that runs it in the state in which the message recommends it, and a text in that file.
MESSAGES = {
    # release_activate: the log of what failed
    "journalctl --unit=… --since=@…": (
        "molecule/rejected/tasks/reject.yml",
        "Run the journalctl command of the message",
    ),
    # Commands for the user after a run
    "-e release_adopt=true to keep it beside the releases": (
        "molecule/lifecycle/tasks/adoption.yml",
        "--extra-vars=release_adopt=true",
    ),
    "-e release_unlock=true.": ("molecule/lifecycle/tasks/lock.yml", "--extra-vars=release_unlock=true"),
    "ansible-playbook flaskops.production.rollback -e release_rollback_rollout=true --limit": (
        "tests/integration/test_rollouts.py",
        "Run the command of the message.",
    ),
    "--limit …": ("tests/unit/fleet/test_stories.py", "The limits are those of the message."),
    "mv … …": ("tests/unit/plugins/modules/test_release_stage.py", "Run the command of the message."),
    # Playbooks
    "flaskops.production.adopt": ("molecule/adopt/tasks/adopt.yml", "run_playbook: adopt"),
    "playbook site": ("molecule/lifecycle/tasks/user.yml", "run_playbook: site"),
    "playbook site.": ("molecule/lifecycle/tasks/settings.yml", "run_playbook: site"),
    "playbook site. The files before the last change are in …": (
        "molecule/rejected/tasks/settings_of_before.yml",
        "Set the settings as they were",
    ),
    "playbook site tries again.": ("molecule/doctor/vars/faults.yml", "ids: [service-outdated]"),
    "playbook doctor": ("molecule/doctor/vars/faults.yml", "id: file-system-noexec"),
    "-e release_rollback_rollout=true. To roll back all hosts to one release": (
        "tests/integration/test_rollouts.py",
        "release_rollback_rollout=True",
    ),
    "-e release_rollback_to=<release>.": ("molecule/lifecycle/tasks/status.yml", "release_rollback_to: v1"),
    "-e release_rollback_to=<release>.…": ("molecule/lifecycle/tasks/status.yml", "release_rollback_to: v1"),
    "nginx -t": ("molecule/doctor/vars/faults.yml", "id: nginx-config-invalid"),
    # Files of other users
    "find -P … -exec chown -h root": (
        "tests/unit/plugins/module_utils/_releases/test_static_files.py",
        "The remedy of the message.",
    ),
    "chown -hR … … once the account … exists. Nothing was changed.": (
        "tests/unit/plugins/modules/test_runtime_user.py",
        "Run the command of the message.",
    ),
    "chown -h … PATH.": ("tests/unit/plugins/modules/test_runtime_user.py", "Run the command of the warning"),
}
# The same for remedies of the doctor that are no commands, but name a playbook to run after a setting is changed.
PLAYBOOK_REMEDIES = {
    "root-in-home": ("molecule/adopt/vars/deployments.yml", "adopt_from: /home/ada/shop"),
    "unit-user-web": ("molecule/lifecycle/tasks/user.yml", "Change only the user"),
    "unit-user-shared": ("molecule/lifecycle/tasks/user.yml", "Change only the user"),
}
# Commands in messages that do not recommend them.
NOT_RECOMMENDED = {
    "nginx -T did not end within … s",
    "nginx -t without an error",
    "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15",
    "systemctl daemon-reload failed",
    "systemctl show … failed",
    "systemctl status",
}


# The doctor's remedies


def load_table(name: str) -> list[dict]:
    return yaml.safe_load((DOCTOR / "vars/faults.yml").read_text())[name]


def is_command(remedy: str) -> bool:
    return remedy.split()[0] in PROGRAMS or remedy.startswith("find -P")


def format_remedies() -> dict[str, str]:
    values = ("name", "user", "group", "unit", "live", "file", "location", "own", "listen")
    given = dict.fromkeys(values, "x")
    return {
        kind: create_finding(kind, "found", "expected", "/x", playbook="rollback", **given).remedy for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_remedies_are_valid_commands_or_contain_none(kind):
    remedy = format_remedies()[kind]
    if not is_command(remedy):
        found = COMMAND.search(remedy)
        assert not found or found[0].startswith("playbook "), (
            "Begin with the command, and write the explanation after two spaces and #."
        )
        assert bool(found) == (kind in PLAYBOOK_REMEDIES), "Name the test that runs this playbook for this finding."
        return
    command = remedy.partition("  # ")[0]
    assert not re.search(r"[.,:]$| then | or |, ", command), command
    subprocess.run(["/bin/bash", "-n"], input=remedy, text=True, check=True)


def test_scenario_runs_all_remedies_that_are_commands():
    on_hosts = re.search(r"__doctor_programs: (\(.*)", (DOCTOR / "converge.yml").read_text())[1]
    faults = {fault["id"]: fault for fault in load_table("__doctor_faults")}
    repairs = {kind for repair in load_table("__doctor_repairs") for kind in repair["ids"]}
    reports = set(re.findall(r"drift-\w+", (DOCTOR / "tasks/reports.yml").read_text()))
    for kind, remedy in format_remedies().items():
        if re.match(on_hosts, remedy) and "ansible-playbook" not in remedy:
            assert kind in faults, f"{kind} is not planted, so that its remedy is never run: {remedy}"
        elif is_command(remedy):
            # The hosts of the scenario have different distributions, whose packages are not compared.
            kind = "drift-release" if kind == "drift-venv" else kind
            assert format_remedies()[kind] == remedy
            assert kind in repairs | reports, f"{kind} is not planted, so that its remedy is never run: {remedy}"


@pytest.mark.parametrize("fault", load_table("__doctor_faults"), ids=lambda fault: fault["id"])
def test_faults_of_the_scenario_have_known_keys(fault):
    """A manual step, for example, is useless if the remedy is not a command."""
    assert set(fault) <= {"id", "plant", "heal", "follows", "first", "leaves", "proves"}
    assert is_command(format_remedies()[fault["id"]]) or not {"first", "leaves", "proves"} & set(fault)


# All other messages


def find_python_strings(path: Path) -> Iterator[str]:
    """Yield the strings of a module except documentation, with … in place of values."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node.value)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (
            isinstance(node, ast.Assign)
            and getattr(node.targets[0], "id", "") in ("DOCUMENTATION", "EXAMPLES", "RETURN")
        )
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def find_yaml_strings(path: Path) -> Iterator[str]:
    """Yield the strings of tasks and rules, including those in their expressions."""

    def below(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for item in value.values():
                yield from below(item)
        elif isinstance(value, list):
            for item in value:
                yield from below(item)
        elif isinstance(value, str):
            yield from (text for kind, text in parts(value) if kind == "data" or kind == "string")

    def parts(value: str) -> Iterator[tuple[str, str]]:
        return ((kind, text.strip("'\" ")) for _line, kind, text in Environment().lex(value))

    yield from below(yaml.safe_load(path.read_text()))


def find_commands() -> dict[str, str]:
    """Return all commands in messages, each with its file."""
    found = {}
    for path in sorted((COLLECTION / "plugins").rglob("*.py")):
        if path.parent == KINDS_DIRECTORY:
            continue
        for text in find_python_strings(path):
            for match in COMMAND.finditer(text):
                found[" ".join(match[0].split()).strip(" (")] = path.name
    for path in sorted([*COLLECTION.glob("roles/*/tasks/*.yml"), *COLLECTION.glob("roles/*/vars/*.yml")]):
        for text in find_yaml_strings(path):
            for match in COMMAND.finditer(text):
                found[" ".join(match[0].split())] = str(path.relative_to(COLLECTION))
    for path in sorted(COLLECTION.glob("playbooks/**/*.yml")):
        for text in find_yaml_strings(path):
            for match in COMMAND.finditer(text):
                found[" ".join(match[0].split())] = path.name
    return found


def test_commands_in_messages_are_run_by_a_test():
    assert sorted(set(find_commands()) - NOT_RECOMMENDED) == sorted(MESSAGES)


RUN_BY = [*MESSAGES.values(), *PLAYBOOK_REMEDIES.values()]


@pytest.mark.parametrize(("file", "text"), RUN_BY, ids=[file for file, _text in RUN_BY])
def test_named_tests_exist(file, text):
    assert text in (COLLECTION / file).read_text()
