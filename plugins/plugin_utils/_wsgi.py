# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare flask_app_wsgi with the modules of a source: what it names must be there. Nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ansible_collections.flaskops.production.plugins.module_utils import _dependencies
from ansible_collections.flaskops.production.plugins.plugin_utils._source_request import Request
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import Entry, SourceError, Tree, listing

# What makes an application, by the last part of what is called.
MAKERS = {
    *("Flask", "Quart", "APIFlask", "OpenAPI", "Bottle", "default_app", "DispatcherMiddleware", "WSGIApplication"),
    *("FlaskApp", "create_app", "make_app", "make_wsgi_app", "get_wsgi_application", "create_application"),
}
FACTORIES = ("create_app", "make_app", "create_application")
NAMES = ("app", "application")
# An application's own names for its module, which no package of an index installs.
OWN = ("wsgi", "app", "main", "application", "run", "server")
# Where examples of applications are.
ELSEWHERE = {"test", "tests", "doc", "docs", "example", "examples", "migrations", "node_modules", "scripts"}
DEPTH, FILES, SIZE = 3, 500, 256 * 1024
DYNAMIC = {"exec", "globals", "locals", "setattr", "vars"}


def check_wsgi(tree: Tree, request: Request, texts: Mapping[str, str]) -> None:
    """Refuse a source that lacks the module or the callable. What a package may install is left to the host."""
    module, _colon, expression = request.wsgi.partition(":")
    name = expression.partition("(")[0].partition(".")[0]
    if not module or not name:
        return
    entry = find_module(tree, module)
    if entry is None:
        if not _may_be_elsewhere(tree, request, texts, module):
            found = _applications(tree)
            raise SourceError(f"{_begin(request, tree)} holds no module '{module}'; {_advice(found)}")
        return
    defined = _names_of(tree, entry)
    if defined is not None and name not in defined:
        found = [item for item in _applications(tree) if item.partition(":")[0] == module] or _applications(tree)
        raise SourceError(f"{_begin(request, tree)} defines no '{name}' in {entry.path}; {_advice(found)}")


def _begin(request: Request, tree: Tree) -> str:
    return f"flask_app_wsgi is '{request.wsgi}', but {tree.label}"


def _advice(found: list[str]) -> str:
    if not found:
        return "no module of it defines an application: set flask_app_wsgi to module:callable, such as shop:app."
    return (
        f"set flask_app_wsgi to {'an application' if len(found) == 1 else 'one'} that it defines: {listing(found, 4)}."
    )


def find_module(tree: Tree, module: str) -> Entry | None:
    """The file of a module in the release, where Gunicorn's working directory finds it."""
    path = module.replace(".", "/")
    for name in (f"{path}.py", f"{path}/__init__.py"):
        entry = tree.find(name)
        if entry is not None and entry.kind == "file":
            return entry
    # A compiled module.
    return next((entry for entry in tree.files() if entry.path.startswith(f"{path}.") and _is_compiled(entry)), None)


def _is_compiled(entry: Entry) -> bool:
    return entry.path.endswith((".so", ".pyc"))


def _may_be_elsewhere(tree: Tree, request: Request, texts: Mapping[str, str], module: str) -> bool:
    """Whether something else than the source may bring the module: shared data, or an installed package."""
    path, top = module.replace(".", "/"), module.partition(".")[0]
    if any(f"{path}.py".startswith(shared) or f"{path}/".startswith(shared) for shared in request.shared_paths):
        return True
    if tree.find(f"{top}/__init__.py") or tree.find(f"{top}.py"):
        # The package in the source hides one that is installed.
        return False
    lines = [line.text for name, text in texts.items() for line in _lines(name, text)] + list(request.packages)
    # A package that is built from a directory of the source.
    built = [line for line in lines if _dependencies.parse_local_path(line) and _dependencies.parse_name(line) is None]
    if built and any(entry.path.endswith((f"/{path}.py", f"/{path}/__init__.py")) for entry in tree.files()):
        return True
    if top in OWN:
        return False
    if not _applications(tree):
        return bool(texts or request.packages)
    plain = _dependencies.normalize_name(top)
    names = [_dependencies.parse_name(line) for line in lines if line not in built]
    # Of a lock file or a project, any mention counts.
    names += [text for name, text in texts.items() if _dependencies.detect_format(name) != _dependencies.REQUIREMENTS]
    return any(name is None or plain in name or name in plain for name in names)


def _lines(name: str, text: str) -> list[_dependencies.Line]:
    return (
        _dependencies.parse_requirements(text)
        if _dependencies.detect_format(name) == _dependencies.REQUIREMENTS
        else []
    )


# --- what modules define ---------------------------------------------------------------------------------------------


def _parsed(tree: Tree, entry: Entry) -> ast.Module | None:
    """The syntax tree of a file; None for what this Python cannot read: the hosts may have a newer one."""
    content = tree.read(entry.path) if entry.path.endswith(".py") and entry.size <= SIZE else None
    try:
        return ast.parse(content) if content is not None else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names_of(tree: Tree, entry: Entry) -> set[str] | None:
    """The names that a module has after its import; None when only its import would tell."""
    module = _parsed(tree, entry)
    if module is None:
        return None
    found: set[str] = set()
    for node in ast.walk(module):
        star = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DYNAMIC
        replaced = isinstance(node, ast.Attribute) and node.attr == "modules"
        if star or called or replaced or isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            return None
        if isinstance(node, ast.Global):
            found.update(node.names)
    for node in _at_module_level(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def _at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those inside functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from _at_module_level(child)


def _applications(tree: Tree) -> list[str]:
    """The applications and factories that modules of the source define, as flask_app_wsgi would name them."""
    objects, factories, looked = [], [], 0
    for entry in sorted(tree.files(), key=lambda entry: (entry.path.count("/"), entry.path)):
        parts = entry.path.removesuffix(".py").split("/")
        if not entry.path.endswith(".py") or len(parts) > DEPTH or not all(map(str.isidentifier, parts)):
            continue
        if ELSEWHERE.intersection(parts) or looked >= FILES:
            continue
        looked += 1
        module = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        parsed = _parsed(tree, entry)
        for node in parsed.body if parsed else []:
            objects += [f"{module}:{name}" for name in _objects(node)]
            if isinstance(node, ast.FunctionDef) and node.name in FACTORIES:
                factories.append(f"{module}:{node.name}()")
    return [*dict.fromkeys(objects), *dict.fromkeys(factories)]


def _objects(node: ast.stmt) -> list[str]:
    """The applications that one statement defines."""
    if isinstance(node, ast.FunctionDef):
        return [node.name] if node.name in NAMES and len(node.args.args) == 2 else []
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [name for alias in node.names for name in [alias.asname or alias.name] if name in NAMES]
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    made = isinstance(value, ast.Call) and _called(value) in MAKERS
    return [name for name in names if value is not None and (made or name in NAMES)]


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
