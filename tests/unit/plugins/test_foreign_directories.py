# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root works by path only where nobody else can write: everywhere else it takes _files/walk.py."""

from __future__ import annotations

import ast
from pathlib import Path

from ansible_collections.flaskops.production.plugins.module_utils._files import walk

PLUGINS = Path(walk.__file__).parents[2]
# Calls that open, make, change or remove by path.
BY_PATH = {
    *("open", "io.open", "os.open", "os.chown", "os.lchown", "os.chmod", "os.mkdir", "os.makedirs", "os.mknod"),
    *("os.mkfifo", "os.link", "os.symlink", "os.rename", "os.renames", "os.replace", "os.unlink", "os.remove"),
    *("os.rmdir", "os.removedirs", "os.truncate", "os.utime", "os.setxattr", "shutil.copy", "shutil.copy2"),
    *("shutil.copyfile", "shutil.copymode", "shutil.copystat", "shutil.copytree", "shutil.move", "shutil.rmtree"),
    *("shutil.chown", "tempfile.mkdtemp", "tempfile.mkstemp", "tempfile.TemporaryDirectory"),
    *("tempfile.NamedTemporaryFile",),
}
OF_PATHLIB = {"write_text", "write_bytes", "read_text", "read_bytes", "touch", "symlink_to", "hardlink_to"}
# Helpers of this collection that work by path, too.
HELPERS = {"replace_file", "hash_file", "swap_file_link", "open_directory", "open_directory_fd"}
# These make a call one by descriptor. Of a rename, both sides have one, or the other is in a directory of root.
DESCRIPTORS = {"dir_fd", "src_dir_fd", "dst_dir_fd"}

# Where root may work by path, and why nobody can write there but root and flask_app_owner, who is trusted like root.
# A file stands for all of its functions.
SAFE = {
    "module_utils/_files/atomic.py": "the helpers for such directories, and for descriptors",
    "module_utils/_files/locking.py": "/run/flaskops and venvs",
    "module_utils/_files/walk.py": "begins at /, and goes on by descriptor",
    "module_utils/_files/directory.py": "by descriptor",
    "module_utils/_files/links.py": "the links app, venv and next in the application's directory, which is root's",
    "module_utils/_app/store.py": ".deploy and releases",
    "module_utils/_app/pruning.py": ".deploy, releases and venvs",
    "module_utils/_app/venv_links.py": "venvs",
    "module_utils/_app/lock.py": ".deploy",
    "module_utils/_app/rollout.py": ".deploy",
    "module_utils/_releases/settings.py": ".deploy; units, settings and shared/.env, in directories of root's",
    "module_utils/_releases/settings_set.py": "the same",
    "module_utils/_releases/settings_digests.py": "the same",
    "module_utils/_releases/staged_site.py": ".deploy",
    "module_utils/_python/venvs.py": "venvs",
    "module_utils/_python/requirement_files.py": "releases",
    "module_utils/_python/digest.py": "releases",
    "module_utils/_python/venv_content.py": "venvs",
    "module_utils/_python/builder.py": "venvs",
    "module_utils/_python/steps.py": "the copy of a source, while no process of the build user runs",
    "module_utils/_python/source_directory.py": "releases and venvs",
    "module_utils/_python/workspace.py": "directories of root's, and a home that is not in use yet",
    "module_utils/_systemd/transient_unit.py::_open_private": "the input of a build, which is root's",
    "module_utils/_systemd/transient_unit.py::write_script": "the input of a build",
    "module_utils/_systemd/transient_unit.py::open_named_pipe": "the input of a build",
    "module_utils/_systemd/transient_unit.py::hold_build_lock": "/run/flaskops, which is closed to all others",
    "module_utils/_systemd/transient_unit.py::read_result": "one name in a directory of the build's, not followed",
    "module_utils/_releases/build.py::_replace_release": "releases",
    "module_utils/_releases/download.py": "an archive in releases",
    "module_utils/_nginx/site.py": "/etc/nginx and below; the adoption refuses a site elsewhere",
    "module_utils/_nginx/site_state.py": "/etc/nginx and below; the adoption refuses a site elsewhere",
    "module_utils/_nginx/service.py": "/etc/nginx and below",
    "module_utils/_nginx/config.py": "/etc/nginx and below",
    "module_utils/_nginx/process.py": "/proc",
    "module_utils/_app/live_process.py::record_process": ".deploy",
    "module_utils/_app/live_process.py::read_process_record": ".deploy",
    "module_utils/_app/health.py::find_socket_failure": "/proc",
    "module_utils/_systemd/process.py": "/proc",
    "module_utils/_doctor/system.py": "/proc",
    "module_utils/_doctor/files.py::load_text": "/proc only; other files by open_file",
    "module_utils/_files/acl.py::write_acl": "/proc/self/fd, which leads to what was opened",
    "module_utils/_releases/former_user.py::_change_owner": "/proc/self/fd",
    "module_utils/_releases/former_user.py::read_transfer": ".deploy",
    "module_utils/_releases/former_user.py::finish_transfer": ".deploy",
    "module_utils/_releases/former_user.py::start_transfer": ".deploy",
    "module_utils/_releases/migrations.py::_read_assignments": "shared/.env, in a directory of root's",
    "module_utils/_nginx/host.py": "/proc, and /etc/nginx and below",
    "module_utils/_files/foreign.py::read_application": "units, sites and configuration in directories of root's",
    "module_utils/_core/platforms.py::_read_os_release": "/etc/os-release",
    "module_utils/_releases/databases.py::list_databases": "shared/.env, in a directory of root's, and .deploy",
    "module_utils/_releases/site_check.py::find_site": "/etc/nginx and below",
    "module_utils/_core/secrets.py::_read": "what must not be shown; no pipe, and no more than a process can have",
    "module_utils/_core/secrets.py::_open_regular_file": "the same",
    "module_utils/_releases/activation.py": "app and next in the application's directory, and /run",
    "module_utils/_adoption/record.py::AdoptionRecord": ".deploy",
    "module_utils/_adoption/record.py::KeptFiles": ".deploy/adopted, which is closed to all others",
    "module_utils/_adoption/record.py::_keep_copy": ".deploy/adopted",
    "module_utils/_adoption/data.py::DataCopier._copy_file": "os.utime of a descriptor",
    "module_utils/_releases/static_files.py::_copy_file": "os.utime of a descriptor",
    "module_utils/_adoption/database.py::create_workspace": "a directory of root's in .deploy",
    "module_utils/_releases/host_code.py::copy_code": "a staged release; the source is read by descriptor",
    "module_utils/_adoption/write_check.py::WriteCheck": "/run",
    "module_utils/_adoption/candidate.py::AdoptionCandidate.remove": "/run, and a socket in run/; no link is followed",
    "module_utils/_adoption/activation.py::AdoptionActivation.remove_candidate": "/run, and next in root's directory",
    "module_utils/_releases/command.py": "/run",
    "module_utils/_releases/command_unit.py": "/run",
    "module_utils/_releases/preparation.py::check_unit_user": "/etc/systemd/system",
    "module_utils/_releases/staging.py": "releases, and an archive in a temporary directory of root's",
    "module_utils/_releases/shared_paths.py": "a release, and names in the application's directory, which is root's",
    "module_utils/_releases/existing_code.py::adopt_existing_code": "a link in app, a name in a directory of root's",
}


