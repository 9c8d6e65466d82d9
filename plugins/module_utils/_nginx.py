# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Nginx's configuration says: pure functions over the texts of its files. Private to the collection."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Iterator, NamedTuple

# Nginx has no limit of its own; a file that includes itself is its error to report.
DEPTH = 10

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<quoted>"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*')
      | (?P<mark>[;{}])
      | (?P<word>(?:\\.|\$\{[^}\s]*\}|[^\s;{}\\])+)""",
    re.X | re.S,
)
_FILE = re.compile(r"^# configuration file (?P<name>/.*):$", re.M)


class Directive(NamedTuple):
    """One statement, with the block behind it where it has one, and the file that it stands in."""

    name: str
    words: tuple[str, ...]
    block: tuple[Directive, ...]
    file: str


class Location(NamedTuple):
    """A location with what it serves from; ``modifier`` is what stands before its path."""

    modifier: str
    path: str
    alias: str
    root: str
    proxy: str
    file: str

    @property
    def prefix(self) -> bool:
        """Whether the path is the beginning of a URL, not a pattern and not the whole of it."""
        return self.modifier in ("", "^~")

    @property
    def directory(self) -> str:
        """The directory that it serves files from; empty when it serves none, or when only a request would tell."""
        if not self.prefix or "$" in self.alias + self.root:
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
    # What stands behind each address of listen, such as ssl and default_server.
    options: tuple[tuple[str, ...], ...] = ()
    body_size: str = ""
    statements: tuple[Directive, ...] = ()


class Config(NamedTuple):
    """The whole configuration, as far as it concerns an application."""

    user: str
    servers: tuple[Server, ...]
    error_logs: tuple[str, ...]


# --- reading ---------------------------------------------------------------------------------------------------------


def dumped(text: str) -> dict[str, str]:
    """The files in what `nginx -T` prints, the main file first."""
    parts = _FILE.split(text)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """The words, quoted or not, as ("word", …), and the marks ; { } as ("mark", …)."""
    for match in _TOKEN.finditer(text):
        if match["mark"]:
            yield "mark", match["mark"]
        elif match["quoted"]:
            yield "word", match["quoted"][1:-1]
        elif match["word"]:
            yield "word", match["word"]


def parse(text: str, file: str = "") -> tuple[Directive, ...]:
    """The statements of a file. What is cut off in the middle ends where the text does."""
    tokens = _tokens(text)

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


def named(statements: tuple[Directive, ...], name: str) -> Iterator[tuple[str, ...]]:
    """The words of every statement of this name, in whatever block it stands."""
    for item in statements:
        if item.name == name:
            yield item.words
        yield from named(item.block, name)


def tree(files: dict[str, str], main: str) -> tuple[Directive, ...]:
    """The statements of the main file, with those of included files in place of their includes."""

    def expand(directives: tuple[Directive, ...], depth: int) -> Iterator[Directive]:
        for item in directives:
            if item.name == "include" and item.words and depth < DEPTH:
                pattern = os.path.join(os.path.dirname(main), item.words[0])
                for name in sorted(name for name in files if matches(pattern, name)):
                    yield from expand(parse(files[name], name), depth + 1)
            else:
                yield item._replace(block=tuple(expand(item.block, depth)))

    return tuple(expand(parse(files.get(main, ""), main), 0))


def matches(pattern: str, name: str) -> bool:
    """Whether an include pattern reads this file, by glob(3)'s rules."""
    names, patterns = name.split("/"), os.path.normpath(pattern).split("/")
    return len(names) == len(patterns) and all(
        fnmatch.fnmatchcase(part, wanted) and (wanted.startswith(".") or not part.startswith("."))
        for part, wanted in zip(names, patterns)
    )


# --- what it means ---------------------------------------------------------------------------------------------------


def _values(block: tuple[Directive, ...], name: str) -> list[str]:
    return [item.words[0] for item in block if item.name == name and item.words]


def _value(block: tuple[Directive, ...], name: str, inherited: str = "") -> str:
    return ([inherited] + _values(block, name))[-1]


def _locations(block: tuple[Directive, ...], root: str, upstreams: dict[str, str]) -> Iterator[Location]:
    for item in block:
        if item.name != "location" or not item.words:
            continue
        modifier = item.words[0] if len(item.words) > 1 else ""
        inner_root = _value(item.block, "root", root)
        alias = _value(item.block, "alias")
        proxy = address(_value(item.block, "proxy_pass") or _value(item.block, "uwsgi_pass"), upstreams)
        yield Location(modifier, item.words[-1], alias, "" if alias or proxy else inner_root, proxy, item.file)
        yield from _locations(item.block, inner_root, upstreams)


def address(target: str, upstreams: dict[str, str]) -> str:
    """Where a proxy_pass leads: `unix:/path` or `host:port`; empty when only a request would tell."""
    bare = re.sub(r"^https?://", "", target)
    if bare.startswith("unix:"):
        # A URI may follow the path, after another colon.
        return "unix:" + bare[len("unix:") :].split(":/")[0].rstrip(":")
    host = bare.split("/")[0]
    if host in upstreams:
        return upstreams[host]
    return "" if not host or "$" in host else host if ":" in host else f"{host}:80"


def _bytes(size: str) -> int:
    """A size of Nginx as a number; 0 means without a limit."""
    match = re.fullmatch(r"([0-9]+)([kKmMgG]?)", size)
    if not match:
        return -1
    number = int(match.group(1)) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[match.group(2).lower()]
    return number or 2**63


def config(statements: tuple[Directive, ...]) -> Config:
    """The servers, with what locations inherit, and upstreams in place of their names."""
    http = tuple(inner for item in statements if item.name == "http" for inner in item.block)
    upstreams: dict[str, str] = {}
    for item in http:
        if item.name == "upstream" and item.words:
            upstreams[item.words[0]] = next((address(server, {}) for server in _values(item.block, "server")), "")
    http_root = _value(http, "root")
    servers = []
    for item in http:
        if item.name != "server":
            continue
        root = _value(item.block, "root", http_root)
        locations = list(_locations(item.block, root, upstreams))
        if root and not any(location.path == "/" and not location.modifier for location in locations):
            locations.append(Location("", "/", "", root, "", item.file))
        names = tuple(word for inner in item.block if inner.name == "server_name" for word in inner.words)
        listens = tuple(_values(item.block, "listen")) or ("80",)
        certificates, keys = _values(item.block, "ssl_certificate"), _values(item.block, "ssl_certificate_key")
        logs = tuple(_values(item.block, "error_log"))
        options = tuple(inner.words[1:] for inner in item.block if inner.name == "listen" and inner.words) or ((),)
        sizes = [_value(inner.block, "client_max_body_size") for inner in item.block if inner.name == "location"]
        size = max(
            (_value(item.block, "client_max_body_size", _value(http, "client_max_body_size")), *sizes), key=_bytes
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
    logs = tuple(_values(statements, "error_log") + _values(http, "error_log"))
    return Config(_value(statements, "user"), tuple(servers), logs)


_CONFLICT = re.compile(r'conflicting server name "(?P<name>[^"]*)" on (?P<address>\S+), ignored')


def conflicts(output: str) -> list[tuple[str, str]]:
    """The (server name, address) pairs that Nginx says it ignores."""
    return [(match["name"], match["address"]) for match in _CONFLICT.finditer(output)]
