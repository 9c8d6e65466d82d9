# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option health, which every module has that asks an application how it does."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  health:
    description:
      - How a healthy application answers. A candidate is asked within its own process, the service over its socket.
      - Without it, the application has to run, but is not asked.
    type: dict
    suboptions:
      path:
        description: The path, with a query if need be.
        type: str
        required: true
      status:
        description: The statuses that count as healthy.
        type: list
        elements: int
        default: [200]
      host:
        description: The Host header.
        type: str
        default: localhost
      headers:
        description: More headers, such as C(X-Forwarded-Proto) for an application that insists on HTTPS. No secrets.
        type: dict
        default: {}
      attempts:
        description: How often to ask over the socket before it counts as a failure.
        type: int
        default: 5
      interval:
        description: Seconds between two attempts.
        type: float
        default: 1
      timeout:
        description: Seconds until one attempt counts as failed.
        type: float
        default: 5
"""
