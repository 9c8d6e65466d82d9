# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Nginx's files say, and would say with another file in one place: statements, server names, versions. Private."""

from __future__ import annotations

import glob
import os
import re
from typing import Callable

from ansible_collections.flaskops.production.plugins.module_utils._nginx import DEPTH, matches, named, parse

# Finds strings, comments and includes where they stand, so that an include can be put otherwise: it is the group.
_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
INCLUDE = re.compile(
    rf"(?<![^\s;{{}}])(?:{_QUOTED}|#[^\n]*|(?P<include>include\s+(?:{_QUOTED}|(?<=\s)#[^\n]*\n|[^;{{}}\"'])+?\s*;))",
    re.S,
)
_VERSION_LINE = re.compile(r"(?P<line>.*\S)\s*# nginx (?P<relation>>=|<) (?P<version>[0-9]+([.][0-9]+)*)")
_DUPLICATE = re.compile(r"a duplicate default server for \S+:(?P<port>[0-9]+) ")
_PLACE = re.compile(r" in (?P<file>/\S+):(?P<line>\d+)$", re.M)


def main_setting(text: str, name: str) -> str | None:
    return next((words[0] for words in named(parse(text), name) if words), None)


def whole_number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdigit() else otherwise


def version_number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def depends_on_version(text: str) -> bool:
    """Whether some lines are meant for some versions of Nginx only."""
    return any(map(_VERSION_LINE.fullmatch, text.split("\n")))


def lines_for(text: str, version: tuple[int, ...]) -> str:
    """The text without the lines that are meant for other versions of Nginx."""
    kept = []
    for line in text.split("\n"):
        match = _VERSION_LINE.fullmatch(line)
        if match is None:
            kept.append(line)
        elif (version >= version_number(match["version"])) == (match["relation"] == ">="):
            kept.append(match["line"])
    return "\n".join(kept)


class View:
    """Nginx's tree as it would be with the candidate in the site's place.

    Nginx resolves a relative include against the directory of its main file, so copies of changed files, which lie in
    that directory, mean the same as their originals. Line numbers stay what they were.
    """

    def __init__(
        self, config: str, site: str, active: str, removed: list[str], copy: Callable[[str], str], candidate: str | None
    ):
        self.config = config
        self.site = os.path.realpath(site)
        self.active = active
        self.removed = removed
        self.copy = copy
        self.candidate = candidate
        self.reached = False  # whether Nginx reads the site at all
        self.others: dict[str, str] = {}  # every other file of the tree, and its text
        self.names: dict[str, str] = {}  # temporary name: the name it stands for
        if candidate is not None:
            self.names[candidate] = site
        self.main = self._copy_of(config, self._redirect(self._read(config), 0))

    def _read(self, name: str) -> str:
        with open(name, encoding="utf-8", errors="surrogateescape") as handle:
            text = handle.read()
        self.others[name] = text
        return text

    def _copy_of(self, name: str, text: str) -> str:
        temporary = self.copy(text)
        self.names[temporary] = name
        return temporary

    def _redirect(self, text: str, depth: int) -> str:
        def replace(match: re.Match[str]) -> str:
            words = next(named(parse(match["include"] or ""), "include"), ())
            if not words:
                return match[0]
            pattern = os.path.join(os.path.dirname(self.config), words[0])
            before = sorted(glob.glob(pattern))
            found = before
            if matches(pattern, self.active):
                found = sorted(set(before) | {self.active})
            after = [name for name in (self._stand_in(name, depth) for name in found) if name is not None]
            if after == before:
                return match[0]
            return " ".join(f'include "{name}";' for name in after) + "\n" * match[0].count("\n")

        return INCLUDE.sub(replace, text)

    def _stand_in(self, name: str, depth: int) -> str | None:
        if name == self.active or os.path.realpath(name) == self.site:
            self.reached = True
            return self.candidate
        if name in self.removed:
            return None
        if depth >= DEPTH:
            return name
        try:
            text = self._read(name)
        except OSError:  # Nginx says it better
            return name
        changed = self._redirect(text, depth + 1)
        return name if changed == text else self._copy_of(name, changed)

    def real_names(self, output: str) -> str:
        for temporary, name in self.names.items():
            output = output.replace(temporary, name)
        return output.strip()


def files_with_server_name(name: str, files: dict[str, str]) -> list[str]:
    wanted = name.lower()
    return [
        path
        for path, text in files.items()
        if any(wanted in (word.lower() for word in words) for words in named(parse(text), "server_name"))
    ]


def files_with_default_server(port: str, files: dict[str, str]) -> list[str]:
    def is_default(words: tuple[str, ...]) -> bool:
        return "default_server" in words[1:] and (re.search(r"[0-9]+$", words[0]) or ["80"])[0] == port

    return [path for path, text in files.items() if any(is_default(words) for words in named(parse(text), "listen"))]


def refusal(path: str, content: str, output: str, others: dict[str, str]) -> str:
    """What to tell the user when Nginx refuses the configuration: its words, and the line they are about."""
    said = [line for line in output.splitlines() if "[emerg]" in line or "[alert]" in line] or output.splitlines()
    message = (
        f"Nginx refuses the configuration with {path}, so nothing was changed: "
        f"the old configuration is still in place. Nginx says: {' '.join(said)}"
    )
    place = _PLACE.search("\n".join(said))  # not of a warning that came before
    if place and place["file"] != path:
        message += f" (That is {place['file']}, not this site's file.)"
    elif place:
        lines = content.splitlines()
        number = int(place["line"])
        if 0 < number <= len(lines):
            message += f" (Line {number} of the refused file: {lines[number - 1].strip()})"
    duplicate = _DUPLICATE.search(output)
    holders = files_with_default_server(duplicate["port"], others) if duplicate else []
    if holders:
        message += f" The default server is in {' and '.join(holders)} already, and only one site of a port can be it."
    return message
