# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings on releases, virtual environments and interrupted runs."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._doctor.kinds.kind import FindingKind

RELEASES = {
    "live-missing": FindingKind(
        "error",
        "No release is live",
        "The service has no directory to start in, and Nginx answers 503.",
        "ansible-playbook flaskops.production.{playbook}",
    ),
    "releases-missing": FindingKind(
        "error",
        "The directory of the releases is missing",
        "The running process continues until its restart; then the site is down. A rollback is not possible.",
        "ansible-playbook flaskops.production.site  # unless it can be mounted or moved back",
    ),
    "live-dangling": FindingKind(
        "error",
        "The live release is missing",
        "The running process continues until its restart; then the site is down.",
        "ansible-playbook flaskops.production.{playbook}",
    ),
    "live-outside-releases": FindingKind(
        "error",
        "The live directory is not one of the releases",
        "That directory is neither recorded nor checked, and a rollback cannot activate it.",
        "Deploy, so that {path} leads into releases/ again.",
    ),
    "live-not-a-link": FindingKind(
        "warning",
        "The live code is a real directory",
        "A deploy changes it file by file under the running application, and a rollback is not possible.",
        "Deploy with the role release; release_adopt=true keeps this code as the first release.",
    ),
    "live-incomplete": FindingKind(
        "error",
        "The live release is not complete",
        "It has no record of a complete staging, so files may be missing.",
        "ansible-playbook flaskops.production.{playbook}",
    ),
    "live-rejected": FindingKind(
        "error",
        "A rejected release is live",
        "It failed its health check when it was activated.",
        "ansible-playbook flaskops.production.{playbook}",
    ),
    "venv-incomplete": FindingKind(
        "error",
        "The live virtual environment is not complete",
        "Its installation did not finish, or packages were removed or added by hand.",
        "ansible-playbook flaskops.production.deploy  # builds it anew",
    ),
    "venv-interpreter-missing": FindingKind(
        "error",
        "The interpreter of the live virtual environment is missing",
        "The distribution was upgraded, or the interpreter removed: modules that are imported late fail, and the "
        "next start is an outage.",
        "ansible-playbook flaskops.production.deploy  # builds it anew",
    ),
    "venv-mismatch": FindingKind(
        "error",
        "The virtual environment is not that of the live release",
        "At the next start, the code runs with the dependencies of another release.",
        "ln -sfn app/.venv {path} && systemctl restart {name}",
    ),
    "activation-interrupted": FindingKind(
        "warning",
        "An activation did not finish",
        "Two releases may be serving, and the new one is unchecked.",
        "ansible-playbook flaskops.production.deploy  # completes or removes the activation",
    ),
    "activation-unrecorded": FindingKind(
        "warning",
        "The live release is not the last recorded one",
        "The link was changed by hand, so a rollback may activate an unexpected release.",
        "ansible-playbook flaskops.production.deploy  # records what it activates",
    ),
    "release-half-staged": FindingKind(
        "warning",
        "An interrupted run left unfinished files",
        "They take space, and show a deploy that did not finish.",
        "ansible-playbook flaskops.production.deploy  # removes it",
    ),
    "record-unreadable": FindingKind(
        "error",
        "The record of a release cannot be read",
        "It counts as missing, so a rollback to the release is not possible. The application continues.",
        "ansible-playbook flaskops.production.deploy  # of that release, or restore {path} from a backup",
    ),
    "release-unrecorded": FindingKind(
        "note",
        "A directory in releases/ is not a release",
        "It is never used for a rollback and never removed.",
        "rm -r {path}  # if it is not needed",
    ),
    "venv-unreferenced": FindingKind(
        "note",
        "A virtual environment belongs to no release",
        "It only takes space.",
        "ansible-playbook flaskops.production.deploy  # removes it",
    ),
    "lock-stale": FindingKind(
        "warning",
        "A deploy has held the deploy lock for a long time",
        "No other deploy can start. Its run was probably killed.",
        "ansible-playbook flaskops.production.deploy -e release_unlock=true  # when that run is dead",
    ),
    "hooks-open": FindingKind(
        "warning",
        "The host is drained",
        "Hooks before an activation have run, and those after it have not been completed: a load balancer may "
        "leave the host out.",
        "ansible-playbook flaskops.production.deploy  # any run of deploy, site or rollback completes the hooks",
    ),
    "lock-held": FindingKind(
        "note",
        "A deploy is running",
        "The facts may change while the doctor reads them.",
        "Run the doctor again after it.",
    ),
}
