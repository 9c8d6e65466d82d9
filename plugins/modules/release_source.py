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
  - Takes a directory of the controller, an archive (a path on the controller or a URL) or a commit of a git repository,
    and writes one normalised archive of it in the run's temporary directory on the controller, from where
    M(flaskops.production.release_stage) sends it to the hosts that lack it.
  - It works on the controller only. No host is contacted, nothing outside the run's temporary directory is written.
  - The same arguments are resolved once per run of C(ansible-playbook), whatever the number of hosts, batches and
    plays. A branch that moves meanwhile does not change what a run deploys.
  - The name of the release follows from its content. It is the UTC time of the source and the first seven digits of the
    digest, as in V(2026-04-21-120000-1a2b3c4).
  - The time is that of the commit for O(git_repo), and for a O(directory) in a work tree whose files are all committed
    (that of the last commit that touched it, where it is not the root of the work tree). Otherwise it is the time of
    the newest file.
  - The digest covers paths, types, executable bits, bytes and link targets, never times or owners. Times in the archive
    are the source's time, modes are 0644 or 0755.
  - Refused are absolute paths, paths with V(..), links that lead out of the release, devices, pipes and sockets,
    duplicate paths, names that are not UTF-8 or hold control characters, a V(.venv) at the top (the link to the
    release's environment goes there), and sources above 250,000 files or 4 GiB. Hard links become files.
  - Messages name the variables of the roles C(release) and C(venv), O(git_ref) as C(release_git_ref) for example.
options:
  directory:
    description:
      - A directory on the controller. A relative path starts from the playbook's directory, or, where it does not exist
        there, from the directory that Ansible was started in.
      - Exactly one of O(directory), O(archive) and O(git_repo) must be set. An empty text counts as not set.
    type: str
  archive:
    description:
      - An archive, as a path on the controller (relative as in O(directory)) or as an C(https) or C(http) URL.
      - Accepted are tar (plain, gzip, bzip2 or xz, and zstd where the controller's Python is 3.14 or newer) and zip.
        The content decides, not the file's name.
      - User, password and query of a URL are never shown. Credentials in C(~/.netrc) work too.
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
        C(https) or C(http) URL. It is checked before the archive is opened, with O(archive_minisign_key) or
        O(archive_gpg_keyring), of which exactly one has to be set.
    type: str
  archive_minisign_key:
    description:
      - The public key of minisign that O(archive_signature) must be of, either the key itself (C(RW) and 54 more
        characters) or the path of its file on the controller.
    type: str
  archive_gpg_keyring:
    description:
      - A file on the controller with the OpenPGP keys of which one must have made O(archive_signature), as
        C(gpg --export) writes it, with or without C(--armor). Every key in it counts, other keys never do.
      - Expired and revoked keys are refused, and signatures over SHA-1.
    type: str
  git_repo:
    description:
      - A git repository, as an https or ssh address or as a path on the controller (relative as in O(directory)). It is
        fetched by the controller's C(git), with its credentials, and without any question.
      - User and password of an https address are for that server only, and neither shown nor part of a command line,
        which needs git 2.31 or newer.
      - Files marked C(export-ignore) are left out, and C(export-subst) is respected, as C(git archive) does.
        Submodules and Git LFS objects are not included, which a warning tells.
    type: str
  git_ref:
    description: The branch, tag, commit hash (shortened ones too) or full ref of O(git_repo).
    type: str
    default: HEAD
  git_verify:
    description:
      - What of O(git_repo) must be signed. V(commit) is the commit that is deployed, V(tag) the annotated tag that
        O(git_ref) names, under the name that was signed.
      - It is checked before anything is read out of the commit, by C(git) with the keys of O(git_gpg_keyring) and
        O(git_allowed_signers) and no others. One of the two has to be set.
    type: str
    default: ""
    choices: ["", commit, tag]
  git_gpg_keyring:
    description: A file on the controller with the OpenPGP keys that O(git_verify) accepts, as O(archive_gpg_keyring).
    type: str
  git_allowed_signers:
    description:
      - A file on the controller with the SSH keys that O(git_verify) accepts, in the format of C(ssh-keygen) (ALLOWED
        SIGNERS), one principal and key on each line. Needs git 2.34 or newer.
    type: str
  name:
    description:
      - A name for the release, used as it is. 1 to 64 letters, digits, dots, underscores and hyphens, of which the
        first is a letter or a digit.
      - Without it the name follows from the content.
    type: str
  strip_components:
    description: The number of leading directories to remove from the paths in O(archive).
    type: int
    default: 0
  subdirectory:
    description: The directory in the source that is the application (after O(strip_components)); the rest is left out.
    type: str
  exclude:
    description:
      - What is left out of O(directory), as shell patterns. One without a slash is compared with every name at any
        depth, one with a slash with the path from the directory's root. A trailing slash means directories only.
      - A list of your own replaces the default.
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
    description: Requirement files, relative to the release, that must be there with all that they include.
    type: list
    elements: str
    default: []
  packages:
    description: Packages installed beside O(requirements). Looked at only with O(require_hashes) and O(only_binary).
    type: list
    elements: str
    default: []
  require_hashes:
    description: Refuse O(requirements) that are not pinned with a hash each.
    type: bool
    default: false
  only_binary:
    description: Refuse O(requirements) whose lines would run code of a package while it is installed.
    type: bool
    default: false
  index:
    description:
      - The setting that says where packages come from. Lines of O(requirements) that name another place are refused.
      - Empty if none does, and the lines decide.
    type: str
    choices: ["", venv_index_url, venv_extra_index_urls]
    default: ""
  static_paths:
    description: Directories of the release that hold static files. Refused when one is a file.
    type: list
    elements: str
    default: []
  shared_paths:
    description:
      - Paths in the release that become links to data which outlives it. A trailing slash means a directory.
      - Refused when one is named twice, lies inside another, or is of the other type in the release.
    type: list
    elements: str
    default: []
  wsgi:
    description:
      - The module and the callable that Gunicorn serves, as O(flaskops.production.flask_app#role:main:flask_app_wsgi).
      - Refused when the source defines no such module or callable and no package of O(requirements) can bring it. The
        modules are read and not imported.
      - When it is empty, it is not checked.
    type: str
    default: ""
  sensitive_files:
    description:
      - What to do where the source holds what looks like a secret or a history.
      - These are the files V(.env), V(.env.*) (but V(.env.example), V(.env.sample), V(.env.template), V(.env.dist)),
        V(.netrc), V(.pgpass), V(.my.cnf), V(.pypirc), V(.git-credentials), V(.vault_pass), V(*.p12) and V(*.pfx), the
        directories V(.git), V(.hg), V(.svn), V(.ssh), V(.gnupg) and V(.aws), and files that hold a private key, where
        their name ends as those of keys and certificates do, begins with V(id_) or has no extension.
      - With V(warn) a warning names them, with V(drop) they are left out of the release, with V(refuse) there is no
        release, and with V(ignore) nobody looks.
      - What O(exclude) leaves out of O(directory) was never part of it.
    type: str
    default: warn
    choices: [warn, drop, refuse, ignore]
attributes:
  check_mode:
    description: Does in check mode what it does otherwise, because it changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  platform:
    description: Runs on the controller, for hosts of any platform.
    platforms: posix
    support: full
requirements:
  - git on the controller, for O(git_repo) and for naming a O(directory) in a work tree after its commit
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

- name: Resolve a build from a server, whose files lie under one folder
  flaskops.production.release_source:
    archive: https://builds.example.com/shop-1.10.0.tar.gz
    archive_checksum: sha256:f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2
    strip_components: 1

- name: Resolve a build that the build server has signed
  flaskops.production.release_source:
    archive: https://builds.example.com/shop-1.10.0.tar.gz
    archive_signature: https://builds.example.com/shop-1.10.0.tar.gz.minisig
    archive_minisign_key: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3

- name: Resolve a tag that one of the maintainers has signed
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
  description: What O(sensitive_files=drop) left out. A directory ends with a slash and stands for all that was in it.
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
  description: Where the release came from.
  returned: success
  type: dict
  contains:
    kind:
      description: The kind of source.
      type: str
      choices: [directory, archive, git]
      sample: git
    location:
      description: The path or URL, without user, password and query (the user of an ssh address stays).
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


from ansible_collections.flaskops.production.plugins.module_utils._module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._source_spec import SOURCE


def main() -> None:
    module = AnsibleModule(argument_spec=SOURCE, supports_check_mode=True)
    module.fail_json(msg="flaskops.production.release_source runs as an action plugin, on the controller only.")


if __name__ == "__main__":
    main()
