#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: adoption_plan
short_description: Plan the adoption of a deployment made by other tools (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Reads a deployment made by other tools, as M(flaskops.production.doctor) does. Lists its code and data with their
    new places, the settings of the roles that match its unit and its site, and the obstacles.
  - Changes nothing. Values of environment variables do not leave the host; of them, the plan shows paths that exist.
  - The playbook C(flaskops.production.adopt) follows the plan.
options:
  name:
    description: The application's name in the layout.
    type: str
    required: true
  root:
    description: The application's directory in the layout, such as C(/srv/myapp).
    type: path
    required: true
  from_directory:
    description:
      - The directory of the old deployment, such as C(/home/ada/shop).
      - By default the directory of the service.
    type: path
  unit:
    description:
      - The old service, such as C(shop) or C(shop.service).
      - By default the service named like the application, or one with O(from_directory) in its unit.
    type: str
  given:
    description: Names of the roles' settings that are set. They are not among RV(variables).
    type: list
    elements: str
    default: []
  shared_paths:
    description: Names of data among the code, as C(release_shared_paths). By default they are detected.
    type: list
    elements: str
  leave:
    description:
      - Paths and services of the old deployment that stay as they are, although they look as if the application shared
        its data with them, as C(adopt_leave).
    type: list
    elements: str
    default: []
  exclude:
    description: Names that are no part of a release, as C(release_exclude), which also has these defaults.
    type: list
    elements: str
    default:
      - .git
      - .hg
      - .svn
      - __pycache__
      - "*.pyc"
      - .venv
      - venv
      - node_modules
      - .pytest_cache
      - .mypy_cache
      - .ruff_cache
      - .tox
      - .nox
      - .DS_Store
      - .env
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.read_only
  - flaskops.production.health
seealso:
  - module: flaskops.production.adoption_copy
  - module: flaskops.production.adoption_switch
  - module: flaskops.production.doctor
"""

EXAMPLES = r"""
- name: Plan the adoption
  flaskops.production.adoption_plan:
    name: shop
    root: /srv/shop
    from_directory: /home/ada/shop
  register: adoption

- name: Show the plan
  ansible.builtin.debug:
    var: adoption.plan
"""

RETURN = r"""
state:
  description:
    - V(planned), V(adopted) after an earlier adoption, or V(interrupted) after a run that was cut off during the
      activation.
  returned: success
  type: str
  sample: planned
plan:
  description: The steps, the files to check by hand, and the obstacles, line by line.
  returned: success
  type: list
  elements: str
  sample:
    - /home/ada/shop/uploads -> /srv/shop/shared/media (12 files, 3.1 MB; Nginx serves it at /media/)
obstacles:
  description: The obstacles, in sentences.
  returned: success
  type: list
  elements: str
  sample: []
variables:
  description: The settings of the roles that match the old deployment, without O(given).
  returned: success
  type: dict
  sample:
    flask_app_wsgi: wsgi:app
    nginx_site_server_name: shop.example.org
source:
  description: The code, as M(flaskops.production.release_stage) takes it.
  returned: when it is planned and there is no obstacle
  type: dict
  sample:
    name: adopted-2026-04-21-120000-1a2b3c4
    directory: /home/ada/shop
adoption:
  description: The input of M(flaskops.production.adoption_copy) and M(flaskops.production.adoption_switch).
  returned: when it is planned and there is no obstacle
  type: dict
  sample:
    unit: shop.service
    listen: unix:/home/ada/shop/shop.sock
"""

import os
import re
import stat

from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import Record, below
from ansible_collections.flaskops.production.plugins.module_utils._adoption.environment import (
    environment_text,
    variables_of,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import Surroundings
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    ENV,
    Plan,
    command,
    is_another,
    options,
    plan,
    tops_of,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import find_source
from ansible_collections.flaskops.production.plugins.module_utils._adoption.unit import read_unit
from ansible_collections.flaskops.production.plugins.module_utils._app.health import (
    HEALTH,
    add_script_name,
    send_health_request,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import names_path
from ansible_collections.flaskops.production.plugins.module_utils._doctor.examination import read_facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Node, scan_tree
from ansible_collections.flaskops.production.plugins.module_utils._doctor.system import (
    HostSystem,
    list_files_open_for_writing,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.host_code import describe_code
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    read_unit_properties,
    read_unit_text,
)

EXCLUDE = (
    *(".git", ".hg", ".svn", "__pycache__", "*.pyc", ".venv", "venv", "node_modules", ".pytest_cache", ".mypy_cache"),
    *(".ruff_cache", ".tox", ".nox", ".DS_Store", ".env"),
)


def size(source: str, tops: list[str]) -> str:
    """How much it is, for people."""
    with find_source(source, tops) as top:
        files = [found.info.st_size for found in below(top) if stat.S_ISREG(found.info.st_mode)]
    total = float(sum(files))
    unit = "B"
    for unit in ("B", "kB", "MB", "GB"):
        if total < 1000 or unit == "GB":
            break
        total /= 1000
    number = f"{total:.0f}" if unit == "B" else f"{total:.1f}"
    return f"{len(files)} {'file' if len(files) == 1 else 'files'}, {number} {unit}"


def lines(facts: Facts, found: Plan, layout: Layout, release: str, name: str) -> list[str]:
    """The plan for people."""
    unit = facts.unit["Id"]
    told = [f"{found.code} -> {layout.release(release)} (the code, as the first release)"]
    for move in found.moves:
        if move.kind != ENV:
            target = os.path.join(layout.shared, move.target)
            told.append(f"{move.source} -> {target} ({size(move.source, tops_of(facts))}; {move.why})")
            if move.link:
                told[-1] += f"; the release finds it as {move.link}"
    files = [path for path in found.dotenv + found.environment if path != layout.env_file]
    if files:
        told.append(f"{' and '.join(files)} -> {layout.env_file} (root:<group> 0640; no value is shown)")
    if found.unit_variables:
        names = ", ".join(found.unit_variables)
        told.append(f"Environment= of {unit} ({names}) -> {layout.env_file} (no value is shown)")
    told.append(f"{name}.socket and {name}.service replace {unit} after the health check of the release")
    told += [f"{path} is removed from Nginx, and {name}.conf replaces it" for path in found.sites]
    told += [f"setting: {key}: {value}" for key, value in sorted(found.variables.items())]
    told += [f"LOOK AT: {text}" for text in found.attention]
    told += [f"IN THE WAY: {text}" for text in found.obstacles]
    return [one_line(text) for text in told]


def health_fault(facts: Facts, health: dict) -> str:
    """Why the health check would refuse what serves now; empty when it would not."""
    where = facts.listen.replace("unix:", "", 1)
    path = add_script_name(health["path"], *(name.lstrip("-") for name in facts.env_files))
    answer = send_health_request(where, path, health["host"], health["timeout"], health["headers"])
    if answer in health["status"]:
        return ""
    return (
        f"{facts.unit['Id']} itself answers {answer} to GET {path}, so the release would be rejected: set "
        "release_health_path, release_health_status or release_health_host to match a healthy application."
    )


def same_name_fault(facts: Facts, name: str) -> str:
    """Whether another service has the name that the application is to have."""
    if facts.unit["Id"] == f"{name}.service":
        return ""
    there = read_unit_properties(f"{name}.service", "LoadState,FragmentPath")
    if there.get("LoadState") == "not-found":
        return ""
    return (
        f"{name}.service exists ({there.get('FragmentPath')}) and is not {facts.unit['Id']}: choose another "
        "flask_app_name, or set adopt_unit."
    )


# How many files of an old deployment are looked at: uploads and all.
SCANNED = 500000
# Options of Gunicorn that name files which it writes itself.
LOG_OPTIONS = ("access-logfile", "error-logfile", "log-file", "pid")


def surroundings(facts: Facts, unit_text: str, params: dict, system: HostSystem) -> Surroundings:
    """What tells where the service writes."""
    if not facts.unit:
        return Surroundings()
    try:
        files = [path.lstrip("-") for path in facts.env_files if os.path.isfile(path.lstrip("-"))]
        inside = os.path.join(facts.code, ".env")
        weak = [inside] if is_another(inside, files) else []
        text = environment_text(facts.unit["Id"], weak, files, tops_of(facts)).decode("utf-8", "surrogateescape")
    except OSError:
        text = ""  # the plan names the file that is refused
    said = options(command(facts.unit))
    logs = [os.path.normpath(os.path.join(facts.code, said[name])) for name in LOG_OPTIONS if said.get(name)]
    for values in read_unit(unit_text).values():
        logs += [path for value in values for path in re.findall(r"^(?:append|file|truncate):(/.*)$", value)]
    return Surroundings(
        environment=text,
        opened=tuple(list_files_open_for_writing(facts.unit)),
        logs=tuple(logs),
        units=tuple(other_units(facts, params["name"], system)),
        beside=tuple(beside(facts, params["root"])),
        leave=tuple(params["leave"]),
    )


def beside(facts: Facts, root: str) -> list[Node]:
    """Everything in the old deployment that is neither code nor hidden, nor of the new layout."""
    if facts.root == facts.code:
        return []
    own = [os.path.join(root, name) for name in (".deploy", "releases", "venvs", "run")]
    hidden = [
        os.path.join(facts.root, name)
        for name in os.listdir(facts.root)
        if name.startswith(".") or facts.root == root and name == "shared"
    ]
    return scan_tree(facts.root, (facts.code, facts.releases, *own, *hidden), SCANNED)[0]


def other_units(facts: Facts, name: str, system: HostSystem) -> list[tuple[str, bool]]:
    """Other services of the same deployment, and whether they run, or something starts them."""
    found = []
    own = (facts.unit["Id"], f"{name}.service", f"{name}-next.service")
    for unit, text in system.read_service_files().items():
        if unit not in own and any(names_path(text, top) for top in [*tops_of(facts), facts.live]):
            state = read_unit_properties(unit, "ActiveState,UnitFileState,TriggeredBy")
            triggers = state["TriggeredBy"].split()
            starts = [read_unit_properties(other, "ActiveState")["ActiveState"] for other in triggers]
            runs = state["ActiveState"] not in ("inactive", "failed") or state["UnitFileState"] == "enabled"
            found.append((unit, runs or "active" in starts))
    return found


def choice_fault(facts: Facts, around: Surroundings, params: dict) -> str:
    """Whether it is open which service is to be adopted."""
    others = [unit for unit, _runs in around.units if unit not in params["leave"]]
    if params["unit"] or not others or facts.unit["Id"] == f"{params['name']}.service":
        return ""
    names = " and ".join(sorted([facts.unit["Id"], *others]))
    return f"{names} run from {facts.root}: set adopt_unit to the one that answers the visitors."


def make_plan(params: dict) -> dict:
    """What the module returns."""
    layout = Layout(params["root"])
    record = Record(layout).read()
    if record.get("state") == "done":
        told = [f"{params['name']} was adopted from {record['from']} on {record['time']}; nothing to do."]
        return {"state": "adopted", "plan": told, "obstacles": [], "variables": record["variables"]}
    if record.get("state") == "switching":
        told = [
            "A run was interrupted during the activation. The next one without --check restores the old deployment."
        ]
        return {"state": "interrupted", "plan": told, "obstacles": [], "variables": {}}
    unit = params["unit"] or ""
    name = unit[: -len(".service")] if unit.endswith(".service") else unit
    facts = read_facts(name or params["name"], params["from_directory"] or "", scanned=SCANNED)
    unit_text = read_unit_text(facts.unit["Id"])[1] if facts.unit else ""
    around = surroundings(facts, unit_text, params, HostSystem())
    found = plan(
        facts,
        params["root"],
        set(params["given"]),
        params["shared_paths"],
        unit_text,
        variables_of(facts.unit["Id"]) if facts.unit else [],
        around,
        params["exclude"],
    )
    if facts.unit:
        found.obstacles = [fault for fault in [choice_fault(facts, around, params)] if fault] or found.obstacles
    if os.path.isdir(layout.records) and not record:
        found.obstacles.append(f"{layout.root} is a deployment of this collection already: use the playbook site.")
    if not found.obstacles:
        faults = [same_name_fault(facts, params["name"]), health_fault(facts, params["health"] or HEALTHY)]
        found.obstacles += [fault for fault in faults if fault]
    if found.obstacles:
        found.obstacles = [one_line(text) for text in found.obstacles]
        told = [f"IN THE WAY: {text}" for text in found.obstacles]
        return {"state": "planned", "plan": told, "obstacles": found.obstacles, "variables": found.variables}
    source = describe_code(found.code, sorted(set(found.exclude)), sorted(params["exclude"]))
    return {
        "state": "planned",
        "plan": lines(facts, found, layout, source["name"], params["name"]),
        "obstacles": [],
        "variables": found.variables,
        "source": source,
        "adoption": {
            "from": facts.root,
            "tops": tops_of(facts),
            "user": facts.runtime_user.name if facts.runtime_user else "root",
            "code": found.code,
            "unit": facts.unit["Id"],
            "socket_unit": facts.socket_unit.get("Id", ""),
            "listen": facts.listen,
            "sites": found.sites,
            "moves": [move._asdict() for move in found.moves],
            "dotenv": found.dotenv,
            "environment": found.environment,
            "unit_variables": found.unit_variables,
            "rewrites": found.rewrites,
            "exclude": source["exclude_paths"],
            "shared": found.shared,
            "outside": found.variables.get("gunicorn_systemd_read_write_paths", []),
            "variables": found.variables,
        },
    }


HEALTHY = {"path": "/", "status": [200], "host": "localhost", "timeout": 5, "headers": {}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "from_directory": {"type": "path"},
            "unit": {"type": "str"},
            "given": {"type": "list", "elements": "str", "default": []},
            "shared_paths": {"type": "list", "elements": "str"},
            "leave": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": list(EXCLUDE)},
            "health": HEALTH,
        },
        supports_check_mode=True,
    )
    require_supported_platform(module)
    if os.geteuid() != 0:
        module.fail_json(msg="An adoption has to be root to see everything: run it with become: true.")
    try:
        result = make_plan(module.params)
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
