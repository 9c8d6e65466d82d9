# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays the controller on the host: runs modules one after the other, each in a process of its own, until one fails.

    transaction.py <modules with their arguments, as JSON>

The collection and what it needs of Ansible lie beside this file.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def run(name: str, arguments: dict) -> int:
    """Run a module as Ansible would; its exit status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    from ansible.module_utils import basic

    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    importlib.import_module(f"ansible_collections.flaskops.production.plugins.modules.{name}").main()
    raise SystemExit(1)


for module, options in json.loads(sys.argv[1]):
    if run(module, options):
        sys.exit(1)
