#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_stage
short_description: Stage a release on a host (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Reports the releases on the host, the live one, and whether the running process matches its files.
  - If the release is missing, sends its archive, verifies it, unpacks it beside the others, links its shared paths and
    renames it. An incomplete release is never visible under its name.
  - With O(pull_url), the host fetches the archive from a web server instead, with the system's proxy and certificate
    authorities.
  - Takes the deploy lock of the application before the first change. The lock is given back when the release is
    activated, or with O(only=unlock) when a run ends before that.
  - Unfinished files of an interrupted run are removed before the release is unpacked.
  - The live release stays. M(flaskops.production.release_activate) replaces it.
attributes:
  check_mode:
    support: full
    description: Predicts whether the release is sent or fetched. Does neither, and publishes nothing.
  diff_mode:
    support: full
    description: Shows the added release.
  platform:
    support: full
    platforms: linux
    description: The kind of host that the module works on.
  action:
    support: full
    description:
      - Sends the archive only where the host lacks the release, and publishes it for O(pull_url).
      - An archive of up to 2 MiB goes along with the module, a larger one as a file of its own.
options:
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  app:
    description: The application's name; its service is C(<app>.service).
    type: str
    required: true
  source:
    description:
      - The release, as M(flaskops.production.release_source) returned it, or code that lies on the host already, as
        M(flaskops.production.adoption_plan) returned it, which is copied. Required unless O(only) is given.
    type: dict
  shared_paths:
    description:
      - Names inside the release that lead to C(shared/). A slash at the end means a directory, which is made for the
        runtime user when it is missing. Any other name is a file that must be in C(shared/) already.
      - What the release holds under such a name is replaced by the link.
    type: list
    elements: str
    default: []
  static_paths:
    description: Directories of the release whose files are collected into C(shared/static) when it is activated.
    type: list
    elements: str
    default: []
  build:
    description: A command that has to be run in the release before it can be activated. Only recorded here.
    type: str
    default: ""
  migrate:
    description: The migration of the release. Only compared with what is recorded, for RV(migrated).
    type: str
    default: ""
  adopt:
    description:
      - Where C(app) is a real directory, keep it as the first release, by one atomic exchange with a link, and C(venv)
        as its environment.
      - Shared paths in it that C(shared/) lacks are moved there. Nothing is deleted.
    type: bool
    default: false
  owner:
    description: The owner of the release.
    type: str
    default: root
  user:
    description: The user that runs the application. Owns new shared directories.
    type: str
    required: true
  group:
    description: The group of that user.
    type: str
    required: true
  web_group:
    description: The group of Nginx. New shared directories below O(static_paths) are its own, so that it reads uploads.
    type: str
    default: www-data
  run:
    description: Who deploys, C(run), C(by) and C(controller). Set by the action plugin.
    type: dict
  archive:
    description: The archive on the host. Set by the action plugin once it has sent it.
    type: path
  archive_content:
    description: The bytes of a small archive in Base64, instead of O(archive). Set by the action plugin.
    type: str
    default: ""
  pull_url:
    description:
      - The C(http) or C(https) URL of the directory from which the host fetches the archive. Its file name is the
        SHA-256 of its bytes and V(.tar.gz), and is added here. What arrives is compared with that SHA-256.
      - User and password in it are used for that server and never shown.
      - When it is empty, the archive is sent.
    type: str
    default: ""
  pull_directory:
    description:
      - A directory on the controller that the server serves as O(pull_url). The archive is put there by one rename,
        with mode 0644, unless it is there already.
      - When it is empty, the archive has to be there already.
    type: path
  pull_credentials:
    description: User and password of O(pull_url). Set by the action plugin.
    type: str
    default: ""
  unlock:
    description: Take the lock away from whoever holds it.
    type: bool
    default: false
  only:
    description:
      - Do no more than this, whatever else is asked for.
      - V(check) fails when C(app) or C(venv) is a real directory that O(adopt) does not allow to move, when a database
        of O(shared_paths) could not be written to, and when another run holds the lock. Where the application has been
        set up, it takes the lock. It changes nothing else.
      - V(look) compares the host with O(source), and takes the lock where they differ. It changes nothing else.
      - V(unlock) gives back the lock, if this run holds it.
    type: str
    choices: [check, look, unlock]
  send:
    description: Send the archive at once, because O(only=look) has shown that the release is not on the host.
    type: bool
    default: false
  rollout:
    description:
      - The rollout that brings the release, as the filter P(flaskops.production.release_rollout#filter) returned it.
        The host records that it takes part, and keeps the lock until M(flaskops.production.release_rollout) ends it.
    type: dict
notes:
  - Fails, before anything is changed, when C(app) or C(venv) is a real directory, when a file of O(shared_paths) is
    missing in C(shared/) or is an SQLite database in a directory that O(user) may not write to, and when another run
    holds the lock.
extends_documentation_fragment:
  - flaskops.production.health
seealso:
  - module: flaskops.production.release_source
  - module: flaskops.production.release_activate
  - module: flaskops.production.release_rollout
"""

EXAMPLES = r"""
- name: Resolve the release once, on the controller
  flaskops.production.release_source:
    directory: "{{ playbook_dir }}/myapp"
  register: source

- name: Put it on the host
  flaskops.production.release_stage:
    root: /srv/myapp
    app: myapp
    source: "{{ source }}"
    shared_paths: [instance/]
    user: www-data
    group: www-data

- name: Let the host fetch it from the server that serves /srv/www/releases
  flaskops.production.release_stage:
    root: /srv/myapp
    app: myapp
    source: "{{ source }}"
    pull_url: https://releases.example.org/
    pull_directory: /srv/www/releases
    user: www-data
    group: www-data
"""

RETURN = r"""
app:
  description: The application's name.
  returned: always, unless O(only) is given
  type: str
  sample: myapp
release:
  description: The name under which these bits are on the host.
  returned: always, unless O(only) is given
  type: str
  sample: 2026-04-21-120000-1a2b3c4
live:
  description: The release that C(app) points at; empty when there is none.
  returned: always, unless O(only) is given
  type: str
  sample: 2026-04-20-083000-9f8e7d6
previous:
  description: The release that a rollback would return to; empty when there is none.
  returned: always, unless O(only) is given
  type: str
  sample: 2026-04-18-171500-0a1b2c3
present:
  description: Whether the release was on the host before.
  returned: always, unless O(only) is given
  type: bool
  sample: false
built:
  description: Whether O(build) has been run in the release, or there is nothing to run.
  returned: always, unless O(only) is given
  type: bool
  sample: true
migrated:
  description: Whether O(migrate) has been run on this host for the release and the variables of C(shared/.env), or
    there is nothing to run.
  returned: always, unless O(only) is given
  type: bool
  sample: true
outdated:
  description: Why the process is not what the tree describes or does not answer as it should; empty when all is well.
  returned: always, unless O(only) is given
  type: str
  sample: /srv/myapp/shared/.env changed since myapp.service started
pending:
  description: Whether there is anything to stage, or a setting of the release to follow.
  returned: with O(only=look)
  type: bool
  sample: true
locked:
  description: Whether this run holds the lock.
  returned: with O(only=look) and O(only=check)
  type: bool
  sample: true
rollout:
  description: The record of the last rollout of the host; empty when there is none.
  returned: with O(only=look)
  type: dict
  sample: {"id": "7-81532a6xk2f", "number": 7, "release": "2026-04-20-083000-9f8e7d6", "state": "done"}
drained:
  description: The run whose hooks have not been completed, as M(flaskops.production.release_status) returns it.
  returned: with O(only=look)
  type: dict
  sample: {}
bad:
  description: Why the release was rejected before; empty when it was not.
  returned: always, unless O(only) is given
  type: str
  sample: GET / answered 500, expected 200
"""

import base64
import contextlib
import filecmp
import grp
import hashlib
import itertools
import os
import pwd
import re
import shutil
import stat
import tarfile
import time
from collections.abc import Iterator

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import (
    STAGING,
    Layout,
    Lock,
    LockedError,
    archive_name,
    now,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import (
    enter_rollout,
    read_drain,
    read_rollout,
)
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import format_error, hash_file
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import (
    UnsafePathError,
    set_owner_and_mode,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.links import (
    SymlinkError,
    exchange_names,
    exchange_names_at,
    swap_link,
    sync_filesystem,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import (
    make_directories,
    open_directory_safely,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.former_user import (
    plan_transfer,
    start_transfer,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.host_code import copy_code
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import (
    discard_staged,
    staged_settings,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.staging import (
    SETTINGS,
    STAGE,
    check_databases,
    check_links,
    check_tree,
    decide,
    is_as_set,
    is_from,
    is_real,
    kept_name,
    look,
    make_shared_directory,
    on_host,
)

UNITS = "/etc/systemd/system"
# Of temporary names in shared/.
SHARING = ".flaskops-sharing-"
# The same in an adopted environment, and as much of a script as names its interpreter.
NAMING = ".flaskops-naming-"
SCRIPT_HEAD = 1024


def verify(archive: str, sha256: str) -> None:
    """Make sure that the bytes that arrived are those that the controller sent."""
    found = hash_file(archive)
    if found != sha256:
        raise ReleaseError(f"{archive} has SHA-256 {found}, but {sha256} was sent: it was damaged on its way.")


@contextlib.contextmanager
def verified(params: dict, place: str) -> Iterator[str]:
    """The verified archive: the one that was sent, or one that is fetched to a place and removed after its use."""
    source = params["source"]
    if params["archive"]:
        verify(params["archive"], source["sha256"])
        yield params["archive"]
        return
    try:
        if params["archive_content"]:
            with open(place, "wb") as file:
                file.write(base64.b64decode(params["archive_content"]))
            verify(place, source["sha256"])
        else:
            # Here, because it takes as long as all the rest, and a host that has the release fetches nothing.
            from ansible_collections.flaskops.production.plugins.module_utils._releases.download import fetch_archive

            url = params["pull_url"].rstrip("/") + "/" + archive_name(source)
            fetch_archive(url, params["pull_credentials"], place, source["sha256"], int(source["size"]))
        yield place
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)


def unpack(archive: str, directory: str) -> None:
    """Unpack an archive that the controller has normalised: plain names, links inside the tree, modes 0644 and 0755."""
    os.mkdir(directory, 0o700)
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(directory, filter="data")
        else:
            tar.extractall(directory)
    for path, directories, files in os.walk(directory):
        for name in directories + files:
            below = os.path.join(path, name)
            if not os.path.islink(below):
                os.chmod(below, 0o755 if name in directories else os.stat(below).st_mode & 0o755 | 0o644)
    os.chmod(directory, 0o755)


def give(directory: str, owner: str) -> None:
    """Make the whole of a directory its owner's."""
    account = pwd.getpwnam(owner)
    if (account.pw_uid, account.pw_gid) == (os.geteuid(), os.getegid()):
        return
    os.chown(directory, account.pw_uid, account.pw_gid)
    for path, directories, files in os.walk(directory):
        for name in directories + files:
            os.chown(os.path.join(path, name), account.pw_uid, account.pw_gid, follow_symlinks=False)


def link_shared(layout: Layout, release: str, shared_paths: list[str], params: dict) -> None:
    """Let names inside a release that is being staged lead to shared/."""
    for name in (name.rstrip("/") for name in shared_paths):
        link, text = shared_link(layout, release, name, params)
        if os.path.isdir(link) and not os.path.islink(link):
            shutil.rmtree(link)
        elif os.path.lexists(link):
            os.unlink(link)
        os.symlink(text, link)


def relink_shared(layout: Layout, release: str, shared_paths: list[str], params: dict) -> list[str]:
    """Let names inside a release that may be live lead to shared/; where what they held is kept.

    A request finds what was there or the link, never neither. What was there may be more than the release has brought.
    """
    kept = []
    for name in (name.rstrip("/") for name in shared_paths):
        link, text = shared_link(layout, release, name, params)
        if not os.path.lexists(link):
            os.symlink(text, link)
            continue
        aside = unused(os.path.join(os.path.dirname(link), f".{os.path.basename(link)}.before"))
        change_places(link, aside, text)
        if os.path.islink(aside):
            os.unlink(aside)
        elif is_empty(aside):
            shutil.rmtree(aside)
        else:
            kept.append(aside)
    return kept


def is_empty(path: str) -> bool:
    """Whether there is nothing but directories."""
    if not os.path.isdir(path) or os.path.islink(path):
        return False
    with os.scandir(path) as entries:
        return all(is_empty(entry.path) for entry in entries)


def unused(path: str) -> str:
    """The path, or the first of its kind that is free."""
    candidates = itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if not os.path.lexists(candidate))


def shared_link(layout: Layout, release: str, name: str, params: dict) -> tuple[str, str]:
    """Where the link to a shared path is to be, with its directory there, and the link's text."""
    path, link = os.path.join(layout.shared, name), os.path.join(release, name)
    if name + "/" in params["shared_paths"] and not os.path.isdir(path):
        make_shared_directory(layout, name + "/", params)
    parent = os.path.dirname(link)
    if os.path.realpath(parent) != os.path.normpath(os.path.join(os.path.realpath(release), os.path.dirname(name))):
        raise ReleaseError(f"release_shared_paths has {name}, but the release reaches it through a link.")
    os.makedirs(parent, exist_ok=True)
    # A release that is being staged lies as deep as it will in its place.
    return link, os.path.relpath(path, parent)


def new_record(name: str, source: dict, params: dict) -> dict:
    """What is recorded of a release when it comes to a host."""
    return {
        "release": name,
        "digest": source["digest"],
        "time": source["time"],
        "source": source.get("source"),
        **{key: params[key] for key in SETTINGS},
        "built": False,
        "staged": now(),
        "by": params["run"]["by"],
        "state": "staged",
    }


def former_state(layout: Layout, name: str) -> str:
    """The state of a release whose record is lost, as the link app and the log of activations tell it."""
    activated = [entry["release"] for entry in layout.activations()]
    if name == layout.live() and name in (activated or [name])[-1:]:
        return "active"
    return "superseded" if name in activated else "staged"


def stage(layout: Layout, params: dict) -> None:
    """Unpack the release beside the others and rename it to its place."""
    source = params["source"]
    name = source["name"]
    there = os.path.lexists(layout.release(name))
    if there and (layout.record(name) or not os.path.isdir(layout.release(name))):
        raise ReleaseError(taken(layout, name, f"holds other bits than this release ({source['digest'][:12]})"))
    staging = os.path.join(layout.releases, STAGING + name)
    try:
        if on_host(params):
            copy_code(source, staging)
        else:
            with verified(params, staging + ".tar.gz") as archive:
                unpack(archive, staging)
        give(staging, params["owner"])
        link_shared(layout, staging, params["shared_paths"], params)
        if there:
            # Its record is lost. Where it holds these very files, it is this release.
            differing = first_difference(staging, layout.release(name))
            if differing:
                raise ReleaseError(
                    taken(layout, name, f"has no record and holds another {differing} than this release")
                )
            shutil.rmtree(staging)
            layout.write_record(name, {**new_record(name, source, params), "state": former_state(layout, name)})
            return
        sync_filesystem(staging)
        layout.write_record(name, new_record(name, source, params))
        os.rename(staging, layout.release(name))
        sync_filesystem(layout.releases)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def taken(layout: Layout, name: str, why: str) -> str:
    """The sentence about a directory in the place of a release. It never advises to change the live one."""
    remedy = "it is live, so leave it" if name == layout.live() else "or move it away"
    return f"{layout.release(name)} {why}: choose another release_name; {remedy}."


def first_difference(wanted: str, found: str) -> str:
    """The first file of a release that a directory does not hold as it is; empty when it holds all of them.

    What a build or an import has added does not matter.
    """
    for path, directories, files in os.walk(wanted):
        below = os.path.relpath(path, wanted)
        for name in sorted([*directories, *files]):
            inside = os.path.normpath(os.path.join(below, name))
            one, other = os.path.join(wanted, inside), os.path.join(found, inside)
            if os.path.islink(one) or os.path.islink(other):
                same = os.path.islink(one) and os.path.islink(other) and os.readlink(one) == os.readlink(other)
            elif os.path.isdir(one):
                same = os.path.isdir(other)
            else:
                same = os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)
            if not same:
                return inside
    return ""


