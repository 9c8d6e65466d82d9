#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_source
short_description: Resolve the source of a release to one verified archive
version_added: "1.0.0"
description:
  - Reads a directory on the controller, an archive (a path on the controller or a URL) or a commit of a git repository.
    Writes one normalised archive to the run's temporary directory on the controller.
    M(flaskops.production.release_stage) sends it to the hosts that lack the release.
  - Works on the controller only. Does not contact hosts, and does not write outside the run's temporary directory.
  - The same arguments are resolved once per run of C(ansible-playbook), whatever the number of hosts, batches and
    plays. New commits on a branch do not change the source during a run.
  - The default name of the release is the UTC time of the source and the first seven digits of its digest, such as
    V(2026-04-21-120000-1a2b3c4).
  - The time is that of the commit for O(git_repo), and for a O(directory) in a work tree whose files are all committed.
    For a subdirectory of a work tree, it is that of the last commit that changed the subdirectory. Otherwise it is the
    time of the newest file.
  - The digest covers paths, types, executable bits, bytes and link targets, never times or owners. Times in the archive
    are the source's time, modes are 0644 or 0755.
  - Absolute paths, paths with V(..), links out of the release, devices, pipes, sockets, duplicate paths, names that are
    not UTF-8 and names with control characters are errors. So are a V(.venv) at the top, which is the path of the link
    to the virtual environment, and sources above 250,000 files or 4 GiB. Hard links become files.
  - Messages name the variables of the roles C(release) and C(venv), for example C(release_git_ref) for O(git_ref).
