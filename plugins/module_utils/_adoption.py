# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the adoption of a deployment made by other tools, from the facts of the doctor. Private.

The plan separates data from code, derives settings of the roles from the old unit and site, and lists obstacles.
Nothing is changed, and no value of an environment variable is read.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._adoption_sources import (
    BESIDE,
    SUFFIXES,
    find_source,
    is_database_at,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption_unit import carry_over
from ansible_collections.flaskops.production.plugins.module_utils._doctor_discovery import argv
from ansible_collections.flaskops.production.plugins.module_utils._doctor_facts import Facts, environment_of
from ansible_collections.flaskops.production.plugins.module_utils._doctor_files import Node, may, text_of, within
from ansible_collections.flaskops.production.plugins.module_utils._doctor_judge import (
    DATABASE,
    KEY,
    LOGS,
    PUBLIC_ENV,
    SECRETS,
    UPLOADS,
    several,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    UnsafePathError,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    reach,
    read_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._nginx import Location, Server
from ansible_collections.flaskops.production.plugins.module_utils._text import escape_text

CODE = re.compile(r"\.(py|pyc|pyi|so|html?|jinja2?|j2|js|css|cfg|toml|ini|ya?ml|po|mo)$")
REQUIREMENTS = ("requirements.txt", "pyproject.toml", "pylock.toml", "uv.lock")
CALLABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*(\(.*\))?)?$")
# Gunicorn's options without a value, which a WSGI callable may follow.
SWITCHES = ("--preload", "--daemon", "-D", "--reload", "--capture-output", "--no-sendfile", "--reuse-port", "-R")
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
) -> Plan:
    """Everything that follows from what was read. Settings that are given are not overridden.

    unit_text: the service's unit with its drop-ins; unit_variables: the names that it sets with Environment=.
    """
    found = Plan(code=facts.code)
    _service(facts, root, given, found)
    if found.obstacles:
        return found
    _data(facts, root, found, shared_paths)
    _environment(facts, given, found, unit_variables or [])
    _account(facts, found)
    _unit(facts, unit_text, given, found)
    _gunicorn(facts, given, found)
    _dependencies(facts, found)
    _nginx(facts, root, given, found)
    _sources(facts, root, found)
    found.exclude += [move.source for move in found.moves]
    paths = [move.link + ("/" if os.path.isdir(move.source) else "") for move in found.moves if move.link]
    found.variables["release_shared_paths"] = paths + _shared_already(facts, root)
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
    unit = facts.unit["Id"]
    if facts.unit.get("ActiveState") != "active":
        say(f"{unit} does not run ({facts.unit.get('ActiveState')}): start it first.")
    if not os.path.isdir(facts.code):
        say(f"The code of {unit} does not exist: {facts.code}. Set adopt_from to its directory.")
    elif within(root, facts.code):
        say(
            f"flask_app_root is {root}, which is or lies in the code ({facts.code}): set it to another directory, such "
            f"as {root}-production."
        )
    elif facts.truncated:
        say(f"{facts.code} has too many files for code: set adopt_from to the directory of the code.")
    if not facts.listen:
        say(f"{unit} has no known address: it must be Gunicorn with --bind, or have a socket unit.")
    if facts.nginx == "missing":
        say("There is no Nginx on the host: only requests through Nginx can be sent to another process.")
    elif facts.nginx.startswith("invalid"):
        said = [line for line in facts.nginx_output.splitlines() if "[emerg]" in line] or [facts.nginx_output]
        say(f"Nginx refuses its configuration: {' '.join(said)} Fix it first.")
    elif facts.nginx.endswith("stopped"):
        say("Nginx does not run: start it first.")
    elif facts.listen and not [site for site in facts.sites() if _leads(site, facts)]:
        say(f"No site of Nginx leads to {facts.listen}, where {unit} listens.")


def _leads(site: Server, facts: Facts) -> bool:
    return any(location.proxy and location.proxy == facts.listen for location in site.locations)


# --- data ------------------------------------------------------------------------------------------------------------


