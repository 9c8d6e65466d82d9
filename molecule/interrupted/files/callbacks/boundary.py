# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes each task that a run starts and the state of the host by then, and kills the run at the start of one task."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: boundary
type: aggregate
short_description: Kill the run at the start of a task
description:
  - Writes the name of each task that starts to the file INTERRUPT_TASKS, as JSON, with a digest of what the command
    INTERRUPT_OBSERVE, a list in JSON, prints by then. The end of the run counts as a task.
  - Kills its process group at the start of task INTERRUPT_AT, counted from 1, or of the task of that name.
  - Writes the name and the arguments of each module that has run to the file INTERRUPT_MODULES, as JSON.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "boundary"

    def __init__(self) -> None:
        super().__init__()
        self.tasks = Path(os.environ["INTERRUPT_TASKS"])
        self.at = os.environ["INTERRUPT_AT"]
        self.modules = Path(os.environ["INTERRUPT_MODULES"])
        self.observe = json.loads(os.environ["INTERRUPT_OBSERVE"])
        self.count = 0

    def boundary(self, name: str) -> None:
        self.count += 1
        digest = ""
        if self.observe:
            digest = hashlib.sha256(subprocess.run(self.observe, capture_output=True, check=True).stdout).hexdigest()
        with self.tasks.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, digest]) + "\n")
        if self.at in (str(self.count), name):
            os.killpg(0, signal.SIGKILL)

    def v2_playbook_on_task_start(self, task, is_conditional) -> None:
        self.boundary(task.get_name())

    def v2_runner_on_ok(self, result) -> None:
        found = getattr(result, "result", None) or result._result
        if "module_args" in found.get("invocation", {}):
            with self.modules.open("a", encoding="utf-8") as file:
                file.write(json.dumps([result._task.action, found["invocation"]["module_args"]]) + "\n")

    def v2_playbook_on_stats(self, stats) -> None:
        self.boundary("the end of the run")
