# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive settings of the roles from the environment, account, unit, Gunicorn and packages of the old deployment."""

from __future__ import annotations

import os
import re

from ansible_collections.flaskops.production.plugins.module_utils._adoption.gunicorn import (
    find_config_file,
    read_gunicorn_settings,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    ENVIRONMENT,
    AdoptionPlan,
    Move,
    PlanRequest,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.unit import read_unit_settings
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import parse_exec_start
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import load_text
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import format_paths
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import PUBLIC_ENV, SECRETS
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.packages import (
    list_requested_packages,
)
from ansible_collections.flaskops.production.plugins.module_utils._python import requirements

# Files that list the packages of an application, in order of preference.
REQUIREMENTS_FILES = ("requirements.txt", "pyproject.toml", "pylock.toml", "uv.lock")
# Settings that replace, rather than complement, what the old unit has.
UNIT_SETTINGS = {"gunicorn_systemd_unit_overrides", "gunicorn_systemd_hardening"}


def find_dotenv(facts: Facts, files: list[str]) -> str:
    """Return the code's own environment file, or an empty string if it is missing or one of the unit's files."""
    path = os.path.join(facts.code, ".env")
    return path if os.path.isfile(path) and os.path.realpath(path) not in map(os.path.realpath, files) else ""


def list_env_files(facts: Facts) -> list[str]:
    """Return the existing environment files of the unit. The last one takes precedence."""
    paths = [path.lstrip("-") for path in facts.env_files]
    return [path for path in paths if os.path.isfile(path)]


def plan_environment(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add the environment files and the names of variables that the unit sets."""
    facts = request.facts
    plan.environment = list_env_files(facts)
    dotenv = find_dotenv(facts, plan.environment)
    plan.dotenv = [dotenv] if dotenv else []
    plan.unit_variables = list(request.unit_variables)
    plan.exclude += [
        item.path
        for item in facts.tree
        if item.kind == "file"
        and not plan.includes(item.path)
        and SECRETS.match(os.path.basename(item.path))
        and not PUBLIC_ENV.search(os.path.basename(item.path))
    ]
    inside = os.path.join(facts.code, ".env")
    if os.path.isfile(inside):
        # Some applications read it by themselves.
        plan.moves.append(Move(ENVIRONMENT, inside, ".env", ".env", "", "the environment"))
    if "flask_app_env" in request.given and plan.dotenv + plan.environment + plan.unit_variables:
        places = [*plan.dotenv, *plan.environment]
        places += [f"{facts.unit['Id']} ({', '.join(plan.unit_variables)})"] if plan.unit_variables else []
        plan.attention.append(f"flask_app_env is set, so the values of {' and '.join(places)} are not adopted.")
        plan.dotenv, plan.environment, plan.unit_variables = [], [], []


def plan_account(request: PlanRequest, plan: AdoptionPlan) -> None:
    facts = request.facts
    if facts.runtime_user and facts.runtime_user.uid:
        plan.variables["flask_app_user"] = facts.runtime_user.name
        plan.variables["flask_app_group"] = facts.runtime_user.group
    else:
        plan.attention.append(
            "It runs as root, or as a user that does not exist. It will run as flask_app_user (a user of its own)."
        )
    if facts.web_user and facts.web_user.uid:
        plan.variables["flask_app_web_group"] = facts.web_user.group


def plan_unit(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Add limits, groups, dependencies and other directives of the old unit as settings."""
    facts = request.facts
    unit = facts.unit["Id"]
    adopted = read_unit_settings(request.unit_text, {unit, facts.socket_unit.get("Id", "")})
    plan.variables.update(adopted.variables)
    for variable in sorted(UNIT_SETTINGS & set(adopted.variables) & request.given):
        plan.attention.append(
            f"{variable} is set, so its value from {unit} is not adopted: {adopted.variables[variable]}."
        )
    if adopted.left:
        plan.attention.append(
            f"Not adopted from {unit}: {', '.join(adopted.left)}. Use gunicorn_systemd_unit_overrides or "
            "gunicorn_systemd_hardening for it."
        )


def plan_gunicorn(request: PlanRequest, plan: AdoptionPlan) -> None:
    facts = request.facts
    adopted = read_gunicorn_settings(facts.unit, load_text(os.path.join(facts.code, find_config_file(facts.unit))))
    plan.variables.update(adopted.variables)
    if adopted.wsgi:
        plan.variables["flask_app_wsgi"] = adopted.wsgi
    elif "flask_app_wsgi" not in request.given:
        plan.obstacles.append(
            f"'{' '.join(parse_exec_start(facts.unit))}' does not name the WSGI callable: set flask_app_wsgi, such as "
            "wsgi:app."
        )
    if adopted.left:
        plan.attention.append(
            f"Not adopted from Gunicorn's settings: {', '.join(adopted.left)}. Use gunicorn_systemd_settings for "
            "settings, and gunicorn_systemd_workers for a number of workers; logs go to journald."
        )


def plan_packages(request: PlanRequest, plan: AdoptionPlan) -> None:
    """Use the requirements in the code, or else the packages of the old virtual environment with their versions."""
    facts = request.facts
    files = [name for name in REQUIREMENTS_FILES if os.path.isfile(os.path.join(facts.code, name))]
    venv = find_venv(facts)
    if files:
        plan.variables["venv_requirements"] = files[:1]
        _report_versions(facts, venv, files[0], plan)
    else:
        plan.variables["venv_requirements"] = []
        plan.variables["venv_packages"] = [item.replace(" ", "==") for item in facts.packages]
        if not facts.packages:
            plan.obstacles.append(
                f"{facts.code} has no requirements, and its service names no virtual environment: set venv_packages."
            )
    interpreter = os.path.realpath(os.path.join(venv, "bin", "python3")) if venv else ""
    if interpreter and interpreter != os.path.realpath("/usr/bin/python3") and os.access(interpreter, os.X_OK):
        name = os.path.basename(interpreter)
        packaged = os.path.dirname(interpreter) == "/usr/bin" and re.match(r"python3\.[0-9]+$", name)
        plan.variables["venv_python"] = name if packaged else interpreter


def _report_versions(facts: Facts, venv: str, file: str, plan: AdoptionPlan) -> None:
    """Report installed versions that the requirements do not pin, and installed packages that they do not list."""
    if requirements.detect_format(file) != requirements.REQUIREMENTS:
        return
    lines = requirements.parse_requirements(load_text(os.path.join(facts.code, file)))
    if not lines:
        return
    listed = {name: line.text for line in lines for name in [requirements.parse_name(line.text)] if name}
    installed = dict(item.split(" ", 1) for item in facts.packages)
    floating = [f"{name} {version}" for name, version in installed.items() if "==" not in listed.get(name, "")]
    if floating:
        plan.attention.append(
            f"{file} pins no version of {format_paths(floating)}: the newest that it allows is installed. Pin the "
            "installed ones to keep them."
        )
    unlisted = [
        name for name in list_requested_packages(venv) if name in installed and name not in {*listed, "gunicorn"}
    ]
    if unlisted:
        plan.attention.append(
            f"{format_paths(unlisted)} {'is' if len(unlisted) == 1 else 'are'} installed in {venv}, but not in "
            f"{file}: add what the application needs to it, or to venv_packages."
        )
