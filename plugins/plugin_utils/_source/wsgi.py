# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare flask_app_wsgi with the modules of a source. Nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._python import requirements
from ansible_collections.flaskops.production.plugins.module_utils._python.local_code import parse_local_requirement
from ansible_collections.flaskops.production.plugins.plugin_utils._source.dependencies import find_projects
from ansible_collections.flaskops.production.plugins.plugin_utils._source.request import SourceRequest
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import (
    SourceEntry,
    SourceError,
    SourceTree,
    format_list,
)

# The last parts of the names of calls that return an application.
APPLICATION_CALLS = {
    *("Flask", "Quart", "APIFlask", "OpenAPI", "Bottle", "default_app", "DispatcherMiddleware", "WSGIApplication"),
    *("FlaskApp", "create_app", "make_app", "make_wsgi_app", "get_wsgi_application", "create_application"),
}
FACTORIES = ("create_app", "make_app", "create_application")
APPLICATION_NAMES = ("app", "application")
# Module names that belong to the application itself; no package of an index installs them.
LOCAL_MODULE_NAMES = ("wsgi", "app", "main", "application", "run", "server")
# Directories whose applications are not meant to be served.
SKIPPED_DIRECTORIES = {"test", "tests", "doc", "docs", "example", "examples", "migrations", "node_modules", "scripts"}
MAX_DEPTH, MAX_FILES, MAX_SIZE = 3, 500, 256 * 1024
DYNAMIC_CALLS = {"exec", "globals", "locals", "setattr", "vars"}


def check_wsgi(tree: SourceTree, request: SourceRequest, texts: Mapping[str, str]) -> None:
    """Raise SourceError if a source lacks the module or the callable. The host checks modules of installed packages."""
    module, _colon, expression = request.wsgi.partition(":")
    name = expression.partition("(")[0].partition(".")[0]
    if not module or not name:
        return
    entry = find_module(tree, module)
    if entry is None:
        if not _has_other_provider(tree, request, texts, module):
            found = _find_applications(tree)
            raise SourceError(f"{_format_cause(request, tree)} holds no module '{module}'; {_format_advice(found)}")
        return
    defined = _collect_names(tree, entry)
    if defined is not None and name not in defined:
        found = _find_applications(tree)
        advice = _format_advice([item for item in found if item.partition(":")[0] == module] or found)
        raise SourceError(f"{_format_cause(request, tree)} defines no '{name}' in {entry.path}; {advice}")


def _format_cause(request: SourceRequest, tree: SourceTree) -> str:
    return f"flask_app_wsgi is '{request.wsgi}', but {tree.label}"


def _format_advice(found: list[str]) -> str:
    if not found:
        return "no module of it defines an application: set flask_app_wsgi to module:callable, such as shop:app."
    applications = "an application" if len(found) == 1 else "one"
    return f"set flask_app_wsgi to {applications} that it defines: {format_list(found, 4)}."


def find_module(tree: SourceTree, module: str) -> SourceEntry | None:
    """Return the file of a module in the release, relative to Gunicorn's working directory, or None."""
    path = module.replace(".", "/")
    for name in (f"{path}.py", f"{path}/__init__.py"):
        entry = tree.find_entry(name)
        if entry is not None and entry.kind == "file":
            return entry
    # A compiled module.
    compiled = (entry for entry in tree.list_files() if entry.path.startswith(f"{path}.") and _is_compiled(entry))
    return next(compiled, None)


def _is_compiled(entry: SourceEntry) -> bool:
    return entry.path.endswith((".so", ".pyc"))