def adopt(layout: Layout, params: dict) -> None:
    """Keep the code that lies in app as the first release, and the environment in venv. Each is one atomic exchange.

    A link is put where the directory is to be, with the text that it needs where the directory is; then the two names
    change places. The links are absolute, so that they lead to the same place before and after the last exchange.
    Processes that run in the directories go on.
    """
    name = f"adopted-{time.strftime('%Y-%m-%d-%H%M%S', time.gmtime())}"
    if is_real(layout.venv):
        environment = os.path.join(layout.venvs, hashlib.sha256(name.encode()).hexdigest()[:12])
        change_places(layout.venv, environment, environment)
        if os.path.isdir(layout.app) and not os.path.lexists(os.path.join(layout.app, ".venv")):
            os.symlink(environment, os.path.join(layout.app, ".venv"))
    if os.path.islink(layout.venv):
        # An environment that cannot be reached safely keeps its scripts. A rollback to it then says what they name.
        with contextlib.suppress(FileNotFoundError, UnsafePathError):
            name_interpreter(layout.venv, os.path.realpath(layout.venv))
    if not is_real(layout.app):
        return
    for path in (path.rstrip("/") for path in params["shared_paths"]):
        inside, shared = os.path.join(layout.app, path), os.path.join(layout.shared, path)
        if is_real(inside) and not os.path.lexists(shared):
            share(layout, path)
    record = new_record(name, {"digest": "", "time": now()}, {**params, "static_paths": [], "build": ""})
    record["source"] = {"kind": "adopted", "location": layout.app, "revision": None, "ref": None}
    layout.write_record(name, record)
    change_places(layout.app, layout.release(name), os.path.join("releases", name))
    if os.path.lexists(os.path.join(layout.app, ".venv")):
        swap_link(layout.venv, os.path.join("app", ".venv"))
    layout.record_activation(name, "deploy", params["run"])


