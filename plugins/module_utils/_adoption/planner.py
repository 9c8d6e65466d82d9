# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the adoption of a deployment made by other tools, from the doctor's facts.

The plan separates data from code, derives settings of the roles from the old unit and site, and lists obstacles.
Nothing is changed, and values of environment variables do not leave the host.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.code_data import (
    is_writable,
    list_shared,
    plan_data,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import (
    describe_deployment,
    format_deployment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.environment import list_unit_variables
from ansible_collections.flaskops.production.plugins.module_utils._adoption.obstacles import (
    check_deployment,
    check_inner_links,
    check_mentions,
    check_other_units,
    check_size,
    check_sources,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.other_data import (
    check_unreachable_data,
    plan_named_data,
    plan_rewrites,
    plan_write_paths,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import AdoptionPlan, PlanRequest
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import (
    ACTIVATING,
    DONE,
    AdoptionRecord,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.report import OBSTACLE, format_plan
from ansible_collections.flaskops.production.plugins.module_utils._adoption.settings import (
    plan_account,
    plan_environment,
    plan_gunicorn,
    plan_packages,
    plan_unit,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.site_settings import plan_site
from ansible_collections.flaskops.production.plugins.module_utils._adoption.surroundings import (
    MAX_FILES,
    read_surroundings,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    add_script_name,
    send_health_request,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._doctor.examination import read_facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import HostSystem
from ansible_collections.flaskops.production.plugins.module_utils._releases.host_code import describe_code
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    read_unit_properties,
    read_unit_text,
)

DEFAULT_HEALTH = {"path": "/", "status": [200], "host": "localhost", "timeout": 5, "headers": {}}


class PlanOptions(NamedTuple):
    """The options of the module adoption_plan."""

    name: str
    root: str
    from_directory: str = ""
    # The name of the old service without .service.
    unit: str = ""
    given: frozenset[str] = frozenset()
    shared_paths: list[str] | None = None
    leave: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    health: dict = DEFAULT_HEALTH


def plan_adoption(request: PlanRequest) -> AdoptionPlan:
    """Return the plan of an adoption. Settings that are given are not part of it."""
    plan = AdoptionPlan(code=request.facts.code)
    check_deployment(request, plan)
    if plan.obstacles:
        return plan
    plan_data(request, plan)
    plan_named_data(request, plan)
    plan_write_paths(request, plan)
    check_unreachable_data(request, plan)
    check_size(request, plan)
    plan_environment(request, plan)
    plan_account(request, plan)
    plan_unit(request, plan)
    plan_gunicorn(request, plan)
    plan_packages(request, plan)
    plan_site(request, plan)
    check_sources(request, plan)
    plan.exclude += [move.source for move in plan.moves]
    plan.exclude += [os.path.join(plan.code, move.link) for move in plan.moves if move.link]
    plan_rewrites(request, plan)
    check_mentions(request, plan)
    check_inner_links(request, plan)
    check_other_units(request, plan)
    _plan_shared_paths(request, plan)
    plan.variables = {name: value for name, value in plan.variables.items() if name not in request.given}
    return plan


def _plan_shared_paths(request: PlanRequest, plan: AdoptionPlan) -> None:
    paths = [move.link + ("/" if os.path.isdir(move.source) else "") for move in plan.moves if move.link]
    present = list_shared(request)
    plan.variables["release_shared_paths"] = list(dict.fromkeys(paths + present))
    staying = [move.link for move in plan.moves if move.source == os.path.join(request.shared, move.target)]
    plan.shared = [name for name in dict.fromkeys(present + staying) if name and is_writable(request.facts, name)]


def make_plan(options: PlanOptions) -> dict:
    """Return the results of the module adoption_plan."""
    layout = Layout(options.root)
    record = AdoptionRecord(layout).read()
    if record.get("state") == DONE:
        text = f"{options.name} was adopted from {record['directory']} on {record['time']}; nothing to do."
        return {"state": "adopted", "plan": [text], "obstacles": [], "variables": record["variables"]}
    if record.get("state") == ACTIVATING:
        text = "A run was interrupted during the activation. The next run without --check restores the old deployment."
        return {"state": "interrupted", "plan": [text], "obstacles": [], "variables": {}}
    request = _read_request(options)
    plan = plan_adoption(request)
    facts = request.facts
    if facts.unit:
        plan.obstacles = _check_choice(request, options) or plan.obstacles
    if os.path.isdir(layout.records) and not record:
        plan.obstacles.append(f"{layout.root} is a deployment of this collection already: use the playbook site.")
    if not plan.obstacles:
        plan.obstacles = [*_check_name(facts, options.name), *_check_health(facts, options.health)]
    if plan.obstacles:
        obstacles = [one_line(text) for text in plan.obstacles]
        lines = [f"{OBSTACLE}: {text}" for text in obstacles]
        return {"state": "planned", "plan": lines, "obstacles": obstacles, "variables": plan.variables}
    source = describe_code(plan.code, sorted(set(plan.exclude)), sorted(options.exclude))
    return {
        "state": "planned",
        "plan": format_plan(request, plan, layout, source["name"], options.name),
        "obstacles": [],
        "variables": plan.variables,
        "source": source,
        "adoption": format_deployment(describe_deployment(request, plan, source["exclude_paths"])),
    }


def _read_request(options: PlanOptions) -> PlanRequest:
    facts = read_facts(options.unit or options.name, options.from_directory, scanned=MAX_FILES)
    unit = facts.unit["Id"] if facts.unit else ""
    unit_text = read_unit_text(unit)[1] if unit else ""
    return PlanRequest(
        facts=facts,
        root=options.root,
        given=options.given,
        shared_paths=options.shared_paths,
        unit_text=unit_text,
        unit_variables=tuple(list_unit_variables(unit)) if unit else (),
        surroundings=read_surroundings(facts, options.name, options.root, unit_text, options.leave, HostSystem()),
        excluded=options.exclude,
    )


def _check_choice(request: PlanRequest, options: PlanOptions) -> list[str]:
    """Return an obstacle if several services run from the deployment and none of them was chosen."""
    unit = request.facts.unit["Id"]
    others = [name for name, _runs in request.surroundings.units if name not in options.leave]
    if options.unit or not others or unit == f"{options.name}.service":
        return []
    names = " and ".join(sorted([unit, *others]))
    return [f"{names} run from {request.facts.root}: set adopt_unit to the one that answers HTTP requests."]


def _check_name(facts: Facts, name: str) -> list[str]:
    """Return an obstacle if another service has the name of the application."""
    unit = facts.unit["Id"]
    if unit == f"{name}.service":
        return []
    found = read_unit_properties(f"{name}.service", "LoadState,FragmentPath")
    if found.get("LoadState") == "not-found":
        return []
    return [
        f"{name}.service exists ({found.get('FragmentPath')}) and is not {unit}: choose another flask_app_name, or set "
        "adopt_unit."
    ]


def _check_health(facts: Facts, health: dict) -> list[str]:
    """Return an obstacle if the old service does not pass the health check of the release."""
    address = facts.listen.replace("unix:", "", 1)
    path = add_script_name(health["path"], *(name.lstrip("-") for name in facts.env_files))
    answer = send_health_request(address, path, health["host"], health["timeout"], health["headers"])
    if answer in health["status"]:
        return []
    return [
        f"{facts.unit['Id']} itself answers {answer} to GET {path}, so the release would be rejected: set "
        "release_health_path, release_health_status or release_health_host to match a healthy application."
    ]
