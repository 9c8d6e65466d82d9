# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of settings: conditions that an argument specification cannot express, and the accepted values in words.

A message names the setting, its value and the accepted values, with an example.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any


def quote_value(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


@dataclasses.dataclass(frozen=True)
class Kind:
    """The values that a setting accepts, with the words for them in a message."""

    accepts: Callable[[Any], bool]
    accepted: str
    show: Callable[[Any], str] = quote_value

    def find_problems(self, name: str, value: Any) -> list[str]:
        return [] if self.accepts(value) else [f"{name} is {self.show(value)}, but must be {self.accepted}."]

    def with_example(self, example: str) -> Kind:
        return dataclasses.replace(self, accepted=f"{self.accepted}, such as {example}")

    def or_empty(self) -> Kind:
        return dataclasses.replace(
            self, accepts=lambda value: value == "" or self.accepts(value), accepted=f"{self.accepted}, or be empty"
        )


class ListKind(Kind):
    """A list whose items must be accepted."""

    def find_problems(self, name: str, value: Any) -> list[str]:
        wrong = [self.show(item) for item in value if not self.accepts(item)]
        return [f"{name} has {', '.join(wrong)}, but must {self.accepted}."] if wrong else []


@dataclasses.dataclass(frozen=True)
class CustomKind:
    """A value that a function checks. The function returns a sentence for each problem."""

    check: Callable[[Any, str], list[str]]

    def find_problems(self, name: str, value: Any) -> list[str]:
        return self.check(value, name)


def matches(pattern: str) -> Callable[[Any], bool]:
    """Return a predicate that is true if a whole text matches. `$` would accept a line break at the end."""
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(str(value)) is not None


def at_least(minimum: float, accepted: str) -> Kind:
    return Kind(lambda value: value >= minimum, accepted)


def hide_credentials(pattern: str) -> Callable[[Any], str]:
    """Return a function that quotes a URL without user and password."""
    compiled = re.compile(pattern)
    return lambda value: quote_value(compiled.sub(r"\1****@", str(value)))


def hide_url_secrets(url: Any) -> str:
    """Quote a URL without its secrets: user, password and query."""
    return quote_value(
        re.sub("[?#].*", "?****", re.sub("^([A-Za-z0-9+.-]*://)?.*@", r"\1****@", str(url), flags=re.S), flags=re.S)
    )


# Texts without a further condition, settings that rules.py checks, and settings that are checked with the source.
ANY = Kind(lambda value: True, "a text")
BY_RULE = WITH_SOURCE = ANY

WHOLE = at_least(1, "a whole number of at least 1")
SECONDS = at_least(1, "a number of seconds of at least 1")
NOT_NEGATIVE = at_least(0, "a whole number of at least 0")
LINE = Kind(matches(r"[^\n]+"), "one line of text")
ACCOUNT = r"[a-z_][a-z0-9_-]{0,31}"
GROUP = Kind(matches(ACCOUNT), "a group name")
ABSOLUTE = r"/(?!(.*/)?[.][.](/|\Z))[^\n]+"
# Below a directory: no '..', no leading slash or dash, no URL.
RELATIVE = r"(?!-)(?![A-Za-z0-9+.-]+:)(?!(.*/)?[.][.](/|\Z))[^/\n][^\n]*"
URL = r"(https?|file)://[^\s]+"
PATH_CHARACTERS = "on the host, of letters, digits and . _ - + @ only"
IS_UNIT_PATH = matches(r"/[^\s:%\"'\\]*")


# Its site
PORT = Kind(lambda value: 1 <= value <= 65535, "a port, 1 to 65535")
HOST_NAME = "(_|([*]?[.])?[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*([.][*])?)"
FILE = Kind(matches(r"(/(?![.]{1,2}(/|\Z))[A-Za-z0-9._@+-]+)+"), f"the absolute path of a file {PATH_CHARACTERS}")
LOG = dataclasses.replace(FILE, accepted="the absolute path of a file")
URL_PATH = r"(/(?![.])[A-Za-z0-9._~-]+)+"
DURATION = Kind(matches("[1-9][0-9]*(ms|s|m|h)?"), "a number above 0 followed by ms, s, m or h")
SIZE = Kind(matches("[0-9]+[kKmMgG]?"), "a number of bytes, or a number followed by k, m or g")
BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
V4, V6 = rf"{BYTE}([.]{BYTE}){{3}}", "(?=[^:]*:[^:]*:)[0-9A-Fa-f:]{2,39}"
ADDRESSES = ListKind(matches(f"({V4}|{V6})"), "be a list of IP addresses, such as 192.0.2.53")
NETWORKS = ListKind(
    matches(f"({V4}(/(3[0-2]|[12]?[0-9]))?|{V6}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)"),
    "be a list of IP addresses and networks, such as 192.0.2.10 and 2001:db8::/32",
)
IS_TARGET = matches(r"(https?://[A-Za-z0-9.-]+(:[0-9]+)?)?(/[A-Za-z0-9._~%&=+?@:/-]*)?")
IS_DIRECTORY_URL, IS_URL_PATH = matches(f"{URL_PATH}/"), matches(f"{URL_PATH}/?")


def url_paths(one: str, below: str) -> ListKind:
    return ListKind(
        IS_URL_PATH,
        f"be a list of URL paths, such as {one}, or {below} for everything below, of letters, digits and . _ ~ - "
        "between the slashes",
    )


def served_url(example: str) -> Kind:
    return Kind(
        lambda value: value == "" or IS_DIRECTORY_URL(value),
        f"empty, or start and end with a slash, such as {example}, with letters, digits and . _ ~ - between the "
        "slashes",
    )


# Releases and rollouts
STATUSES = Kind(
    lambda value: bool(value) and all(100 <= status < 600 for status in value),
    "a list of HTTP statuses from 100 to 599, such as [200]",
)
TASK_FILES = ListKind(
    lambda value: value.startswith("/"), "hold absolute paths of task files, such as /etc/ansible/hooks/drain.yml"
)


def _list_batches(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


IS_BATCH = matches("[1-9][0-9]*%?")
BATCHES = Kind(
    lambda value: bool(_list_batches(value)) and all(IS_BATCH(size) for size in _list_batches(value)),
    "a number of hosts, a share of them such as '25%', or a list of such batches",
    lambda value: quote_value(", ".join(map(str, _list_batches(value)))),
)