def name_interpreter(before: str, environment: str) -> None:
    """Let the scripts of an adopted environment name its own interpreter: the former path leads to the live release."""
    former = re.compile(b"(#!|[\"' ])" + re.escape(os.fsencode(before)) + b"(?=/bin/)")
    with open_directory_safely(os.path.join(environment, "bin")) as directory:
        for name in directory.list_names():
            info = directory.lstat(name)
            if not stat.S_ISREG(info.st_mode):
                continue
            with directory.open_stream(name) as read:
                head = read.read(SCRIPT_HEAD)
                named = former.sub(lambda match: match[1] + os.fsencode(environment), head)
                if not head.startswith(b"#!") or named == head:
                    continue
                with directory.open_replacement(name, NAMING) as write:
                    write.write(named)
                    shutil.copyfileobj(read, write)
                    set_owner_and_mode(write.fileno(), info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))


def share(layout: Layout, path: str) -> None:
    """Move data of the code in app to shared/, and leave a link. The application may write to both."""
    above, name = os.path.split(path)
    text = os.path.join(layout.shared, path)
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(open_directory_safely(os.path.join(layout.app, above), reading=True, links=False))
        shared = stack.enter_context(open_directory_safely(layout.shared, {os.stat(layout.shared).st_uid}))
        new = stack.enter_context(make_directories(shared, above, os.geteuid(), os.getegid(), 0o755, SHARING))
        os.symlink(text, name, dir_fd=new.fd)
        try:
            exchange_names_at(old.fd, name, new.fd, name)
        except SymlinkError:
            os.unlink(name, dir_fd=new.fd)
            os.rename(name, name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
            os.symlink(text, name, dir_fd=old.fd)


def change_places(directory: str, new_place: str, link_text: str) -> None:
    """Move a directory and leave a link in its place, in one step where the kernel can."""
    os.symlink(link_text, new_place)
    try:
        exchange_names(directory, new_place)
    except SymlinkError:
        os.unlink(new_place)
        os.rename(directory, new_place)
        os.symlink(link_text, directory)


def tidy(layout: Layout, lock: Lock, force: bool) -> None:
    """Clean up after a run that is over. One that is not over keeps its lock, and this run ends here."""
    held = lock.is_ours()
    if layout.leftovers() or lock.holder() and not held:
        layout.prepare()
        lock.acquire(force)
        layout.sweep()
        if held:
            lock.leave()
        else:
            lock.release()


def claim(layout: Layout, lock: Lock, params: dict) -> dict:
    """Look, and take the lock where there is anything to do; what was found. Another run's release stays as it is."""
    check_tree(layout, params)
    if not on_host(params) and not params["check_mode"]:
        check_user(layout, params)
    if not params["check_mode"]:
        tidy(layout, lock, params["unlock"])
    found = {**look_at_all(layout, params), "rollout": read_rollout(layout), "drained": read_drain(layout)}
    adoptable = params["adopt"] and (is_real(layout.app) or is_real(layout.venv))
    decision = decide(found, layout.record(found["release"]) or {}, params, adoptable)
    pending = decision.stage != ""
    if not params["check_mode"] and (any(decision) or not found["migrated"] or found["drained"]):
        layout.prepare()
        lock.acquire(force=params["unlock"])
    kept = kept_name(found["release"], params["source"]) if found["present"] and not pending else ""
    return {**found, "pending": pending, "locked": lock.is_ours(), "changed": False, "notes": [kept] if kept else []}


def look_at_all(layout: Layout, params: dict) -> dict:
    """What is on the host, with settings that this run has staged."""
    found = look(layout, params)
    staged = staged_settings(layout, params["app"])
    if staged:
        found["outdated"] = found["outdated"] or f"new settings are staged: {', '.join(staged)}"
    return found


def note_source(layout: Layout, lock: Lock, name: str, params: dict) -> bool:
    """Record the commit that is asked for, where a release came with another one; whether that is a change.

    A commit that is reverted leads to the bits of the one before it.
    """
    record = layout.record(name)
    if record is None or is_from(record, params["source"]):
        return False
    if not params["check_mode"]:
        held = lock.is_ours()
        lock.acquire(force=params["unlock"])
        layout.write_record(name, {**record, "source": params["source"]["source"]})
        if not held:
            lock.release()
    return True


def refresh(layout: Layout, lock: Lock, name: str, params: dict) -> list[str] | None:
    """Let a release that is there already follow changed settings; what to tell about it, None if nothing was to do."""
    record = layout.record(name) or {}
    if is_as_set(record, params):
        return None
    before, notes = record.get("shared_paths", []), []
    taken = [path for path in before if path.rstrip("/") not in [name.rstrip("/") for name in params["shared_paths"]]]
    if taken:
        notes.append(
            f"{name} was staged with {', '.join(taken)} in release_shared_paths and still leads there to "
            f"{layout.shared}: what is taken away counts from the next release on."
        )
    settings = {key: params[key] for key in SETTINGS}
    if not params["check_mode"]:
        lock.acquire(force=params["unlock"])
        added = [path for path in params["shared_paths"] if path not in before]
        for kept in relink_shared(layout, layout.release(name), added, params):
            notes.append(f"What {name} held where it leads to {layout.shared} now is kept in {kept}.")
        layout.write_record(
            name, {**record, **settings, "built": record.get("build") == settings["build"] and record["built"]}
        )
    return notes


def argument_spec() -> dict:
    return {
        **STAGE,
        "run": {"type": "dict"},
        "archive": {"type": "path"},
        # Not for the journal and not in what is shown of the task.
        "archive_content": {"type": "str", "default": "", "no_log": True},
        "pull_url": {"type": "str", "default": ""},
        "pull_directory": {"type": "path"},
        "pull_credentials": {"type": "str", "default": "", "no_log": True},
        "unlock": {"type": "bool", "default": False},
        "only": {"type": "str", "choices": ["check", "look", "unlock"]},
        "send": {"type": "bool", "default": False},
        "rollout": {"type": "dict"},
    }


def hand_over(layout: Layout, params: dict) -> None:
    """Let adopted data belong to the runtime user, and the process that runs on it go on until it is replaced."""
    uid, gid = pwd.getpwnam(params["user"]).pw_uid, grp.getgrnam(params["group"]).gr_gid
    media = os.path.join(layout.shared, "media")
    web_gid = os.lstat(media).st_gid if os.path.lexists(media) else gid
    for name in params["shared_paths"]:
        path = os.path.join(layout.shared, name.rstrip("/"))
        if os.path.lexists(path) and os.lstat(path).st_uid not in (0, uid):
            start_transfer(layout, plan_transfer(layout, os.lstat(path), uid, gid, web_gid))


def check_user(layout: Layout, params: dict) -> None:
    """Refuse a release for another user than the unit's, whose commands would write what the process cannot."""
    path = os.path.join(UNITS, params["app"] + ".service")
    try:
        with open(layout.next_settings_file(path), encoding="utf-8", errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        return
    found = re.findall(r"(?m)^User=(.+)$", text)
    if f"Sockets={params['app']}.socket" in text and found and found[-1] != params["user"]:
        raise ReleaseError(
            f"{params['app']}.service runs as {found[-1]}, but flask_app_user is {params['user']!r}. Run the playbook "
            f"site, which changes the user and hands the data over, or set flask_app_user to {found[-1]!r}."
        )


def work(layout: Layout, lock: Lock, params: dict) -> dict:
    """Look, and stage what is missing once there is an archive; what was found, and whether that is a change."""
    check_tree(layout, params)
    if not on_host(params) and not params["check_mode"]:
        check_user(layout, params)
    adoptable = params["adopt"] and (is_real(layout.app) or is_real(layout.venv))
    if adoptable and not params["check_mode"]:
        layout.prepare()
        lock.acquire(force=params["unlock"])
        adopt(layout, params)
        hand_over(layout, params)
    if not params["check_mode"]:
        tidy(layout, lock, params["unlock"])
    found = look_at_all(layout, params)
    if found["present"]:
        noted = note_source(layout, lock, found["release"], params)
        notes = refresh(layout, lock, found["release"], params)
        if notes is not None:
            found["outdated"] = found["outdated"] or "settings of the release changed"
        said = [note for note in (kept_name(found["release"], params["source"]), *(notes or [])) if note]
        return {**found, "changed": noted or notes is not None or adoptable, "notes": said}
    at_hand = params["archive"] or params["archive_content"] or params["pull_url"] or on_host(params)
    if at_hand and not params["check_mode"]:
        layout.prepare()
        lock.acquire(force=params["unlock"])
        layout.sweep()
        if layout.with_digest(params["source"]["digest"]):
            # Another step of this run was faster: one host may have two names in the inventory.
            return {**look(layout, params), "changed": False}
        try:
            stage(layout, params)
        except BaseException:
            lock.release()
            raise
    return {**found, "changed": True}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_one_of=[("source", "only")],
        required_if=[("only", "look", ["source"])],
        supports_check_mode=True,
    )
    # A deploy lock is given back wherever it was taken.
    if module.params["only"] != "unlock":
        require_supported_platform(module)
    layout = Layout(module.params["root"], module.params["run"])
    params = {**module.params, "check_mode": module.check_mode}
    lock = Lock(layout, params["run"])
    os.umask(0o022)
    try:
        if params["only"] == "check":
            check_links(layout, params)
            check_databases(layout, params)
            lock.check(force=params["unlock"])
            if os.path.isdir(layout.state) and not module.check_mode:
                layout.prepare()
                lock.acquire(force=params["unlock"])
                lock.leave()
            module.exit_json(changed=False, locked=lock.is_ours())
        if params["only"] == "unlock":
            if not module.check_mode:
                discard_staged(layout)
                lock.release()
            module.exit_json(changed=False)
        try:
            result = claim(layout, lock, params) if params["only"] == "look" else work(layout, lock, params)
            if params["rollout"] and params["only"] is None and not module.check_mode:
                lock.acquire(force=params["unlock"])
                rollout = {**params["rollout"], "release": result["release"]}
                enter_rollout(layout, rollout, params["run"], "preparing")
        finally:
            lock.leave()
        for note in [*layout.warnings(), *result.pop("notes", [])]:
            module.warn(note)
        if result["bad"]:
            module.warn(f"{result['release']} was rejected on this host before: {result['bad']}")
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except (ReleaseError, SymlinkError, OSError, tarfile.TarError, KeyError) as error:
        module.fail_json(msg=format_error(error, layout.root))
    if module._diff and not result["present"] and params["only"] is None:
        header = {"before_header": layout.releases, "after_header": layout.releases}
        result["diff"] = {**header, "before": "", "after": result["release"] + "\n"}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
