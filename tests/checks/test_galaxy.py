# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks that Galaxy runs when a collection is uploaded."""

from __future__ import annotations

import subprocess

from environment import ROOT, tool_environment

# In a separate virtual environment, because it pins packages that the tools need in newer versions.
IMPORTER = ["uv", "run", "--no-project", "--isolated", "--with=galaxy-importer==0.4.44", "--with=ansible-core~=2.19.0"]


def test_importer_reports_no_errors(tmp_path):
    # ansible-lint has its own test, and the importer kills it after a minute or two.
    settings = tool_environment(HOME=str(tmp_path), GALAXY_IMPORTER_RUN_ANSIBLE_LINT="false")
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    build = ["ansible-galaxy", "collection", "build", f"--output-path={tmp_path}", str(ROOT)]
    subprocess.run(build, check=True, env=settings, stdout=subprocess.PIPE)
    (tarball,) = tmp_path.glob("*.tar.gz")
    command = [*IMPORTER, "python", "-m", "galaxy_importer.main", str(tarball)]
    done = subprocess.run(command, check=False, env=settings, cwd=tmp_path, **output)
    assert done.returncode == 0, done.stdout
    # The importer reports errors in its output, not by its exit status.
    assert "Importer processing completed successfully" in done.stdout
    faults = [line for line in done.stdout.splitlines() if line.startswith(("ERROR", "WARNING", "CRITICAL"))]
    assert faults == [], done.stdout
