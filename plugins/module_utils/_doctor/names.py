# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files and directories that are data or secrets of an application."""

from __future__ import annotations

import re

UPLOADS = {"media", "uploads", "upload"}
LOGS = {"logs", "log"}
DATABASE = re.compile(r"\.(sqlite3?|db)$")
SECRETS = re.compile(r"^\.env(\..+)?$")
PUBLIC_ENV = re.compile(r"\.(example|sample|template|dist|defaults?)$")
KEY = re.compile(r"^(id_(rsa|dsa|ecdsa|ed25519)|.+\.key|.*privkey.*\.pem)$")