def _has_other_provider(tree: SourceTree, request: SourceRequest, texts: Mapping[str, str], module: str) -> bool:
    """Return whether shared data or an installed package may provide the module."""
    path, top = module.replace(".", "/"), module.partition(".")[0]
    if any(f"{path}.py".startswith(shared) or f"{path}/".startswith(shared) for shared in request.shared_paths):
        return True
    if tree.find_entry(f"{top}/__init__.py") or tree.find_entry(f"{top}.py"):
        # A package in the source shadows an installed one.
        return False
    lines = [line.text for name, text in texts.items() for line in _parse_requirement_lines(name, text)]
    lines += request.packages
    # A package that is built from a directory of the source.
    built = [line for line in lines if parse_local_requirement(line) and requirements.parse_name(line) is None]
    projects = [item for name, text in texts.items() for item in find_projects(tree, request, name, text)]
    if (built or projects) and any(
        entry.path.endswith((f"/{path}.py", f"/{path}/__init__.py")) for entry in tree.list_files()
    ):
        return True
    if top in LOCAL_MODULE_NAMES:
        return False
    if not _find_applications(tree):
        return bool(texts or request.packages)
    plain = requirements.normalize_name(top)
    names = [requirements.parse_name(line) for line in lines if line not in built]
    # In a lock file or a project file, any occurrence of the name counts.
    names += [text for name, text in texts.items() if requirements.detect_format(name) != requirements.REQUIREMENTS]
    return any(name is None or plain in name or name in plain for name in names)


def _parse_requirement_lines(name: str, text: str) -> list[requirements.Line]:
    return (
        requirements.parse_requirements(text) if requirements.detect_format(name) == requirements.REQUIREMENTS else []
    )


# --- names in modules ------------------------------------------------------------------------------------------------


def _parse_module(tree: SourceTree, entry: SourceEntry) -> ast.Module | None:
    """Parse a file. Return None if this Python cannot parse it; the hosts may have a newer Python."""
    content = tree.read_file(entry.path) if entry.path.endswith(".py") and entry.size <= MAX_SIZE else None
    try:
        return ast.parse(content) if content is not None else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _collect_names(tree: SourceTree, entry: SourceEntry) -> set[str] | None:
    """Return the names that a module defines, or None if only an import would show them."""
    module = _parse_module(tree, entry)
    if module is None:
        return None
    found: set[str] = set()
    for node in ast.walk(module):
        star = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DYNAMIC_CALLS
        replaced = isinstance(node, ast.Attribute) and node.attr == "modules"
        if star or called or replaced or isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            return None
        if isinstance(node, ast.Global):
            found.update(node.names)
    for node in _walk_module_level(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def _walk_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes except those inside functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from _walk_module_level(child)


def _find_applications(tree: SourceTree) -> list[str]:
    """Return the applications and factories that the source defines, in the format of flask_app_wsgi."""
    objects, factories, count = [], [], 0
    for entry in sorted(tree.list_files(), key=lambda entry: (entry.path.count("/"), entry.path)):
        parts = entry.path.removesuffix(".py").split("/")
        if not entry.path.endswith(".py") or len(parts) > MAX_DEPTH or not all(map(str.isidentifier, parts)):
            continue
        if SKIPPED_DIRECTORIES.intersection(parts) or count >= MAX_FILES:
            continue
        count += 1
        module = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        parsed = _parse_module(tree, entry)
        for node in parsed.body if parsed else []:
            objects += [f"{module}:{name}" for name in _find_application_names(node)]
            if isinstance(node, ast.FunctionDef) and node.name in FACTORIES:
                factories.append(f"{module}:{node.name}()")
    return [*dict.fromkeys(objects), *dict.fromkeys(factories)]


def _find_application_names(node: ast.stmt) -> list[str]:
    """Return the names of the applications that a statement defines."""
    if isinstance(node, ast.FunctionDef):
        return [node.name] if node.name in APPLICATION_NAMES and len(node.args.args) == 2 else []
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [name for alias in node.names for name in [alias.asname or alias.name] if name in APPLICATION_NAMES]
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    is_application = isinstance(value, ast.Call) and _get_called_name(value) in APPLICATION_CALLS
    return [name for name in names if value is not None and (is_application or name in APPLICATION_NAMES)]


def _get_called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