def name_of(node: ast.expr) -> str:
    """The dotted name of what is called."""
    if isinstance(node, ast.Attribute):
        above = name_of(node.value)
        return f"{above}.{node.attr}" if above else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def works_by_path(call: ast.Call) -> bool:
    name = name_of(call.func)
    if any(keyword.arg in DESCRIPTORS for keyword in call.keywords):
        return False
    return name in BY_PATH | HELPERS or name.split(".")[-1] in OF_PATHLIB


def places(path: Path, text: str) -> set[str]:
    """The functions of a file that work by path, as file::class.function."""
    found: set[str] = set()

    def visit(node: ast.AST, scope: list[str]) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if isinstance(child, ast.Call) and works_by_path(child):
                found.add(f"{path.as_posix()}::{'.'.join(scope)}")
            visit(child, [*scope, child.name] if named else scope)

    visit(ast.parse(text), [])
    return found


def all_places() -> set[str]:
    paths = [*PLUGINS.glob("module_utils/**/*.py"), *PLUGINS.glob("modules/*.py")]
    return {place for path in paths for place in places(path.relative_to(PLUGINS), path.read_text())}


def covers(safe: str, place: str) -> bool:
    return place == safe or place.startswith((f"{safe}::", f"{safe}."))


def test_root_works_by_path_only_where_nobody_else_writes():
    unsafe = {place for place in all_places() if not any(covers(safe, place) for safe in SAFE)}
    assert unsafe == set(), "Use _files/walk.py, or say above why nobody else can write there."


def test_the_list_of_safe_places_holds_no_other():
    found = all_places()
    assert {safe for safe in SAFE if not any(covers(safe, place) for place in found)} == set()


def test_calls_by_path_are_seen():
    code = "class A:\n    def b(self):\n        {}\n"
    for call in ("open('a')", "os.chown('a', 1, 2)", "shutil.copy2('a', 'b')", "pathlib.Path('a').write_text('')"):
        assert places(Path("x.py"), code.format(call)) == {"x.py::A.b"}, call
    for call in ("os.open('a', 0, dir_fd=fd)", "os.rename('a', 'b', src_dir_fd=1)", "stream.read()"):
        assert places(Path("x.py"), code.format(call)) == set(), call
