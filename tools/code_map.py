"""Who calls what in the collection, read from its files, for docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "plugins"
HELPERS = ("module_utils", "plugin_utils")
ROLE = ("ansible.builtin.import_role", "ansible.builtin.include_role")
TASKS = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
OURS = "flaskops.production."
IMPORTED = re.compile(rf"plugins\.({'|'.join(HELPERS)})(?:\.(_[\w.]+))?\Z")


def code(text: object) -> str:
    return f"`{text}`"


def cells(*columns: Iterable[str] | str) -> list[str]:
    return [column if isinstance(column, str) else ", ".join(column) for column in columns]


def named(path: Path) -> str:
    """A link to a file, as seen from docs/."""
    name = f"tasks/{path.name}" if path.parent.name == "tasks" else path.name
    return f"[{name}](../{path.relative_to(ROOT).as_posix()})"


def summary(path: Path) -> str:
    """The first sentence of a file's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.]) (?=[A-Z])", text)[0]


def tasks_of(value: object) -> Iterable[dict]:
    """Every task in plays, blocks and task files."""
    if isinstance(value, list):
        for one in value:
            yield from tasks_of(one)
    elif isinstance(value, dict):
        yield value
        for name in ("tasks", "block", "rescue", "always", "handlers"):
            yield from tasks_of(value.get(name))


def calls(path: Path) -> tuple[list[str], list[str], list[str]]:
    """The task files, the roles with their entry points, and the collection's modules that a file of tasks calls."""
    files, roles, modules = [], [], []
    for task in tasks_of(yaml.safe_load(path.read_text())):
        for name in ROLE:
            if name in task:
                role, part = task[name]["name"].removeprefix(OURS), task[name].get("tasks_from", "main")
                roles.append(f"{role}: {part}")
        for name in TASKS:
            found = re.findall(r"([\w-]+\.yml)", str(task.get(name, "")))
            files += found
        modules += [name.removeprefix(OURS) for name in task if name.startswith(OURS)]
    return list(dict.fromkeys(files)), list(dict.fromkeys(roles)), list(dict.fromkeys(modules))


@cache
def helpers_of(path: Path) -> list[Path]:
    """The private helpers that a plugin imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        match = IMPORTED.search(node.module or "") if isinstance(node, ast.ImportFrom) else None
        if match:
            names = [match[2].replace(".", "/")] if match[2] else [alias.name for alias in node.names]
            found += [PLUGINS / match[1] / f"{name}.py" for name in names]
    return sorted(set(found))


def helper_name(path: Path) -> str:
    """A plugin by its name; one in a package of helpers by the package too."""
    return f"{path.parent.name}.{path.stem}" if path.parent.name.startswith("_") else path.stem


def playbooks() -> tuple[list[str], list[list[str]]]:
    rows = []
    for path in [*sorted(ROOT.glob("playbooks/*.yml")), *sorted(ROOT.glob("playbooks/tasks/*.yml"))]:
        files, roles, modules = calls(path)
        rows.append(cells(named(path), map(code, files), map(code, roles), map(code, modules)))
    return ["File", "Task files", "Roles and their entry points", "Modules"], rows


def roles() -> tuple[list[str], list[list[str]]]:
    rows = []
    for role in sorted(ROOT.glob("roles/*")):
        for path in sorted(role.glob("tasks/*.yml")):
            files, others, modules = calls(path)
            if others or modules:
                rows.append(cells(role.name, named(path), map(code, others), map(code, modules)))
    return ["Role", "File", "Other roles", "Modules"], rows


def modules() -> tuple[list[str], list[list[str]]]:
    rows = []
    for path in sorted(PLUGINS.glob("modules/*.py")):
        action = PLUGINS / "action" / path.name
        short = re.search(r"^short_description: (.+)$", path.read_text(), re.MULTILINE)[1].strip("'\"")
        used = [*helpers_of(path), *(helpers_of(action) if action.exists() else [])]
        names = dict.fromkeys(code(helper_name(helper)) for helper in used)
        rows.append(cells(named(path), short, "yes" if action.exists() else "", names))
    return ["Module", "What it does", "Action plugin", "Helpers"], rows


def helpers(directory: str) -> tuple[list[str], list[list[str]]]:
    plugins = sorted(path for path in PLUGINS.rglob("*.py") if not path.name.startswith("__"))
    rows = []
    for path in sorted({*PLUGINS.glob(f"{directory}/_[a-z]*.py"), *PLUGINS.glob(f"{directory}/_*/[a-z]*.py")}):
        users = [code(helper_name(user)) for user in plugins if path in helpers_of(user)]
        rows.append(cells(named(path), summary(path), dict.fromkeys(users)))
    return ["File", "What it holds", "Used by"], rows


MAPS = {
    "playbooks": playbooks,
    "roles": roles,
    "modules": modules,
    **{directory: lambda directory=directory: helpers(directory) for directory in HELPERS},
}