options:
  directory:
    description:
      - A directory on the controller. A relative path is relative to the playbook's directory. If it does not exist
        there, it is relative to the current working directory of Ansible.
      - Exactly one of O(directory), O(archive) and O(git_repo) must be set. An empty string counts as not set.
    type: str
  archive:
    description:
      - An archive, as a path on the controller (relative as in O(directory)) or as an C(https) or C(http) URL.
      - Supported formats are tar (plain, gzip, bzip2 or xz; zstd with Python 3.14 or newer on the controller) and zip.
        The format is detected from the content.
      - User, password and query of a URL are never shown. Credentials in C(~/.netrc) are supported.
    type: str
  archive_checksum:
    description:
      - The SHA-256 of O(archive), as 64 hexadecimal digits, with or without V(sha256:) before them. It is checked
        before the archive is opened.
      - Required when O(archive) is a URL, unless O(archive_signature) is set.
    type: str
  archive_signature:
    description:
      - The detached signature of O(archive), as a path on the controller (relative as in O(directory)) or as an
        C(https) or C(http) URL. It is verified before the archive is opened, with O(archive_minisign_key) or
        O(archive_gpg_keyring). Exactly one of them must be set.
    type: str
  archive_minisign_key:
    description:
      - The public key of minisign for O(archive_signature), either the key itself (C(RW) and 54 more characters) or the
        path of its file on the controller.
    type: str
  archive_gpg_keyring:
    description:
      - A file on the controller with the trusted OpenPGP keys for O(archive_signature), as written by C(gpg --export)
        with or without C(--armor). Only keys in this file are accepted.
      - Expired keys, revoked keys and signatures with SHA-1 are errors.
    type: str
  git_repo:
    description:
      - A git repository, as an https or ssh address or as a path on the controller (relative as in O(directory)).
        C(git) on the controller fetches it with its own credentials and without prompts.
      - User and password of an https address are sent to that server only. They are not shown and not part of a command
        line. This requires git 2.31 or newer.
      - Files marked C(export-ignore) are excluded, and C(export-subst) is supported, as in C(git archive).
        Submodules and Git LFS objects are not included and cause a warning.
    type: str
  git_ref:
    description: The branch, tag, full or abbreviated commit hash, or full ref of O(git_repo).
    type: str
    default: HEAD
  git_verify:
    description:
      - The object of O(git_repo) that must be signed. V(commit) is the deployed commit. V(tag) is the annotated tag in
        O(git_ref), whose signed name must be the same.
      - C(git) verifies the signature before any file of the commit is read. It accepts only the keys in
        O(git_gpg_keyring) and O(git_allowed_signers). One of the two must be set.
    type: str
    default: ""
    choices: ["", commit, tag]
  git_gpg_keyring:
    description: A file on the controller with the trusted OpenPGP keys for O(git_verify), as in O(archive_gpg_keyring).
    type: str
  git_allowed_signers:
    description:
      - A file on the controller with the trusted SSH keys for O(git_verify), in the format of C(ssh-keygen) (ALLOWED
        SIGNERS), one principal and key on each line. Requires git 2.34 or newer.
    type: str
  name:
    description:
      - The name of the release, with 1 to 64 letters, digits, dots, underscores and hyphens. The first character is
        a letter or a digit.
      - By default the name is derived from the content.
    type: str
  strip_components:
    description: The number of leading directories to remove from the paths in O(archive).
    type: int
    default: 0
  subdirectory:
    description: The application's directory in the source, after O(strip_components). The rest is excluded.
    type: str
  exclude:
    description:
      - Shell patterns of the names and paths to exclude from O(directory). A pattern without a slash matches names at
        any depth. A pattern with a slash matches paths relative to the directory. A trailing slash means directories
        only.
      - A list replaces the default.
    type: list
    elements: str
    default:
      - .git
      - .hg
      - .svn
      - __pycache__
      - "*.pyc"
      - .venv
      - venv
      - node_modules
      - .pytest_cache
      - .mypy_cache
      - .ruff_cache
      - .tox
      - .nox
      - .DS_Store
      - .env
  requirements:
    description:
      - Requirement files, relative to the release. They and the files that they include must exist.
      - Files of other tools, files that are not UTF-8 or UTF-16, directories that are no projects, and missing paths
        are errors.
    type: list
    elements: str
    default: []
  packages:
    description: Further packages to install. A constraint of O(requirements) that excludes one of them is an error.
    type: list
    elements: str
    default: []
  require_hashes:
    description: Refuse O(requirements) without a pinned version and hash.
    type: bool
    default: false
  only_binary:
    description: Refuse O(requirements) that execute code of a package during its installation.
    type: bool
    default: false
  index:
    description:
      - The setting that names the package index. Lines of O(requirements) with another index are refused.
      - If empty, lines of O(requirements) may name an index.
    type: str
    choices: ["", venv_index_url, venv_extra_index_urls]
    default: ""
  extras:
    description: Extras of O(requirements). An extra that a C(pyproject.toml) does not have is an error.
    type: list
    elements: str
    default: []
  groups:
    description: Dependency groups of O(requirements). A group that a C(pyproject.toml) does not have is an error.
    type: list
    elements: str
    default: []
  installer:
    description: The installer. Only V(uv) reads C(uv.lock) and C([tool.uv.sources]).
    type: str
    choices: [pip, uv]
    default: pip
  python:
    description:
      - The interpreter, as a name or path. If it ends with a version such as V(python3.12), O(requirements) that do not
        accept this version are an error.
    type: str
    default: ""
  static_paths:
    description: Directories of the release with static files. A file at such a path is an error.
    type: list
    elements: str
    default: []
  shared_paths:
    description:
      - Paths in the release to replace with links to shared data. A trailing slash means a directory.
      - A duplicate path, a path inside another one, and a path of the other type in the release are errors.
    type: list
    elements: str
    default: []
  wsgi:
    description:
      - The module and the callable that Gunicorn serves, as O(flaskops.production.flask_app#role:main:flask_app_wsgi).
      - An error if the source does not define the module or callable, and no package of O(requirements) can provide it.
        Modules are parsed, not imported.
      - If empty, it is not checked.
    type: str
    default: ""
  sensitive_files:
    description:
      - The action for files in the source that probably contain secrets or the history of a repository.
      - These are the files V(.env), V(.env.*) (except V(.env.example), V(.env.sample), V(.env.template), V(.env.dist)),
        V(.netrc), V(.pgpass), V(.my.cnf), V(.pypirc), V(.git-credentials), V(.vault_pass), V(*.p12) and V(*.pfx), and
        the directories V(.git), V(.hg), V(.svn), V(.ssh), V(.gnupg) and V(.aws). A file with a private key is one too,
        if its name has an extension of keys or certificates, begins with V(id_), or has no extension.
      - V(warn) causes a warning, V(drop) excludes them from the release, V(refuse) fails, and V(ignore) disables the
        check.
      - Files excluded by O(exclude) are not checked.
    type: str
    default: warn
    choices: [warn, drop, refuse, ignore]
attributes:
  check_mode:
    description: Does the same in check mode, because it changes no host.
    support: full
  diff_mode:
    description: Changes nothing that a diff can show.
    support: none
  platform:
    description: Runs on the controller, for hosts of any platform.
    platforms: posix
    support: full
requirements:
  - git on the controller for O(git_repo), and for a O(directory) in a work tree
  - minisign on the controller for O(archive_minisign_key), gpgv for O(archive_gpg_keyring), gpg for O(git_gpg_keyring),
    ssh-keygen for O(git_allowed_signers)
seealso:
  - module: flaskops.production.release_stage
author:
  - The flaskops.production contributors (@flaskops)
"""

EXAMPLES = r"""
- name: Resolve the application beside the playbook
  flaskops.production.release_source:
    directory: ../app
    requirements: [requirements.txt]
  register: source

- name: Resolve a tag
  flaskops.production.release_source:
    git_repo: git@github.com:example/shop.git
    git_ref: v1.10.0

- name: Resolve a build from a server, with its files in one top-level directory
  flaskops.production.release_source:
    archive: https://builds.example.com/shop-1.10.0.tar.gz
    archive_checksum: sha256:f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2
    strip_components: 1

- name: Resolve a build with a signature of the build server
  flaskops.production.release_source:
    archive: https://builds.example.com/shop-1.10.0.tar.gz
    archive_signature: https://builds.example.com/shop-1.10.0.tar.gz.minisig
    archive_minisign_key: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3

- name: Resolve a tag with a signature of a maintainer
  flaskops.production.release_source:
    git_repo: git@github.com:example/shop.git
    git_ref: v1.10.0
    git_verify: tag
    git_allowed_signers: files/maintainers
"""

RETURN = r"""
name:
  description: The release's name.
  returned: success
  type: str
  sample: 2026-04-21-120000-1a2b3c4
named:
  description: Whether O(name) was given.
  returned: success
  type: bool
  sample: false
digest:
  description: SHA-256 over the release's paths, types, executable bits, bytes and link targets, in hexadecimal.
  returned: success
  type: str
  sample: 1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809
archive:
  description: Path of the archive (tar, gzip) on the controller. It is removed when the run ends.
  returned: success
  type: str
  sample: /home/deploy/.ansible/tmp/ansible-local-4711abcdefgh/flaskops-release-source/0f3c/work/release.tar.gz
sha256:
  description: SHA-256 of the archive, in hexadecimal.
  returned: success
  type: str
  sample: f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2
size:
  description: Size of the archive in bytes.
  returned: success
  type: int
  sample: 48213
files:
  description: Number of files and links in the release.
  returned: success
  type: int
  sample: 42
dropped:
  description: The paths excluded by O(sensitive_files=drop). A directory ends with a slash and includes its contents.
  returned: success
  type: list
  elements: str
  sample: [.env.production, config/tls.key]
time:
  description: The source's time in UTC (ISO 8601).
  returned: success
  type: str
  sample: "2026-04-21T12:00:00Z"
source:
  description: The source of the release.
  returned: success
  type: dict
  contains:
    kind:
      description: The kind of source.
      type: str
      choices: [directory, archive, git]
      sample: git
    location:
      description: The path or URL, without user, password and query (except the user of an ssh address).
      type: str
      sample: git@github.com:example/shop.git
    revision:
      description:
        - The commit's full hash, for O(git_repo) and for a O(directory) in a work tree whose files are all committed.
        - V(null) otherwise.
      type: str
      sample: 8c5b1f0e9d2a4c6b8e0f1a2b3c4d5e6f70819203
    ref:
      description: O(git_ref) for O(git_repo), otherwise V(null).
      type: str
      sample: v1.10.0
"""

from typing import NoReturn

from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule, run_module
from ansible_collections.flaskops.production.plugins.module_utils._releases.source_options import SOURCE


def work(_module: AnsibleModule) -> NoReturn:
    raise ModuleError("flaskops.production.release_source runs as an action plugin, on the controller only.")


def main() -> None:
    run_module(work, SOURCE)


if __name__ == "__main__":
    main()
