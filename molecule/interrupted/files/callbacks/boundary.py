# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes each task that a play starts, and kills the whole run at the start of the task whose number is wanted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: boundary
type: aggregate
short_description: Kill the run at the start of a task
description:
  - Writes the name of each task that starts to the file INTERRUPT_TASKS.
  - Kills its process group at the start of task INTERRUPT_AT, counted from 1. The end of the run counts as one more.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "boundary"

    def __init__(self) -> None:
        super().__init__()
        self.tasks = Path(os.environ["INTERRUPT_TASKS"])
        self.at = int(os.environ.get("INTERRUPT_AT", "0"))
        self.count = 0

    def boundary(self, name: str) -> None:
        self.count += 1
        with self.tasks.open("a", encoding="utf-8") as file:
            file.write(name + "\n")
        if self.count == self.at:
            os.killpg(0, signal.SIGKILL)

    def v2_playbook_on_task_start(self, task, is_conditional) -> None:
        self.boundary(task.get_name())

    def v2_playbook_on_stats(self, stats) -> None:
        self.boundary("the end of the run")
