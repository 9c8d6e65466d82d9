# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An old deployment, as the modules of the adoption hand it to each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import (
    AdoptionPlan,
    Move,
    PlanRequest,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError


@dataclass(frozen=True)
class OldDeployment:
    """The service, code and data of an old deployment."""

    directory: str
    code: str
    unit: str
    socket_unit: str = ""
    # The address that the service listens on: host:port, or unix: and a path.
    listen: str = ""
    # The user that the service runs as.
    user: str = "root"
    # The directories of the deployment. Links must not lead out of them.
    tops: list[str] = field(default_factory=list)
    # Files of Nginx's sites.
    sites: list[str] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    dotenv: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    unit_variables: list[str] = field(default_factory=list)
    rewrites: list[tuple[str, str]] = field(default_factory=list)
    # Paths in the code that are not part of the release.
    exclude: list[str] = field(default_factory=list)
    # Shared paths that are in shared/ already.
    shared: list[str] = field(default_factory=list)
    # Directories outside of the deployment that the service writes to.
    outside: list[str] = field(default_factory=list)
    # The settings of the roles that match the deployment.
    variables: dict[str, object] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The socket path or host:port that the old service listens on."""
        return self.listen.replace("unix:", "", 1)

    @property
    def units(self) -> list[str]:
        return [unit for unit in (self.socket_unit, self.unit) if unit]


def describe_deployment(request: PlanRequest, plan: AdoptionPlan, exclude: list[str]) -> OldDeployment:
    facts = request.facts
    return OldDeployment(
        directory=facts.root,
        code=plan.code,
        unit=facts.unit["Id"],
        socket_unit=facts.socket_unit.get("Id", ""),
        listen=facts.listen,
        user=facts.runtime_user.name if facts.runtime_user else "root",
        tops=request.tops,
        sites=plan.sites,
        moves=plan.moves,
        dotenv=plan.dotenv,
        environment=plan.environment,
        unit_variables=plan.unit_variables,
        rewrites=plan.rewrites,
        exclude=exclude,
        shared=plan.shared,
        outside=list(plan.variables.get("gunicorn_systemd_read_write_paths", [])),  # type: ignore[call-overload]
        variables=plan.variables,
    )


def format_deployment(deployment: OldDeployment) -> dict:
    """Return a deployment as the result of a module, or for a record."""
    return {**asdict(deployment), "moves": [move._asdict() for move in deployment.moves]}


def parse_deployment(values: dict) -> OldDeployment:
    """Parse the option `adoption` or a record. Raises ReleaseError if it is not the result of adoption_plan."""
    known = {item.name for item in fields(OldDeployment)}
    try:
        found = {name: value for name, value in values.items() if name in known}
        found["moves"] = [Move(**move) for move in found.get("moves", [])]
        found["rewrites"] = [(str(old), str(new)) for old, new in found.get("rewrites", [])]
        return OldDeployment(**found)
    except (TypeError, ValueError) as error:
        raise ReleaseError(f"The option adoption is not a result of the module adoption_plan: {error}.") from error
