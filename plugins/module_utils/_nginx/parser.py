# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse Nginx's configuration: pure functions over the text of its files."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Iterator, NamedTuple

# Nginx has no limit and reports recursive includes itself.
MAX_INCLUDE_DEPTH = 10

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<quoted>"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*')
      | (?P<mark>[;{}])
      | (?P<word>(?:\\.|\$\{[^}\s]*\}|[^\s;{}\\])+)""",
    re.X | re.S,
)
_FILE = re.compile(r"^# configuration file (?P<name>/.*):$", re.M)


class Directive(NamedTuple):
    """A directive with its block, which may be empty, and the path of its file."""

    name: str
    words: tuple[str, ...]
    block: tuple[Directive, ...]
    file: str


class Location(NamedTuple):
    """A location block. ``modifier`` precedes the path, such as ``^~``."""

    modifier: str
    path: str
    alias: str
    root: str
    proxy: str
    file: str

    @property
    def is_prefix(self) -> bool:
        """Return whether the path matches as a prefix, not exactly and not as a regular expression."""
        return self.modifier in ("", "^~")

    @property
    def directory(self) -> str:
        """Return the directory of its files; empty if it serves none, or if it depends on variables."""
        if not self.is_prefix or "$" in self.alias + self.root:
            return ""
        path = self.alias or (self.root.rstrip("/") + self.path if self.root else "")
        return (path.rstrip("/") or "/") if path.startswith("/") else ""


class Server(NamedTuple):
    """A server block."""

    file: str
    names: tuple[str, ...]
    listens: tuple[str, ...]
    locations: tuple[Location, ...]
    certificates: tuple[str, ...]
    keys: tuple[str, ...]
    error_logs: tuple[str, ...]
    # The parameters of each listen directive, such as ssl and default_server.
    options: tuple[tuple[str, ...], ...] = ()
    body_size: str = ""
    statements: tuple[Directive, ...] = ()


class Config(NamedTuple):
    """The parts of the configuration that concern an application."""

    user: str
    servers: tuple[Server, ...]
    error_logs: tuple[str, ...]


# --- parsing ---------------------------------------------------------------------------------------------------------


def parse_dump(text: str) -> dict[str, str]:
    """Return the texts of the files in the output of `nginx -T`, by path, the main file first."""
    parts = _FILE.split(text)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def _tokenize(text: str) -> Iterator[tuple[str, str]]:
    """Yield ("word", …) for each word, without its quotes, and ("mark", …) for each of ; { }."""
    for match in _TOKEN.finditer(text):
        if match["mark"]:
            yield "mark", match["mark"]
        elif match["quoted"]:
            yield "word", match["quoted"][1:-1]
        elif match["word"]:
            yield "word", match["word"]


def parse_directives(text: str, file: str = "") -> tuple[Directive, ...]:
    """Return the directives of a file. An incomplete directive or block ends at the end of the text."""
    tokens = _tokenize(text)

    def block() -> tuple[Directive, ...]:
        found: list[Directive] = []
        words: list[str] = []
        for kind, value in tokens:
            if kind == "word":
                words.append(value)
                continue
            inner = block() if value == "{" else ()
            if words:
                found.append(Directive(words[0], tuple(words[1:]), inner, file))
            words = []
            if value == "}":
                break
        return tuple(found)

    return block()


def find_directives(statements: tuple[Directive, ...], name: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each directive with this name, in all blocks."""
    for item in statements:
        if item.name == name:
            yield item.words
        yield from find_directives(item.block, name)


def resolve_includes(files: dict[str, str], main: str) -> tuple[Directive, ...]:
    """Return the directives of the main file, with includes replaced by the directives of their files."""

    def expand(directives: tuple[Directive, ...], depth: int) -> Iterator[Directive]:
        for item in directives:
            if item.name == "include" and item.words and depth < MAX_INCLUDE_DEPTH:
                pattern = os.path.join(os.path.dirname(main), item.words[0])
                for name in sorted(name for name in files if matches_include(pattern, name)):
                    yield from expand(parse_directives(files[name], name), depth + 1)
            else:
                yield item._replace(block=tuple(expand(item.block, depth)))

    return tuple(expand(parse_directives(files.get(main, ""), main), 0))