def _data(facts: Facts, root: str, found: Plan, shared_paths: list[str] | None) -> None:
    """What of the code is data: uploads, databases, logs, keys."""
    code = facts.code
    tree = [
        item for item in facts.tree if not BESIDE.search(item.path) or not is_database_at(BESIDE.sub("", item.path))
    ]
    served = _served(facts)
    if shared_paths is not None:
        _given_data(code, root, found, shared_paths)
    else:
        open_code = facts.runtime is None or not facts.runtime.uid or may(facts.runtime, _node(facts, code), 2)
        for item in tree:
            if item.kind == "directory" and not _taken(item.path, found):
                _directory_move(facts, item, tree, served, open_code, found)
        for item in tree:
            if item.kind == "file" and not _taken(item.path, found):
                _file_move(facts, item, tree, found)
    found.exclude += [item.path for item in facts.tree if BESIDE.search(item.path) and not _taken(item.path, found)]
    found.exclude += [
        move.source + suffix for move in found.moves for suffix in SUFFIXES if is_database_at(move.source)
    ]
    # Uploads that lie beside the code, in the old tree.
    for path, location in served.items():
        outside = not within(path, code) and within(path, facts.root) and not within(path, root)
        if outside and _is_uploads(path, location):
            found.moves.append(Move("uploads", path, "media", "", "", f"Nginx serves it at {location.path}"))
            found.attention.append(
                f"{path} lies beside the code. It is copied to {root}/shared/media; if the application "
                "names the old path, change it (in its environment variables or its settings)."
            )
    for item in facts.top:
        if facts.root == root and os.path.dirname(item.path) == f"{root}/shared" and DATABASE.search(item.path):
            found.obstacles.append(
                f"{item.path} lies in shared/ itself, which only root may write to: move it to a directory there, such "
                f"as {root}/shared/database/, and change the path in the application."
            )


def _given_data(code: str, root: str, found: Plan, shared_paths: list[str]) -> None:
    """What release_shared_paths says is data."""
    for name in shared_paths:
        path = os.path.join(code, name.rstrip("/"))
        if os.path.islink(path) and os.path.realpath(path) == os.path.realpath(os.path.join(root, "shared", name)):
            continue  # another tool has shared it already
        if os.path.lexists(path):
            found.moves.append(
                Move("data", path, name.rstrip("/"), name.rstrip("/"), "", "release_shared_paths has it")
            )
        elif not name.endswith("/") and not os.path.lexists(os.path.join(root, "shared", name)):
            found.obstacles.append(f"release_shared_paths has {name}, a file, but {path} does not exist.")


def _shared_already(facts: Facts, root: str) -> list[str]:
    """What another tool has linked out of the code to where this collection links it, too."""
    found = []
    for item in facts.tree:
        name = os.path.relpath(item.path, facts.code)
        if item.target and os.path.realpath(item.path) == os.path.realpath(os.path.join(root, "shared", name)):
            found.append(name + ("/" if os.path.isdir(item.path) else ""))
    return found


def _node(facts: Facts, path: str) -> Node:
    return facts.nodes.get(path) or Node(path, "directory", 0, 0, 0)


def _taken(path: str, found: Plan) -> bool:
    return any(within(path, move.source) for move in found.moves)


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


def _has_code(path: str, tree: list[Node]) -> bool:
    return any(item.kind == "file" and within(item.path, path) and CODE.search(item.path) for item in tree)


def _directory_move(
    facts: Facts, item: Node, tree: list[Node], served: dict[str, Location], open_code: bool, found: Plan
) -> None:
    name, link = os.path.basename(item.path), os.path.relpath(item.path, facts.code)
    if os.path.exists(os.path.join(item.path, "pyvenv.cfg")) or "/." in f"/{link}":
        return
    python = any(node.path.endswith(".py") and within(node.path, item.path) for node in tree)
    location = served.get(item.path)
    if location and _is_uploads(item.path, location) and not python:
        first = not any(move.target == "media" for move in found.moves)
        target = "media" if first else _plain(link)
        found.moves.append(_move("uploads", item.path, target, link, f"Nginx serves it at {location.path}"))
    elif name in UPLOADS and not python:
        found.moves.append(_move("uploads", item.path, _plain(link), link, "uploads"))
    elif name in LOGS and not python:
        found.moves.append(_move("logs", item.path, "logs" if link in LOGS else _plain(link), link, "logs"))
    elif name == "instance":
        found.moves.append(_move("data", item.path, _plain(link), link, "Flask's directory for data"))
    elif location or link == "static" or _has_code(item.path, tree):
        return
    elif any(is_database_at(node.path) and os.path.dirname(node.path) == item.path for node in tree):
        found.moves.append(_move("data", item.path, _plain(link), link, "it holds a database"))
    elif not open_code and facts.runtime and may(facts.runtime, item, 2):
        found.moves.append(_move("data", item.path, _plain(link), link, f"{facts.runtime.name} writes to it"))


