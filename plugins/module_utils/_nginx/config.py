# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read Nginx's files, with another file in one place if wanted: directives, server names, versions."""

from __future__ import annotations

import glob
import os
import re
from typing import Callable

from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import (
    MAX_INCLUDE_DEPTH,
    find_directives,
    matches_include,
    parse_directives,
)

# Matches strings and comments, and includes as a group, so that includes can be replaced in the text.
_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
INCLUDE = re.compile(
    rf"(?<![^\s;{{}}])(?:{_QUOTED}|#[^\n]*|(?P<include>include\s+(?:{_QUOTED}|(?<=\s)#[^\n]*\n|[^;{{}}\"'])+?\s*;))",
    re.S,
)
_VERSION_LINE = re.compile(r"(?P<line>.*\S)\s*# nginx (?P<relation>>=|<) (?P<version>[0-9]+([.][0-9]+)*)")
_DUPLICATE = re.compile(r"a duplicate default server for \S+:(?P<port>[0-9]+) ")
_PLACE = re.compile(r" in (?P<file>/\S+):(?P<line>\d+)$", re.M)


def find_main_setting(text: str, name: str) -> str | None:
    return next((words[0] for words in find_directives(parse_directives(text), name) if words), None)


def parse_int(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdigit() else otherwise


def parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def has_version_comments(text: str) -> bool:
    """Return whether the text has lines for certain versions of Nginx."""
    return any(map(_VERSION_LINE.fullmatch, text.split("\n")))


def select_lines(text: str, version: tuple[int, ...]) -> str:
    """Return the text without the lines for other versions of Nginx."""
    kept = []
    for line in text.split("\n"):
        match = _VERSION_LINE.fullmatch(line)
        if match is None:
            kept.append(line)
        elif (version >= parse_version(match["version"])) == (match["relation"] == ">="):
            kept.append(match["line"])
    return "\n".join(kept)


class TrialConfig:
    """A copy of Nginx's configuration in which a new file replaces the site's file.

    Nginx resolves relative includes against the directory of the main file. The copies of changed files are in that
    directory, so their includes have the same meaning. Line numbers do not change.
    """

    def __init__(
        self, config: str, site: str, active: str, removed: list[str], copy: Callable[[str], str], new_file: str | None
    ):
        self.config = config
        self.site = os.path.realpath(site)
        self.active = active
        self.removed = removed
        self.copy = copy
        self.new_file = new_file
        self.includes_site = False  # whether an include matches the site's file
        self.other_files: dict[str, str] = {}  # the texts of all other files, by path
        self.original_names: dict[str, str] = {}  # temporary path: original path
        if new_file is not None:
            self.original_names[new_file] = site
        self.main = self._write_copy(config, self._rewrite_includes(self._read(config), 0))

    def _read(self, name: str) -> str:
        with open(name, encoding="utf-8", errors="surrogateescape") as handle:
            text = handle.read()
        self.other_files[name] = text
        return text

    def _write_copy(self, name: str, text: str) -> str:
        temporary = self.copy(text)
        self.original_names[temporary] = name
        return temporary

    def _rewrite_includes(self, text: str, depth: int) -> str:
        def replace(match: re.Match[str]) -> str:
            words = next(find_directives(parse_directives(match["include"] or ""), "include"), ())
            if not words:
                return match[0]
            pattern = os.path.join(os.path.dirname(self.config), words[0])
            before = sorted(glob.glob(pattern))
            found = before
            if matches_include(pattern, self.active):
                found = sorted(set(before) | {self.active})
            after = [name for name in (self._replace_file(name, depth) for name in found) if name is not None]
            if after == before:
                return match[0]
            return " ".join(f'include "{name}";' for name in after) + "\n" * match[0].count("\n")

        return INCLUDE.sub(replace, text)

    def _replace_file(self, name: str, depth: int) -> str | None:
        if name == self.active or os.path.realpath(name) == self.site:
            self.includes_site = True
            return self.new_file
        if name in self.removed:
            return None
        if depth >= MAX_INCLUDE_DEPTH:
            return name
        try:
            text = self._read(name)
        except OSError:  # Nginx reports it
            return name
        changed = self._rewrite_includes(text, depth + 1)
        return name if changed == text else self._write_copy(name, changed)

    def restore_names(self, output: str) -> str:
        for temporary, name in self.original_names.items():
            output = output.replace(temporary, name)
        return output.strip()


def find_files_with_server_name(name: str, files: dict[str, str]) -> list[str]:
    wanted = name.lower()
    return [
        path
        for path, text in files.items()
        if any(
            wanted in (word.lower() for word in words)
            for words in find_directives(parse_directives(text), "server_name")
        )
    ]


def find_files_with_default_server(port: str, files: dict[str, str]) -> list[str]:
    def is_default(words: tuple[str, ...]) -> bool:
        return "default_server" in words[1:] and (re.search(r"[0-9]+$", words[0]) or ["80"])[0] == port

    return [
        path
        for path, text in files.items()
        if any(is_default(words) for words in find_directives(parse_directives(text), "listen"))
    ]


def format_test_error(path: str, content: str, output: str, other_files: dict[str, str]) -> str:
    """Return the message for a configuration that fails Nginx's test, with Nginx's error and the line in question."""
    errors = [line for line in output.splitlines() if "[emerg]" in line or "[alert]" in line] or output.splitlines()
    message = (
        f"Nginx refuses the configuration with {path}, so nothing was changed: "
        f"the old configuration is still in place. Nginx says: {' '.join(errors)}"
    )
    place = _PLACE.search("\n".join(errors))  # not of a preceding warning
    if place and place["file"] != path:
        message += f" (That is {place['file']}, not this site's file.)"
    elif place:
        lines = content.splitlines()
        number = int(place["line"])
        if 0 < number <= len(lines):
            message += f" (Line {number} of the refused file: {lines[number - 1].strip()})"
    duplicate = _DUPLICATE.search(output)
    holders = find_files_with_default_server(duplicate["port"], other_files) if duplicate else []
    if holders:
        message += f" {' and '.join(holders)} already has the default server of this port, which can have only one."
    return message
