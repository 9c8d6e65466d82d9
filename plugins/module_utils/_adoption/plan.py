# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the adoption of a deployment made by other tools, from the doctor's facts.

The plan separates data from code, derives settings of the roles from the old unit and site, and lists obstacles.
Nothing is changed, and no value of an environment variable is read.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption.gunicorn import (
    DEFAULT_FILE,
    carry_gunicorn,
    command,
    options,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.places import (
    HIDDEN,
    LARGE,
    Contents,
    Surroundings,
    data_beside,
    mentions,
    named_paths,
    rewrite,
    texts_of,
    writable_outside,
    written,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.sources import (
    BESIDE,
    SUFFIXES,
    find_source,
    is_database_at,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.unit import carry_over
from ansible_collections.flaskops.production.plugins.module_utils._core.text import one_line
from ansible_collections.flaskops.production.plugins.module_utils._doctor.discovery import parse_exec_start
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts, find_venv
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import (
    MAX_SCANNED,
    Node,
    has_permission,
    is_within,
    load_text,
    read_node,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import format_paths
from ansible_collections.flaskops.production.plugins.module_utils._doctor.names import (
    DATABASE,
    KEY,
    LOGS,
    PUBLIC_ENV,
    SECRETS,
    UPLOADS,
)
from ansible_collections.flaskops.production.plugins.module_utils._doctor.readers.packages import (
    list_requested_packages,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    UnsafePathError,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    open_directory_safely,
    read_file,
    resolve,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import Location, Server
from ansible_collections.flaskops.production.plugins.module_utils._python import requirements

DEPENDENCIES = ("requirements.txt", "pyproject.toml", "pylock.toml", "uv.lock")
# What the role nginx_site writes by itself, or what the settings that are found stand for.
UNDERSTOOD = {
    *("listen", "server_name", "location", "root", "index", "client_max_body_size", "access_log", "error_log"),
    *("ssl_certificate", "ssl_certificate_key", "ssl_protocols", "ssl_ciphers", "ssl_prefer_server_ciphers"),
    *("ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets", "ssl_dhparam", "http2", "server_tokens"),
    *("proxy_pass", "proxy_set_header", "proxy_redirect", "proxy_http_version", "proxy_buffering", "charset"),
    *("gzip", "gzip_types", "gzip_vary", "gzip_min_length", "keepalive_timeout", "return", "if"),
    *("proxy_read_timeout", "proxy_connect_timeout", "proxy_send_timeout", "client_body_timeout"),
}
# Timeouts of a site that are settings of the role, and what these accept.
TIMEOUTS = ("proxy_read_timeout", "proxy_connect_timeout", "proxy_send_timeout", "client_body_timeout")
DURATION = re.compile(r"[1-9][0-9]*(ms|s|m|h)?$")
CHALLENGE = "/.well-known/acme-challenge"
# What is served of nobody's directory: source code.
CODE_FILE = re.compile(r"\.(py|pyc|php|cfg|toml|ini)$")
ENV = "environment"
RESERVED = ("static", "media", "logs", ".env", "database")


class Move(NamedTuple):
    """Data that is copied: from where, to where in shared/, and the name under which the release finds it."""

    kind: str
    source: str
    target: str
    # The name in the release that leads to it; empty where none does.
    link: str
    # A name in shared/ on the way from the release to it; empty where the way is direct.
    via: str
    why: str


@dataclass
class Plan:
    """What is to be done, and what is in the way."""

    code: str = ""
    moves: list[Move] = field(default_factory=list)
    # Environment files: what the application reads by itself, and what the unit names.
    dotenv: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    # Names of variables that the unit itself sets.
    unit_variables: list[str] = field(default_factory=list)
    # Old paths in the values of the environment, and what they become.
    rewrites: list[tuple[str, str]] = field(default_factory=list)
    # What the release finds in shared/ already, as another tool has shared it.
    shared: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    variables: dict[str, object] = field(default_factory=dict)
    sites: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)


def plan(
    facts: Facts,
    root: str,
    given: set[str],
    shared_paths: list[str] | None = None,
    unit_text: str = "",
    unit_variables: list[str] | None = None,
    around: Surroundings | None = None,
    excluded: list[str] | None = None,
) -> Plan:
    """Everything that follows from what was read. Settings that are given are not overridden.

    unit_text: the service's unit with its drop-ins; unit_variables: the names that it sets with Environment=. excluded:
    patterns of names that are no code.
    """
    found = Plan(code=facts.code)
    around = around or Surroundings()
    _service(facts, root, given, found)
    if found.obstacles:
        return found
    _data(facts, root, found, shared_paths, around)
    _named(facts, root, found, around)
    _elsewhere(facts, root, given, found, around)
    _unnamed(facts, root, found, around)
    _size(facts, found)
    _environment(facts, given, found, unit_variables or [])
    _account(facts, found)
    _unit(facts, unit_text, given, found)
    _gunicorn(facts, given, found)
    _dependencies(facts, found)
    _nginx(facts, root, given, found)
    _sources(facts, root, found)
    found.exclude += [move.source for move in found.moves]
    found.exclude += [os.path.join(facts.code, move.link) for move in found.moves if move.link]
    _rewrites(facts, root, given, found, around)
    _mentions(facts, root, found, around, excluded or [])
    _inner_links(facts, found, around)
    _units_beside(facts, found, around)
    paths = [move.link + ("/" if os.path.isdir(move.source) else "") for move in found.moves if move.link]
    shared = _shared_already(facts, root)
    found.variables["release_shared_paths"] = list(dict.fromkeys(paths + shared))
    staying = [move.link for move in found.moves if move.source == os.path.join(root, "shared", move.target)]
    found.shared = [name for name in dict.fromkeys(shared + staying) if name and _may_write(facts, name)]
    found.variables = {name: value for name, value in found.variables.items() if name not in given}
    return found


# --- whether it can be done ------------------------------------------------------------------------------------------


def _service(facts: Facts, root: str, given: set[str], found: Plan) -> None:
    """What has to be there: a service that runs, code, and a site that leads to it."""
    say = found.obstacles.append
    if not facts.unit:
        say(
            f"No systemd service runs {facts.root}: set adopt_unit to the name of its service. A process that "
            "systemd did not start cannot be adopted, because nothing restarts it if the adoption fails."
        )
        return
    for path in dict.fromkeys((facts.root, facts.live)):
        with contextlib.suppress(FileNotFoundError):
            try:
                if resolve(path) != facts.code and path == facts.live:
                    say(f"{path} leads elsewhere than a moment ago: run again when nobody is at work on it.")
            except UnsafePathError as error:
                say(f"The old deployment is not where it seems to be: {error} Set adopt_from to its directory.")
    unit = facts.unit["Id"]
    if facts.unit.get("ActiveState") != "active":
        say(f"{unit} does not run ({facts.unit.get('ActiveState')}): start it first.")
    if not os.path.isdir(facts.code):
        say(f"The code of {unit} does not exist: {facts.code}. Set adopt_from to its directory.")
    elif is_within(root, facts.code):
        say(
            f"flask_app_root is {root}, which is or lies in the code ({facts.code}): set it to another directory, such "
            f"as {root}-production."
        )
    if not facts.listen:
        say(f"{unit} has no known address: it must be Gunicorn with --bind, or have a socket unit.")
    if facts.nginx_state == "missing":
        say("There is no Nginx on the host: only requests through Nginx can be sent to another process.")
    elif facts.nginx_state.startswith("invalid"):
        said = [line for line in facts.nginx_output.splitlines() if "[emerg]" in line] or [facts.nginx_output]
        say(f"Nginx refuses its configuration: {' '.join(said)} Fix it first.")
    elif facts.nginx_state.endswith("stopped"):
        say("Nginx does not run: start it first.")
    elif facts.listen and not [site for site in facts.sites() if _leads(site, facts)]:
        say(f"No site of Nginx leads to {facts.listen}, where {unit} listens.")


def _leads(site: Server, facts: Facts) -> bool:
    return any(location.proxy and location.proxy == facts.listen for location in site.locations)


# --- data ------------------------------------------------------------------------------------------------------------


def _data(facts: Facts, root: str, found: Plan, shared_paths: list[str] | None, around: Surroundings) -> None:
    """What is data, among the code, behind links out of it, and beside it: uploads, databases, logs, keys."""
    tree = [
        item for item in facts.tree if not BESIDE.search(item.path) or not is_database_at(BESIDE.sub("", item.path))
    ]
    served = _served(facts)
    if shared_paths is not None:
        _given_data(facts, root, found, shared_paths)
        _forgotten(facts, root, tree, served, around, found)
    else:
        _detected_data(facts, root, tree, served, around, found)
    found.exclude += [item.path for item in facts.tree if BESIDE.search(item.path) and not _taken(item.path, found)]
    found.exclude += [
        move.source + suffix for move in found.moves for suffix in SUFFIXES if is_database_at(move.source)
    ]
    # Uploads that lie beside the code, in the old tree.
    for path, location in served.items():
        if _is_beside(facts, root, path) and _is_uploads(path, location) and not _taken(path, found):
            target = _media(found) or _free(_plain(os.path.relpath(path, facts.root)), found)
            found.moves.append(Move("uploads", path, target, "", "", f"Nginx serves it at {location.path}"))
    for item in facts.top_level:
        if facts.root == root and os.path.dirname(item.path) == f"{root}/shared" and DATABASE.search(item.path):
            found.obstacles.append(
                f"{item.path} lies in shared/ itself, which only root may write to: move it to a directory there, such "
                f"as {root}/shared/database/, and change the path in the application."
            )


def _detected_data(
    facts: Facts, root: str, tree: list[Node], served: dict[str, Location], around: Surroundings, found: Plan
) -> None:
    """What looks like data."""
    _linked_data(facts, root, served, found)
    contents = Contents(tree, facts.code)
    changing = _changing(facts, contents, written(facts, tree, around))
    open_code = (
        facts.runtime_user is None
        or not facts.runtime_user.uid
        or has_permission(facts.runtime_user, _node(facts, facts.code), 2)
    )
    for item in tree:
        if item.kind == "directory" and not _taken(item.path, found):
            _directory_move(facts, item, contents, served, changing, open_code, found)
    for item in tree:
        if item.kind == "file" and not _taken(item.path, found):
            _file_move(facts, item, changing, found)


def _forgotten(
    facts: Facts, root: str, tree: list[Node], served: dict[str, Location], around: Surroundings, found: Plan
) -> None:
    """What looks like data, and is not among the data that was set: the application could not write to it any more."""
    all_data = Plan(code=facts.code)
    _detected_data(facts, root, tree, served, around, all_data)
    for move in all_data.moves:
        if _taken(move.source, found) or around.leaves(move.source):
            continue
        if any(is_within(given.source, move.source) for given in found.moves):
            continue  # a part of it was set
        if move.kind in ("uploads", "database", "data"):
            found.obstacles.append(
                f"{move.source} is data ({move.why}), and release_shared_paths does not have {move.link}, so that the "
                f"application could not write to it any more: add it, or set adopt_leave: ['{move.source}']."
            )
        else:
            found.attention.append(f"{move.source} is not copied: release_shared_paths does not have {move.link}.")


def _given_data(facts: Facts, root: str, found: Plan, shared_paths: list[str]) -> None:
    """What release_shared_paths says is data."""
    for name in shared_paths:
        link = name.rstrip("/")
        path = os.path.join(facts.code, link)
        source = os.path.realpath(path)
        if os.path.islink(path) and source == os.path.realpath(os.path.join(root, "shared", name)):
            continue  # another tool has shared it already
        if os.path.lexists(path):
            # Where a link leads out of the old deployment, the link itself is named as what cannot be copied.
            inside = any(is_within(source, top) for top in tops_of(facts)) and os.path.lexists(source)
            found.moves.append(Move("data", source if inside else path, link, link, "", "release_shared_paths has it"))
        elif not name.endswith("/") and not os.path.lexists(os.path.join(root, "shared", name)):
            found.obstacles.append(f"release_shared_paths has {name}, a file, but {path} does not exist.")


def _linked_data(facts: Facts, root: str, served: dict[str, Location], found: Plan) -> None:
    """What links lead to out of the code, but in the old deployment, as other tools share data between releases."""
    links = [(os.path.realpath(item.path), item) for item in facts.tree if item.target]
    for end, item in sorted(links, key=lambda pair: (len(pair[0]), pair[1].path)):
        link = os.path.relpath(item.path, facts.code)
        if (
            not _is_beside(facts, facts.code, end)
            or not os.path.lexists(end)
            or end == os.path.realpath(os.path.join(root, "shared", link))
            or link == ".env"
            or os.path.exists(os.path.join(end, "pyvenv.cfg"))
        ):
            continue
        above = next((move for move in found.moves if is_within(end, move.source)), None)
        if above:
            target = os.path.normpath(os.path.join(above.target, os.path.relpath(end, above.source)))
            kind, why = above.kind, f"{item.path} leads there"
        elif is_within(end, os.path.join(root, "shared")):
            kind, target, why = "data", os.path.relpath(end, os.path.join(root, "shared")), "it stays where it is"
        else:
            kind, target, why = _kind_of_linked(end, item.path, link, served, found)
        found.moves.append(_move(kind, end, target, link, why))


def _kind_of_linked(end: str, path: str, link: str, served: dict[str, Location], found: Plan) -> tuple[str, str, str]:
    name, flat = os.path.basename(link), link.replace("/", "-")
    if os.path.isdir(end):
        location = served.get(end)
        if location and _is_uploads(end, location):
            return "uploads", _media(found) or _plain(link), f"Nginx serves it at {location.path}"
        if name in UPLOADS:
            return "uploads", _plain(link), "uploads"
        if name in LOGS:
            return "logs", "logs" if link in LOGS else _plain(link), "logs"
        # Nginx reads it, too, where it serves what is above it.
        public = any(is_within(place, directory) for place in (path, end) for directory in served)
        return "uploads" if public else "data", _plain(link), "a link leads to it"
    if is_database_at(end):
        return "database", f"database/{flat}", "an SQLite database"
    if name.endswith(".log"):
        return "log", f"logs/{flat}", "a log"
    if KEY.match(name) or SECRETS.match(name):
        return "key", link, "a private key" if KEY.match(name) else "environment variables"
    return "data", _plain(link), "a link leads to it"


def _changing(facts: Facts, contents: Contents, files: list[str]) -> dict[str, str]:
    """Directories of data and single files among the code, of the files that the service writes to; and why."""
    found = {}
    why = f"{facts.runtime_user.name if facts.runtime_user else 'the service'} has written to it since it started"
    own = [path.lstrip("+-") for path in facts.unit.get("ReadWritePaths", "").split()]
    for path in [*files, *(path for path in own if is_within(path, facts.code) and path != facts.code)]:
        top = path if os.path.isdir(path) else os.path.dirname(path)
        if top == facts.code or top in contents.code:
            found[path] = why
            continue
        above = os.path.dirname(top)
        while above != facts.code and above not in contents.code and os.path.basename(above) != "static":
            top, above = above, os.path.dirname(above)
        found[top] = why
    for path, count in contents.files.items():
        if count >= LARGE and path != facts.code and path not in contents.code and os.path.basename(path) != "static":
            found.setdefault(path, f"it has {count} files, and no code")
    return found


def _shared_already(facts: Facts, root: str) -> list[str]:
    """What another tool has linked out of the code to where this collection links it, too."""
    found = []
    for item in facts.tree:
        name = os.path.relpath(item.path, facts.code)
        if item.target and os.path.realpath(item.path) == os.path.realpath(os.path.join(root, "shared", name)):
            found.append(name + ("/" if os.path.isdir(item.path) else ""))
    return found


def _may_write(facts: Facts, name: str) -> bool:
    """Whether the old service may write to what a name among the code leads to."""
    item = read_node(os.path.realpath(os.path.join(facts.code, name.rstrip("/"))))
    return item is not None and facts.runtime_user is not None and has_permission(facts.runtime_user, item, 2)


def _node(facts: Facts, path: str) -> Node:
    return facts.nodes.get(path) or Node(path, "directory", 0, 0, 0)


def _is_beside(facts: Facts, root: str, path: str) -> bool:
    """Whether a path is in the old deployment, but neither among the code nor in the new layout."""
    return not is_within(path, facts.code) and is_within(path, facts.root) and not is_within(path, root)


def _taken(path: str, found: Plan) -> bool:
    return any(is_within(path, move.source) for move in found.moves)


def _media(found: Plan) -> str:
    """shared/media, which only the first directory of uploads gets."""
    return "" if any(move.target == "media" for move in found.moves) else "media"


def _free(target: str, found: Plan) -> str:
    """A name in shared/ that no other data has."""
    while any(is_within(target, move.target) or is_within(move.target, target) for move in found.moves):
        target = f"beside/{target}"
    return target


def _served(facts: Facts) -> dict[str, Location]:
    """The directories that Nginx serves of the application, each with its location."""
    return {
        os.path.realpath(location.directory): location
        for site in facts.sites()
        for location in site.locations
        if location.directory and not location.path.startswith(CHALLENGE)
    }


def _is_uploads(path: str, location: Location) -> bool:
    return os.path.basename(path) in UPLOADS or location.path.strip("/").split("/")[-1] in UPLOADS


def _directory_move(
    facts: Facts,
    item: Node,
    contents: Contents,
    served: dict[str, Location],
    changing: dict[str, str],
    open_code: bool,
    found: Plan,
) -> None:
    name, link = os.path.basename(item.path), os.path.relpath(item.path, facts.code)
    if os.path.exists(os.path.join(item.path, "pyvenv.cfg")) or "/." in f"/{link}":
        return
    python = item.path in contents.python
    location = served.get(item.path)
    if location and _is_uploads(item.path, location) and not python:
        found.moves.append(
            _move("uploads", item.path, _media(found) or _plain(link), link, f"Nginx serves it at {location.path}")
        )
    elif name in UPLOADS and not python:
        found.moves.append(_move("uploads", item.path, _plain(link), link, "uploads"))
    elif name in LOGS and not python:
        found.moves.append(_move("logs", item.path, "logs" if link in LOGS else _plain(link), link, "logs"))
    elif name == "instance":
        found.moves.append(_move("data", item.path, _plain(link), link, "Flask's directory for data"))
    elif item.path in changing and item.path not in contents.code:
        # Nginx reads it, too, where it serves what is above it.
        public = any(is_within(item.path, path) for path in served)
        found.moves.append(_move("uploads" if public else "data", item.path, _plain(link), link, changing[item.path]))
    elif location or link == "static" or item.path in contents.code:
        return
    elif item.path in contents.databases:
        found.moves.append(_move("data", item.path, _plain(link), link, "it holds a database"))
    elif not open_code and facts.runtime_user and has_permission(facts.runtime_user, item, 2):
        found.moves.append(_move("data", item.path, _plain(link), link, f"{facts.runtime_user.name} writes to it"))


def _file_move(facts: Facts, item: Node, changing: dict[str, str], found: Plan) -> None:
    name, link = os.path.basename(item.path), os.path.relpath(item.path, facts.code)
    flat = link.replace("/", "-")
    if is_database_at(item.path):
        found.moves.append(_move("database", item.path, f"database/{flat}", link, "an SQLite database"))
    elif name.endswith(".log"):
        found.moves.append(_move("log", item.path, f"logs/{flat}", link, "a log"))
    elif KEY.match(name):
        found.moves.append(Move("key", item.path, link, link, "", "a private key"))
    elif item.path in changing and not SECRETS.match(name):
        found.moves.append(_move("data", item.path, f"data/{flat}", link, changing[item.path]))


def _plain(link: str) -> str:
    """A name in shared/ that nothing else has."""
    plain = link[len("shared/") :] if link.startswith("shared/") else link
    return plain if plain.split("/")[0] not in RESERVED or plain.startswith("static/") else f"data/{plain}"


def _move(kind: str, source: str, target: str, link: str, why: str) -> Move:
    return Move(kind, source, target, link, "" if target == link else link, why)


# --- data beside the code, and outside -------------------------------------------------------------------------------


def _named(facts: Facts, root: str, found: Plan, around: Surroundings) -> None:
    """What the environment names beside the code, and outside of the deployment."""
    sources: dict[str, str] = {}
    for name, path in named_paths(around.environment, facts.code):
        real = os.path.realpath(path)
        if around.leaves(real) or is_within(real, facts.code) or is_within(real, os.path.join(root, "shared")):
            continue
        if not is_within(real, facts.root):
            _outside(facts, root, real, name, found)
        elif is_within(facts.code, real):
            found.obstacles.append(
                f"{name} names {path}, which holds the code and more. Let a variable name the data itself; adopt_leave "
                f"with {path}, if the application writes nothing there."
            )
        else:
            source = _data_at(facts, real)
            if source and source not in (file.lstrip("-") for file in facts.env_files):
                sources.setdefault(source, name)
    for source, name in sorted(sources.items(), key=lambda item: len(item[0])):
        if not _taken(source, found) and not _in_environment(source, facts.root):
            _beside_move(facts, source, f"{name} names it", found)


def _data_at(facts: Facts, path: str) -> str:
    """What has to be copied where a path is named: it, or the directory that it is in; empty where nothing is there."""
    if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode):
        return ""
    if os.path.isdir(path):
        return path
    above = os.path.dirname(path)
    if above != facts.root and not is_within(facts.code, above) and os.path.isdir(above):
        return above
    return path if os.path.isfile(path) else ""


def _in_environment(path: str, top: str) -> bool:
    """Whether a path is in a virtual environment."""
    while is_within(path, top):
        if os.path.exists(os.path.join(path, "pyvenv.cfg")):
            return True
        path = os.path.dirname(path)
    return False


def _beside_move(facts: Facts, source: str, why: str, found: Plan) -> None:
    name = os.path.relpath(source, facts.root)
    if os.path.isdir(source):
        kind = "uploads" if os.path.basename(name) in UPLOADS else "data"
        target = _free(_plain(name), found)
    elif is_database_at(source):
        kind, target = "database", _free(f"database/{name.replace('/', '-')}", found)
    else:
        kind, target = "data", _free(_plain(name), found)
    found.moves.append(Move(kind, source, target, "", "", why))


def _outside(facts: Facts, root: str, path: str, why: str, found: Plan, sure: bool = False) -> None:
    """Data outside of the deployment stays there, and the new units let the application write to it."""
    place = writable_outside(facts, path, sure)
    if not place or is_within(place, root) or any(is_within(place, top) for top in tops_of(facts)):
        return
    if any(is_within(place, top) for top in HIDDEN):
        found.obstacles.append(
            f"{place}, to which the service writes ({why}), lies outside of {facts.root}, and the new units hide it: "
            f"move it to {facts.root} first, or name it in adopt_leave if the application can do without it."
        )
    elif re.search(r"[\s:%\"'\\]", place):
        found.obstacles.append(f"{place}, to which the service writes ({why}), has a name that no unit can hold.")
    else:
        paths = found.variables.setdefault("gunicorn_systemd_read_write_paths", [])
        if isinstance(paths, list) and place not in paths:
            paths.append(place)


def _elsewhere(facts: Facts, root: str, given: set[str], found: Plan, around: Surroundings) -> None:
    """What else the service writes to: by its unit, by open files, and through links out of the deployment."""
    own = [path.lstrip("+-") for path in facts.unit.get("ReadWritePaths", "").split()]
    known = [*((path, "ReadWritePaths") for path in own), *((path, "it has it open") for path in around.opened)]
    for path, why in known:
        real = os.path.realpath(path)
        if path in around.logs or around.leaves(real) or any(is_within(real, top) for top in [*tops_of(facts), root]):
            continue
        _outside(facts, root, real, why, found, sure=True)
    for item in facts.tree:
        end = os.path.realpath(item.path)
        if item.target and not any(is_within(end, top) for top in [*tops_of(facts), root]) and not around.leaves(end):
            _outside(facts, root, end, f"{item.path} leads there", found)
    paths = found.variables.get("gunicorn_systemd_read_write_paths")
    if paths and "gunicorn_systemd_read_write_paths" in given:
        found.attention.append(f"gunicorn_systemd_read_write_paths is set: it has to have {paths}, where it writes.")


def _unnamed(facts: Facts, root: str, found: Plan, around: Surroundings) -> None:
    """Data beside the code that nothing leads to: the release would not find it."""
    unseen = {
        path: why
        for path, why in data_beside(facts, around).items()
        if not _taken(path, found) and not around.leaves(path) and not is_within(path, os.path.join(root, "shared"))
    }
    outer = [path for path in unseen if not any(path != other and is_within(path, other) for other in unseen)]
    if outer:
        found.obstacles.append(
            f"{format_paths(outer)} {'is' if len(outer) == 1 else 'are'} data ({unseen[outer[0]]}) beside the code, "
            "and no environment variable and no link in the code leads there, so the release would not find it. Let "
            "the application take the path from an environment variable; or, if it does not use the data, set "
            f"adopt_leave: {outer}."
        )


def _mentions(facts: Facts, root: str, found: Plan, around: Surroundings, excluded: list[str]) -> None:
    """Lines of the code that name data, or the deployment itself, by its old absolute path."""
    code = [
        item
        for item in facts.tree
        if not _taken(item.path, found)
        and not any(is_within(item.path, path) for path in found.exclude)
        and not any(
            fnmatch.fnmatchcase(part, pattern)
            for part in os.path.relpath(item.path, facts.code).split("/")
            for pattern in excluded
        )
    ]
    shared = [
        item for item in around.beside if any(m.kind == "data" and is_within(item.path, m.source) for m in found.moves)
    ]
    tops = list(dict.fromkeys([facts.root, facts.code, facts.live]))
    data, more = [], []
    for said in mentions(texts_of([*code, *shared]), tops):
        real = os.path.realpath(said.path)
        stays = any(is_within(said.path, os.path.join(root, name)) for name in ("app", "shared", "run"))
        if stays or around.leaves(real):
            continue
        beside = os.path.lexists(real) and _is_beside(facts, root, real) and not _in_environment(real, facts.root)
        (data if _taken(real, found) or beside else more).append(f"{said.file}:{said.line} ({said.path})")
    if data:
        found.obstacles.append(
            f"The code names data by its old path: {format_paths(data)}. The release would not find it: let the "
            "application take the path from an environment variable."
        )
    if more:
        found.attention.append(f"The code names its old directory, where the release is not: {format_paths(more)}.")


def _inner_links(facts: Facts, found: Plan, around: Surroundings) -> None:
    """Links in data that lead to other parts of the old deployment, which a copy would not find."""
    lost = []
    for item in [*facts.tree, *around.beside]:
        holding = (move for move in found.moves if item.path != move.source and is_within(item.path, move.source))
        move = next(holding, None) if item.target else None
        end = os.path.realpath(item.path)
        inside = move and any(is_within(end, top) for top in tops_of(facts))
        if move and inside and not is_within(end, move.source) and os.path.lexists(end):
            lost.append(f"{item.path} -> {item.target}")
    if lost:
        found.obstacles.append(
            f"Links in the data lead to other parts of {facts.root}, where the copies are not: {format_paths(lost)}. "
            "Replace them by what they lead to."
        )


def _rewrites(facts: Facts, root: str, given: set[str], found: Plan, around: Surroundings) -> None:
    """What the environment names in the old deployment gets the new names."""
    if "flask_app_env" in given:
        return
    pairs = [(move.source, os.path.join(root, "shared", move.target)) for move in found.moves if move.kind != ENV]
    pairs += [(path, os.path.join(root, "app")) for path in (facts.code, facts.live) if path]
    environment = find_venv(facts)
    pairs += [(environment, os.path.join(root, "venv"))] if environment else []
    stays = [os.path.join(root, name) for name in ("app", "shared")]
    found.rewrites = [
        (old, new)
        for old, new in dict.fromkeys(pairs)
        if old != new and not any(is_within(old, path) for path in stays)
    ]
    changed = rewrite(around.environment, found.rewrites, facts.code)
    before, after = named_paths(around.environment, facts.code), named_paths(changed, facts.code)
    names = sorted({name for name, _path in set(before) - set(after)})
    own = [path.lstrip("-") for path in facts.env_files if os.path.realpath(path.lstrip("-")) == f"{root}/shared/.env"]
    if names and own:
        found.obstacles.append(
            f"{own[0]} is the environment file of both deployments, and has paths in {', '.join(names)} that the new "
            "one does not have: change them to paths below shared/, and move the data there."
        )
    elif names:
        found.attention.append(
            f"{', '.join(names)} {'names' if len(names) == 1 else 'name'} paths of the old deployment: shared/.env "
            "gets the new ones."
        )
    left = [
        f"{name} ({path})"
        for name, path in after
        if os.path.lexists(path)
        and not any(is_within(path, os.path.join(root, part)) for part in ("app", "venv", "shared", "run"))
        and any(is_within(path, top) for top in tops_of(facts))
        and not around.leaves(os.path.realpath(path))
        and not stat.S_ISSOCK(os.lstat(path).st_mode)
    ]
    if left:
        found.obstacles.append(
            f"Environment variables name paths of the old deployment that are not copied: {format_paths(left)}. Remove "
            f"them, or set adopt_leave: {[path for _name, path in after if any(path in said for said in left)]}."
        )


def _size(facts: Facts, found: Plan) -> None:
    """Whether what is left as code is not too much for it."""
    code = [item for item in facts.tree if not _taken(item.path, found)]
    if facts.truncated or len(code) > MAX_SCANNED:
        largest = Contents(code, facts.code).largest() or facts.code
        found.obstacles.append(
            f"{facts.code} has too many files for code, most of them in {largest}: name data in release_shared_paths, "
            "or set adopt_from to the directory of the code."
        )


def _units_beside(facts: Facts, found: Plan, around: Surroundings) -> None:
    """Other services of the same deployment, which go on with the old code and data."""
    for name, runs in around.units:
        shares = [move for move in found.moves if move.kind not in (ENV, "key", "log", "logs")]
        if runs and shares and name not in around.leave:
            found.obstacles.append(
                f"{name} runs from {facts.root}, too, and would go on with the old data, while {facts.unit['Id']} is "
                f"replaced: stop and disable it, and start it from {facts.root} no more. If it shares no data with the "
                f"application, set adopt_leave: ['{name}']."
            )
        else:
            found.attention.append(
                f"{name} names {facts.root}, too, and is not adopted: let it use the paths of the new layout."
            )


def tops_of(facts: Facts) -> list[str]:
    """The directories of the old deployment, which no link may lead out of."""
    return list(dict.fromkeys([resolve(facts.root), facts.code]))


def _sources(facts: Facts, root: str, found: Plan) -> None:
    """What root would have to read through a link of the old user, and what can't be named to another host."""
    tops = tops_of(facts)
    read = [move.source for move in found.moves] + found.dotenv + found.environment
    unnamed = [path for path in dict.fromkeys([*tops, *read, *found.exclude]) if one_line(path) != path]
    if unnamed:
        found.obstacles.append(
            "Names with control characters, or bytes that are no UTF-8, can't be told apart: "
            f"rename {format_paths(unnamed)}."
        )
    for path in dict.fromkeys(read):
        try:
            if any(is_within(path, top) for top in tops):
                with find_source(path, tops):
                    pass
            else:
                read_file(path, 0)
        except UnsafePathError as error:
            found.obstacles.append(
                f"{path} can't be copied: {error} Put a copy in its place, or take it out of the old deployment."
            )
        except OSError:
            pass  # told by the copy, if it is still so
    leaving = [
        one_line(f"{item.path} -> {item.target}")
        for item in facts.tree
        if item.target and not any(is_within(os.path.realpath(item.path), top) for top in [*tops, root])
    ]
    if leaving:
        found.attention.append(
            f"Links that lead out of {tops[0]} are copied as links, and what they lead to is not: "
            f"{format_paths(leaving)}."
        )


# --- settings --------------------------------------------------------------------------------------------------------


def is_another(path: str, files: list[str]) -> bool:
    """Whether a file is there, and is none of these by another name."""
    return os.path.isfile(path) and os.path.realpath(path) not in map(os.path.realpath, files)


def _environment(facts: Facts, given: set[str], found: Plan, unit_variables: list[str]) -> None:
    """The files that make the environment, the strongest last, and the names that the unit itself sets."""
    inside = os.path.join(facts.code, ".env")
    files = [path.lstrip("-") for path in facts.env_files]
    files = [path for path in files if os.path.isfile(path)]
    found.dotenv = [inside] if is_another(inside, files) else []
    found.environment = files
    found.unit_variables = unit_variables
    found.exclude += [
        item.path
        for item in facts.tree
        if item.kind == "file"
        and not _taken(item.path, found)
        and SECRETS.match(os.path.basename(item.path))
        and not PUBLIC_ENV.search(os.path.basename(item.path))
    ]
    if os.path.isfile(inside):
        # Some applications read it by themselves.
        found.moves.append(Move(ENV, inside, ".env", ".env", "", "the environment"))
    if "flask_app_env" in given and found.dotenv + found.environment + unit_variables:
        places = [*found.dotenv, *found.environment]
        places += [f"{facts.unit['Id']} ({', '.join(unit_variables)})"] if unit_variables else []
        found.attention.append(f"flask_app_env is set, so the values of {' and '.join(places)} are not adopted.")
        found.dotenv, found.environment, found.unit_variables = [], [], []


def _account(facts: Facts, found: Plan) -> None:
    if facts.runtime_user and facts.runtime_user.uid:
        found.variables["flask_app_user"] = facts.runtime_user.name
        found.variables["flask_app_group"] = facts.runtime_user.group
    else:
        found.attention.append(
            "It runs as root, or as a user that is not there. It will run as flask_app_user (a user of its own)."
        )
    if facts.web_user and facts.web_user.uid:
        found.variables["flask_app_web_group"] = facts.web_user.group


def _unit(facts: Facts, text: str, given: set[str], found: Plan) -> None:
    """Limits, groups, dependencies and the rest of the unit, as far as a setting stands for them."""
    own = {facts.unit["Id"], facts.socket_unit.get("Id", "")}
    carried = carry_over(text, own)
    found.variables.update(carried.variables)
    ignored = sorted(set(carried.variables) & given & {"gunicorn_systemd_unit_overrides", "gunicorn_systemd_hardening"})
    for variable in ignored:
        found.attention.append(
            f"{variable} is set, so that of {facts.unit['Id']} is not taken over: {carried.variables[variable]}."
        )
    if carried.left:
        found.attention.append(
            f"Not adopted from {facts.unit['Id']}: {', '.join(carried.left)}. gunicorn_systemd_unit_overrides or "
            "gunicorn_systemd_hardening can hold it."
        )


def _gunicorn(facts: Facts, given: set[str], found: Plan) -> None:
    file = os.path.join(facts.code, options(command(facts.unit)).get("config", "") or DEFAULT_FILE)
    carried = carry_gunicorn(facts.unit, load_text(file))
    found.variables.update(carried.variables)
    if carried.wsgi:
        found.variables["flask_app_wsgi"] = carried.wsgi
    elif "flask_app_wsgi" not in given:
        found.obstacles.append(
            f"'{' '.join(parse_exec_start(facts.unit))}' does not name the WSGI callable: set flask_app_wsgi, such as "
            "wsgi:app."
        )
    if carried.left:
        found.attention.append(
            f"Not adopted from Gunicorn's settings: {', '.join(carried.left)}. gunicorn_systemd_settings can hold "
            "settings, and gunicorn_systemd_workers a number; its logs go to journald."
        )


def _dependencies(facts: Facts, found: Plan) -> None:
    """Requirements in the code, or else what the old environment has, version by version."""
    files = [name for name in DEPENDENCIES if os.path.isfile(os.path.join(facts.code, name))]
    environment = find_venv(facts)
    if files:
        found.variables["venv_requirements"] = files[:1]
        _versions(facts, environment, files[0], found)
    else:
        found.variables["venv_requirements"] = []
        found.variables["venv_packages"] = [item.replace(" ", "==") for item in facts.packages]
        if not facts.packages:
            found.obstacles.append(
                f"{facts.code} has no requirements, and its service names no virtual environment: set venv_packages."
            )
    interpreter = os.path.realpath(os.path.join(environment, "bin", "python3")) if environment else ""
    if interpreter and interpreter != os.path.realpath("/usr/bin/python3") and os.access(interpreter, os.X_OK):
        name = os.path.basename(interpreter)
        own = os.path.dirname(interpreter) == "/usr/bin" and re.match(r"python3\.[0-9]+$", name)
        found.variables["venv_python"] = name if own else interpreter


def _versions(facts: Facts, environment: str, file: str, found: Plan) -> None:
    """Packages whose versions only the old virtual environment says, and those that the requirements do not have."""
    text = load_text(os.path.join(facts.code, file))
    lines = (
        requirements.parse_requirements(text) if requirements.detect_format(file) == requirements.REQUIREMENTS else []
    )
    named = {name: line.text for line in lines for name in [requirements.parse_name(line.text)] if name}
    installed = dict(item.split(" ", 1) for item in facts.packages)
    floating = [f"{name} {version}" for name, version in installed.items() if "==" not in named.get(name, "")]
    if lines and floating:
        found.attention.append(
            f"{file} pins no version of {format_paths(floating)}: the newest that it allows is installed. Pin the "
            "installed ones to keep them."
        )
    by_hand = [
        name for name in list_requested_packages(environment) if name in installed and name not in {*named, "gunicorn"}
    ]
    if lines and by_hand:
        found.attention.append(
            f"{format_paths(by_hand)} {'is' if len(by_hand) == 1 else 'are'} installed in {environment}, but not in "
            f"{file}: add what the application needs to it, or to venv_packages."
        )


# --- the site --------------------------------------------------------------------------------------------------------


def _nginx(facts: Facts, root: str, given: set[str], found: Plan) -> None:
    ours = [site for site in facts.sites() if _leads(site, facts)]
    files = list(dict.fromkeys(site.file for site in ours))
    found.sites = files
    for file in files:
        if not _belongs_to_root(file):
            found.obstacles.append(
                f"{file}, a site of Nginx, can be replaced by another user than root: move it to /etc/nginx."
            )
    beside = [site for site in facts.config.servers if site.file in files and site not in ours]
    foreign = [site for site in beside if _serves(site) and site not in facts.sites()]
    if foreign:
        names = " ".join(name for site in foreign for name in site.names) or "a site without a name"
        found.obstacles.append(f"{foreign[0].file} also has {names}: move that to a file of its own first.")
    together = ours + beside
    _listens(together, found)
    certificates = [(site.certificates[0], site.keys[0]) for site in together if site.certificates and site.keys]
    if certificates:
        found.variables["nginx_site_tls_certificate"], found.variables["nginx_site_tls_certificate_key"] = certificates[
            0
        ]
    sizes = [site.body_size for site in ours if site.body_size]
    if sizes:
        found.variables["nginx_site_client_max_body_size"] = sizes[0]
    _timeouts(facts, ours, found)
    _locations(facts, root, together, given, found)
    unknown = sorted({item.name for site in together for item in site.statements} - UNDERSTOOD)
    if unknown and "nginx_site_extra" not in given:
        found.attention.append(
            f"Not adopted from {' and '.join(files)}: {', '.join(unknown)}. nginx_site_extra can hold it."
        )


def _timeouts(facts: Facts, sites: list[Server], found: Plan) -> None:
    """How long Nginx waits, where the site says so for all that it passes on."""
    for site in sites:
        passing = [
            item
            for item in site.statements
            if item.name == "location" and any(inner.name == "proxy_pass" for inner in item.block)
        ]
        inside = [inner for item in passing if item.words[-1] == "/" for inner in item.block]
        for item in [*site.statements, *inside]:
            if item.name not in TIMEOUTS or not item.words:
                continue
            if not DURATION.match(item.words[0]):
                found.attention.append(f"{item.name} {item.words[0]} in {site.file} is not adopted.")
            elif item.name == "proxy_read_timeout" and _span(item.words[0]) < _worker_timeout(found):
                found.attention.append(
                    f"{item.name} {item.words[0]} in {site.file} is shorter than Gunicorn's timeout: Nginx will wait "
                    "as long as Gunicorn."
                )
            else:
                found.variables[f"nginx_site_{item.name}"] = item.words[0]


def _span(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m|h)?", text).groups()
    return int(number) * {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600}[unit]


def _worker_timeout(found: Plan) -> int:
    return int(found.variables.get("gunicorn_systemd_timeout", 0) or 0)


def _belongs_to_root(path: str) -> bool:
    """Whether only root can replace what is at a path."""
    try:
        open_directory_safely(os.path.dirname(os.path.realpath(path)), links=False).close()
        return os.stat(os.path.dirname(os.path.realpath(path))).st_uid in (0, os.geteuid())
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _serves(site: Server) -> bool:
    """Whether a server block does more than redirect and answer for a certificate."""
    rest = [location for location in site.locations if not location.path.startswith(CHALLENGE)]
    return any(location.proxy or location.directory for location in rest)


def _listens(sites: list[Server], found: Plan) -> None:
    names = list(dict.fromkeys(name for site in sites for name in site.names if name not in ("", "_")))
    catches_all = any(not site.names or "_" in site.names for site in sites)
    found.variables["nginx_site_server_name"] = " ".join(names) or "_"
    default, plain, tls = False, [], []
    for site in sites:
        for address, said in zip(site.listens, site.options):
            port = re.search(r"(?:^|:)([0-9]+)$", address)
            (tls if "ssl" in said else plain).append(int(port.group(1)) if port else 80)
            default = default or "default_server" in said
    found.variables["nginx_site_default_server"] = default or (catches_all and not names)
    found.variables["nginx_site_listen"] = (plain or [80])[0]
    if tls:
        found.variables["nginx_site_tls_listen"] = tls[0]
    more = sorted({*plain[1:], *tls[1:]} - {(plain or [80])[0], *tls[:1]})
    if more:
        found.attention.append(f"The site also listens on {', '.join(map(str, more))}, which is not adopted.")
    alone = [
        address for site in sites for address in site.listens if re.match(r"[0-9]+\.|\[[^]:]*:[^]]*[0-9a-f]", address)
    ]
    if alone:
        found.attention.append(f"The site listened on {', '.join(sorted(set(alone)))} only, and will on all addresses.")
    ipv6 = any("[" in address for site in sites for address in site.listens)
    found.variables["nginx_site_ipv6"] = ipv6


def _locations(facts: Facts, root: str, sites: list[Server], given: set[str], found: Plan) -> None:
    static, media, more = "", "", []
    public = []
    for location in (location for site in sites for location in site.locations):
        url = location.path.rstrip("/") + "/"
        directory = os.path.realpath(location.directory) if location.directory else ""
        move = next((move for move in found.moves if move.source == directory), None)
        if location.path.startswith(CHALLENGE):
            webroot = location.root or location.alias.rstrip("/")[: -len(CHALLENGE)]
            if webroot:
                found.variables["nginx_site_acme_webroot"] = webroot.rstrip("/")
        elif location.proxy and location.proxy != facts.listen:
            if "nginx_site_extra" not in given:
                found.obstacles.append(
                    f"location {location.path} in {location.file} leads to {location.proxy}: put it into "
                    "nginx_site_extra."
                )
        elif location.proxy:
            if location.path != "/" and not location.path.startswith("@"):
                found.attention.append(f"location {location.path} in {location.file} becomes part of the whole site.")
        elif location.path == "/":
            public += [(location, directory)] if directory and os.path.isdir(directory) else []
        elif not directory:
            found.attention.append(f"location {location.path} in {location.file} is not adopted.")
        elif move and move.target == "media" or directory == os.path.join(root, "shared", "media"):
            media = media or url
        elif move:
            more.append({"path": url, "directory": os.path.join(root, "shared", move.target)})
        elif directory == os.path.join(root, "shared", "static"):
            static = static or url
        elif is_within(directory, facts.code) and not static and not _taken(directory, found):
            static = url
            found.variables["release_static_paths"] = [os.path.relpath(directory, facts.code)]
        elif is_within(directory, facts.code):
            below = os.path.relpath(directory, facts.code)
            if not (static and url.startswith(static)):
                more.append({"path": url, "directory": os.path.join(root, "app", below)})
        else:
            more.append({"path": url, "directory": location.directory})
            found.attention.append(f"Nginx goes on to serve {url} from {location.directory}, which is not copied.")
    for location, directory in dict(public).items():
        below = os.path.join(directory, "static")
        if not static and not media.startswith("/static") and os.path.isdir(below) and is_within(below, facts.code):
            static = "/static/"
            found.variables["release_static_paths"] = [os.path.relpath(below, facts.code)]
        _public(facts, root, location, directory, [static, media], more, given, found)
    found.variables["nginx_site_static_url"] = static or ("/static/" if not media.startswith("/static") else "")
    found.variables["nginx_site_media_url"] = media
    if more:
        found.variables["nginx_site_locations"] = more


def _public(
    facts: Facts,
    root: str,
    location: Location,
    directory: str,
    served: list[str],
    more: list[dict[str, str]],
    given: set[str],
    found: Plan,
) -> None:
    """What the old site served of a directory at /, before it asked the application (root with try_files)."""
    inside = is_within(directory, facts.code)
    here = os.path.join(root, "app", os.path.relpath(directory, facts.code)) if inside else location.directory
    urls = [url for url in [*served, *(item["path"] for item in more)] if url]
    files = []
    for item in sorted(os.listdir(directory)):
        path = os.path.join(directory, item)
        move = next((move for move in found.moves if move.source == os.path.realpath(path)), None)
        if item.startswith(".") or any(f"/{item}/".startswith(url) or url.startswith(f"/{item}/") for url in urls):
            continue
        if os.path.isdir(path):
            target = os.path.join(root, "shared", move.target) if move else os.path.join(here, item)
            more.append({"path": f"/{item}/", "directory": target})
        elif re.fullmatch(r"[\w.@+-]+", item) and not CODE_FILE.search(item):
            files.append(item)
    if files and "nginx_site_extra" in given:
        found.attention.append(
            f"{location.file} serves {format_paths([f'/{item}' for item in files])} from {directory}, and the "
            "application will be asked for it: nginx_site_extra can hold locations for it."
        )
    elif files:
        found.variables["nginx_site_extra"] = "".join(
            f"location = /{item} {{ root {here}; disable_symlinks on from={here}; }}\n" for item in files
        )
    if not inside:
        found.attention.append(f"Nginx goes on to serve files from {location.directory}, which is not copied.")