def matches_include(pattern: str, name: str) -> bool:
    """Return whether an include pattern matches a file, by the rules of glob(3)."""
    names, patterns = name.split("/"), os.path.normpath(pattern).split("/")
    return len(names) == len(patterns) and all(
        fnmatch.fnmatchcase(part, wanted) and (wanted.startswith(".") or not part.startswith("."))
        for part, wanted in zip(names, patterns)
    )


# --- evaluation ------------------------------------------------------------------------------------------------------


def _find_values(block: tuple[Directive, ...], name: str) -> list[str]:
    return [item.words[0] for item in block if item.name == name and item.words]


def _find_value(block: tuple[Directive, ...], name: str, inherited: str = "") -> str:
    return ([inherited] + _find_values(block, name))[-1]


def _parse_locations(block: tuple[Directive, ...], root: str, upstreams: dict[str, str]) -> Iterator[Location]:
    for item in block:
        if item.name != "location" or not item.words:
            continue
        modifier = item.words[0] if len(item.words) > 1 else ""
        inner_root = _find_value(item.block, "root", root)
        alias = _find_value(item.block, "alias")
        proxy = resolve_address(
            _find_value(item.block, "proxy_pass") or _find_value(item.block, "uwsgi_pass"), upstreams
        )
        yield Location(modifier, item.words[-1], alias, "" if alias or proxy else inner_root, proxy, item.file)
        yield from _parse_locations(item.block, inner_root, upstreams)


def resolve_address(target: str, upstreams: dict[str, str]) -> str:
    """Return the address of a proxy_pass: `unix:/path` or `host:port`; empty if it depends on variables."""
    bare = re.sub(r"^https?://", "", target)
    if bare.startswith("unix:"):
        # A colon and a URI may follow the path.
        return "unix:" + bare[len("unix:") :].split(":/")[0].rstrip(":")
    host = bare.split("/")[0]
    if host in upstreams:
        return upstreams[host]
    return "" if not host or "$" in host else host if ":" in host else f"{host}:80"


def _parse_size(size: str) -> int:
    """Return the bytes of a size in Nginx's notation. The size 0 means no limit."""
    match = re.fullmatch(r"([0-9]+)([kKmMgG]?)", size)
    if not match:
        return -1
    number = int(match.group(1)) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[match.group(2).lower()]
    return number or 2**63


def build_config(statements: tuple[Directive, ...]) -> Config:
    """Return the configuration with inherited values in its locations, and names of upstreams resolved."""
    http = tuple(inner for item in statements if item.name == "http" for inner in item.block)
    upstreams: dict[str, str] = {}
    for item in http:
        if item.name == "upstream" and item.words:
            upstreams[item.words[0]] = next(
                (resolve_address(server, {}) for server in _find_values(item.block, "server")), ""
            )
    http_root = _find_value(http, "root")
    servers = []
    for item in http:
        if item.name != "server":
            continue
        root = _find_value(item.block, "root", http_root)
        locations = list(_parse_locations(item.block, root, upstreams))
        if root and not any(location.path == "/" and not location.modifier for location in locations):
            locations.append(Location("", "/", "", root, "", item.file))
        names = tuple(word for inner in item.block if inner.name == "server_name" for word in inner.words)
        listens = tuple(_find_values(item.block, "listen")) or ("80",)
        certificates, keys = (
            _find_values(item.block, "ssl_certificate"),
            _find_values(item.block, "ssl_certificate_key"),
        )
        logs = tuple(_find_values(item.block, "error_log"))
        options = tuple(inner.words[1:] for inner in item.block if inner.name == "listen" and inner.words) or ((),)
        sizes = [_find_value(inner.block, "client_max_body_size") for inner in item.block if inner.name == "location"]
        size = max(
            (_find_value(item.block, "client_max_body_size", _find_value(http, "client_max_body_size")), *sizes),
            key=_parse_size,
        )
        servers.append(
            Server(
                item.file,
                names,
                listens,
                tuple(locations),
                tuple(certificates),
                tuple(keys),
                logs,
                options,
                size,
                item.block,
            )
        )
    logs = tuple(_find_values(statements, "error_log") + _find_values(http, "error_log"))
    return Config(_find_value(statements, "user"), tuple(servers), logs)


_CONFLICT = re.compile(r'conflicting server name "(?P<name>[^"]*)" on (?P<address>\S+), ignored')


def find_conflicts(output: str) -> list[tuple[str, str]]:
    """Return the (server name, address) pairs that Nginx reports as ignored."""
    return [(match["name"], match["address"]) for match in _CONFLICT.finditer(output)]