def _file_move(facts: Facts, item: Node, tree: list[Node], found: Plan) -> None:
    name, link = os.path.basename(item.path), os.path.relpath(item.path, facts.code)
    flat = link.replace("/", "-")
    if is_database_at(item.path):
        found.moves.append(_move("database", item.path, f"database/{flat}", link, "an SQLite database"))
    elif name.endswith(".log"):
        found.moves.append(_move("log", item.path, f"logs/{flat}", link, "a log"))
    elif KEY.match(name):
        found.moves.append(Move("key", item.path, link, link, "", "a private key"))


def _plain(link: str) -> str:
    """A name in shared/ that nothing else has."""
    return link if link.split("/")[0] not in RESERVED or link.startswith("static/") else f"data/{link}"


def _move(kind: str, source: str, target: str, link: str, why: str) -> Move:
    return Move(kind, source, target, link, "" if target == link else link, why)


def tops_of(facts: Facts) -> list[str]:
    """The directories of the old deployment, which no link may lead out of."""
    return list(dict.fromkeys(os.path.realpath(path) for path in (facts.root, facts.code)))


def _sources(facts: Facts, root: str, found: Plan) -> None:
    """What root would have to read through a link of the old user, and what can't be named to another host."""
    tops = tops_of(facts)
    read = [move.source for move in found.moves] + found.dotenv + found.environment
    unnamed = [path for path in dict.fromkeys([*tops, *read, *found.exclude]) if escape_text(path) != path]
    if unnamed:
        found.obstacles.append(
            "Names with control characters, or bytes that are no UTF-8, can't be told apart: "
            f"rename {several(unnamed)}."
        )
    for path in dict.fromkeys(read):
        try:
            if any(within(path, top) for top in tops):
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
        f"{item.path} -> {item.target}"
        for item in facts.tree
        if item.target and not any(within(os.path.realpath(item.path), top) for top in [*tops, root])
    ]
    if leaving:
        found.attention.append(
            f"Links that lead out of {tops[0]} are copied as links, and what they lead to is not: {several(leaving)}."
        )


# --- settings --------------------------------------------------------------------------------------------------------


def _environment(facts: Facts, given: set[str], found: Plan, unit_variables: list[str]) -> None:
    """The files that make the environment, the strongest last, and the names that the unit itself sets."""
    inside = os.path.join(facts.code, ".env")
    files = [path.lstrip("-") for path in facts.env_files]
    files = [path for path in files if os.path.isfile(path)]
    found.dotenv = [inside] if os.path.isfile(inside) and inside not in files else []
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
        found.moves.append(Move("environment", inside, ".env", ".env", "", "the environment"))
    if "flask_app_env" in given and found.dotenv + found.environment + unit_variables:
        places = [*found.dotenv, *found.environment]
        places += [f"{facts.unit['Id']} ({', '.join(unit_variables)})"] if unit_variables else []
        found.attention.append(f"flask_app_env is set, so the values of {' and '.join(places)} are not adopted.")
        found.dotenv, found.environment, found.unit_variables = [], [], []


def _account(facts: Facts, found: Plan) -> None:
    if facts.runtime and facts.runtime.uid:
        found.variables["flask_app_user"] = facts.runtime.name
        found.variables["flask_app_group"] = facts.runtime.group
    else:
        found.attention.append(
            "It runs as root, or as a user that is not there. It will run as flask_app_user (a user of its own)."
        )
    if facts.web and facts.web.uid:
        found.variables["flask_app_web_group"] = facts.web.group


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


def command(unit: dict[str, str]) -> list[str]:
    """The words of the command that starts Gunicorn, without a shell around it."""
    words = argv(unit)
    if len(words) > 2 and os.path.basename(words[0]) in ("sh", "bash", "dash"):
        inner = re.split(r"&&|;|\|\|", words[-1] if " " in words[-1] else " ".join(words[2:]))[-1]
        words = [word for word in shlex.split(inner) if word != "exec"]
    return words


def options(words: list[str]) -> dict[str, str]:
    """What Gunicorn's command line says: long names of options, and `wsgi`."""
    short = {"-w": "workers", "-k": "worker-class", "-t": "timeout", "-c": "config", "-b": "bind"}
    start = next((number for number, word in enumerate(words) if os.path.basename(word) == "gunicorn"), None)
    if start is None:
        return {}
    found: dict[str, str] = {}
    pending = words[start + 1 :]
    while pending:
        word = pending.pop(0)
        if word in SWITCHES:
            found[word.lstrip("-")] = ""
        elif word.startswith("--") and "=" in word:
            name, _separator, value = word[2:].partition("=")
            found[name] = value
        elif word.startswith("-"):
            found[short.get(word, word.lstrip("-"))] = pending.pop(0) if pending else ""
        elif CALLABLE.match(word):
            found["wsgi"] = word if ":" in word else f"{word}:application"
    return found


def _configured(facts: Facts, path: str) -> dict[str, str]:
    """Plain settings of a configuration file of Gunicorn. What it computes is not known."""
    text = text_of(os.path.join(facts.code, path))
    pairs = re.findall(r"(?m)^(\w+)\s*=\s*[\"']?([^\"'\n#]+?)[\"']?\s*(?:#.*)?$", text)
    return {name.replace("wsgi_app", "wsgi").replace("_", "-"): value for name, value in pairs}


def _gunicorn(facts: Facts, given: set[str], found: Plan) -> None:
    said = options(command(facts.unit))
    said = {**_configured(facts, said.get("config") or "gunicorn.conf.py"), **said}
    numbers = {"workers": "workers", "threads": "threads", "timeout": "timeout", "max-requests": "max_requests"}
    for option, name in numbers.items():
        if said.get(option, "").isdigit():
            found.variables[f"gunicorn_systemd_{name}"] = int(said[option])
    if re.match(r"(sync|gthread|gevent|eventlet)$", said.get("worker-class", "")):
        found.variables["gunicorn_systemd_worker_class"] = said["worker-class"]
    if said.get("wsgi"):
        found.variables["flask_app_wsgi"] = said["wsgi"]
    elif "flask_app_wsgi" not in given:
        found.obstacles.append(
            f"'{' '.join(argv(facts.unit))}' does not name the WSGI callable: set flask_app_wsgi, such as wsgi:app."
        )
    passed = sorted(set(said) & {"preload", "pythonpath", "env", "certfile", "daemon", "reload"})
    if passed:
        found.attention.append(f"Not adopted from Gunicorn's settings: {', '.join(passed)}.")


def _dependencies(facts: Facts, found: Plan) -> None:
    """Requirements in the code, or else what the old environment has, version by version."""
    files = [name for name in REQUIREMENTS if os.path.isfile(os.path.join(facts.code, name))]
    environment = environment_of(facts)
    if files:
        found.variables["venv_requirements"] = files[:1]
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
        reach(os.path.dirname(os.path.realpath(path)), links=False).close()
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
        for address, options in zip(site.listens, site.options):
            port = re.search(r"(?:^|:)([0-9]+)$", address)
            (tls if "ssl" in options else plain).append(int(port.group(1)) if port else 80)
            default = default or "default_server" in options
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
            if location.path != "/":
                found.attention.append(f"location {location.path} in {location.file} becomes part of the whole site.")
        elif not directory or location.path == "/":
            if location.path != "/":
                found.attention.append(f"location {location.path} in {location.file} is not adopted.")
        elif move and move.target == "media" or directory == os.path.join(root, "shared", "media"):
            media = media or url
        elif move:
            more.append({"path": url, "directory": os.path.join(root, "shared", move.target)})
        elif directory == os.path.join(root, "shared", "static"):
            static = static or url
        elif within(directory, facts.code) and not static and not _taken(directory, found):
            static = url
            found.variables["release_static_paths"] = [os.path.relpath(directory, facts.code)]
        elif within(directory, facts.code):
            below = os.path.relpath(directory, facts.code)
            if not (static and url.startswith(static)):
                more.append({"path": url, "directory": os.path.join(root, "app", below)})
        else:
            more.append({"path": url, "directory": location.directory})
    found.variables["nginx_site_static_url"] = static or ("/static/" if not media.startswith("/static") else "")
    found.variables["nginx_site_media_url"] = media
    if more:
        found.variables["nginx_site_locations"] = more
