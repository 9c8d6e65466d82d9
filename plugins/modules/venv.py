#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: venv
short_description: Build an immutable virtual environment (internal to the roles)
version_added: "1.0.0"
description:
  - Keeps virtual environments as C(<directory>/<digest>). The digest covers all inputs of the build, so the same
    dependencies are built once, and other dependencies never change a virtual environment in use.
  - The inputs are the bytes of the requirement files with their includes, wheels and archives that they name by path
    or that are in directories of O(find_links), the added packages, the installer and its options, and the
    interpreter's path, version and platform. User names and passwords in URLs and O(environment) are not part of the
    digest.
  - If the requirements name a directory of O(source), or a branch or tag of a repository, the content of O(source) is
    an input too, so that each release gets its own code and the repository is read again. For a release, this is the
    recorded digest; for another O(source), a digest of its files.
  - Directories are built to wheels in a copy of O(source) and are never installed editable. A package whose code is
    outside of the virtual environment fails the build.
  - A virtual environment is built at its final path, checked with C(pip check), flushed to disk and marked complete
    last. A directory without that mark is the remains of an interrupted build; it is removed and built again.
  - Points O(link) at the virtual environment, by one rename, and records it in C(<directory>/.links), so that
    M(flaskops.production.release_activate) keeps every linked virtual environment.
  - The installer runs as the user C(flaskops-build), which is created if missing, in a transient unit of systemd. It
    can read the system, O(source) and O(find_links), but not the rest of the application's directory, C(/srv), other
    applications beside this one and the homes of users. It writes to the new virtual environment only; temporary files
    are in C(<directory>/.build).
  - A virtual environment belongs to root before it is marked complete. Files that another user could change, and links
    that lead out of it, are refused.
  - Removes no virtual environment.
  - If the virtual environment exists, the module only reads the requirement files.
options:
  directory:
    description:
      - The directory of the virtual environments. Created when it is missing.
      - An absolute path.
    type: path
    required: true
  source:
    description:
      - The directory of relative names in O(requirements) and O(find_links), usually a release.
      - Commands run there, so paths inside requirement files are relative to it too.
    type: path
  link:
    description:
      - The symbolic link to point at the virtual environment. Without it, the module only builds.
      - A real file or directory with that name is refused, and so is a link to anything but a virtual environment in
        O(directory).
    type: path
  requirements:
    description:
      - The requirement files, relative to O(source) or absolute.
      - C(pyproject.toml) stands for its C([project]) requirements, with O(extras) and O(groups); C(pylock.toml) and
        C(pylock.<name>.toml) for the packages they lock; C(uv.lock), which needs O(installer=uv) and the
        C(pyproject.toml) beside it, for the project's dependencies without its development group; any
        other name is a requirements file as pip reads it.
      - The project of a C(pyproject.toml) or C(uv.lock) is installed if its package is in C(src/). Otherwise Python
        finds it in the working directory.
      - Projects that lines such as C(-e .) or C(./libs/mylib) name are installed as wheels.
    type: list
    elements: str
    default: [requirements.txt]
  packages:
    description:
      - Requirements that are added unless the files name the package already, in whatever version.
      - If pip checks hashes because a file contains some, a package without C(--hash) is installed by a second call,
        which does not change the other packages. With O(require_hashes=true), it is refused.
    type: list
    elements: str
    default: []
  extras:
    description:
      - The extras of a C(pyproject.toml) or C(uv.lock) in O(requirements) to install, too.
    type: list
    elements: str
    default: []
  groups:
    description:
      - The dependency groups of a C(pyproject.toml) or C(uv.lock) in O(requirements) to install, too.
    type: list
    elements: str
    default: []
  python:
    description: The interpreter, a name in the C(PATH) or an absolute path.
    type: str
    default: python3
  installer:
    description:
      - The installer. V(uv) is faster; its virtual environments have no C(pip).
    type: str
    choices: [pip, uv]
    default: pip
  uv:
    description:
      - The path of uv, for O(installer=uv).
      - By default C(uv) from the C(PATH) is used. If there is none, pip installs it once into C(<directory>/.uv).
    type: path
  index_url:
    description:
      - The package index to use instead of the configured one. Lines of O(requirements) that name other indexes are
        refused.
      - It may contain a user name and a password. They are neither shown nor part of the digest.
    type: str
  extra_index_urls:
    description: Package indexes to use as well.
    type: list
    elements: str
    default: []
  find_links:
    description:
      - Directories on the host, relative to O(source) or absolute, or URLs of pages, with wheels and archives.
    type: list
    elements: str
    default: []
  require_hashes:
    description:
      - Installs nothing without a hash. Hashes that are in the files are checked in any case.
    type: bool
    default: false
  only_binary:
    description:
      - Installs wheels only, so that no code of a package runs during the build.
      - Requirements that name a source archive, a directory or a repository are refused.
    type: bool
    default: false
  environment:
    description:
      - Environment variables for the installer, such as C(HTTPS_PROXY) or C(SSL_CERT_FILE). The values are not shown.
      - They are not part of the digest. Use the other options to choose packages.
    type: dict
    default: {}
  timeout:
    description: The time limit of a build in seconds. It includes the wait for the build of another run.
    type: int
    default: 1800
  rebuild:
    description:
      - Builds a new virtual environment, although one for the same inputs is complete. Unpinned packages and branches
        are resolved again. Later calls use the new one; the old one stays for the releases that use it.
    type: bool
    default: false
  report_missing:
    description:
      - Whether a missing interpreter, or one that cannot create virtual environments, is reported by RV(missing)
        without a change, instead of failing. The caller can then install it and call again.
    type: bool
    default: false
requirements:
  - Python's own C(venv) and C(ensurepip), on Debian the package C(python3-venv).
  - systemd 249 or newer as the init system, and root, for a build.
attributes:
  check_mode:
    support: full
    description:
      - Predicts the changes of a run, and changes nothing.
      - If O(source) or the interpreter is missing, a build is predicted.
  diff_mode:
    support: full
    description: Shows the link and, for a new virtual environment, its packages. Check mode cannot know them.
  platform:
    support: full
    platforms: linux
    description: The kind of host that the module works on.
notes:
  - Virtual environments belong to root and are readable by all users, with any umask.
  - Configuration of pip and uv in C(/etc) and of root is respected, and is not part of the digest. Of root's
    C(.netrc), a build gets the entries for the hosts that the settings and the requirements name.
  - An index that answers 401 or 403 fails the build, because its packages could be taken from another index.
  - A failed or interrupted build changes only its own directory, without a link to it.
seealso:
  - module: flaskops.production.symlink_swap
author:
  - The flaskops.production contributors (@flaskops)
"""

EXAMPLES = r"""
- name: Build the dependencies of the application and point venv at them
  flaskops.production.venv:
    directory: /srv/myapp/venvs
    source: /srv/myapp/app
    link: /srv/myapp/venv
    packages:
      - gunicorn>=24.1.1

- name: Build from a lock file, wheels only, through a private index
  flaskops.production.venv:
    directory: /srv/myapp/venvs
    source: /srv/myapp/app
    link: /srv/myapp/venv
    requirements:
      - uv.lock
    installer: uv
    only_binary: true
    index_url: "https://deploy:{{ vault_index_password }}@pypi.example.org/simple"
    environment:
      HTTPS_PROXY: http://proxy.example.org:3128
"""

RETURN = r"""
digest:
  description: The name of the virtual environment. Empty in check mode if the requirement files or the interpreter are
    missing.
  returned: success
  type: str
  sample: 5c1d2f0a9b3e
path:
  description: The directory of the virtual environment. Empty if O(ignore:digest) is empty.
  returned: success
  type: str
  sample: /srv/myapp/venvs/5c1d2f0a9b3e
link:
  description: The link to the virtual environment. Empty if the option is not set.
  returned: success
  type: str
  sample: /srv/myapp/venv
built:
  description: Whether this call built the virtual environment, or would build it in check mode.
  returned: success
  type: bool
  sample: true
packages:
  description: The installed packages, ordered by name. Empty in check mode before a build.
  returned: success
  type: list
  elements: str
  sample: ["Flask==3.1.3", "gunicorn==27.0.1"]
missing:
  description:
    - Whether the interpreter, or its support for virtual environments, is missing. The support is not checked if the
      virtual environment exists.
  returned: success
  type: bool
  sample: false
interpreter:
  description: The real path of the interpreter. Empty if it is missing.
  returned: success
  type: str
  sample: /usr/bin/python3.11
"""

import contextlib
import json
import os
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.flaskops.production.plugins.module_utils._app.venv_links import register_link
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import format_error
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.platforms import require_supported_platform
from ansible_collections.flaskops.production.plugins.module_utils._files import links
from ansible_collections.flaskops.production.plugins.module_utils._python import requirements
from ansible_collections.flaskops.production.plugins.module_utils._python.builder import Builder, remove_leftovers
from ansible_collections.flaskops.production.plugins.module_utils._python.interpreter import MissingInterpreterError
from ansible_collections.flaskops.production.plugins.module_utils._python.options import (
    VENV_OPTIONS,
    MissingInputError,
    VenvError,
    VenvSettings,
    parse_settings,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import is_complete, list_packages
from ansible_collections.flaskops.production.plugins.module_utils._python.venvs import (
    plan_venv,
    read_link_target,
    record_rebuild,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.transient_unit import BuildError

SECRET_OPTIONS = ("environment", "index_url", "extra_index_urls")
MASK = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def ensure_venv(settings: VenvSettings, check_mode: bool) -> dict[str, Any]:
    before = read_link_target(settings.link, settings.directory) if settings.link else None
    try:
        plan = plan_venv(settings, will_be_linked=not check_mode)
    except MissingInputError as error:
        missing = isinstance(error, MissingInterpreterError)
        if missing and settings.report_missing and not check_mode:
            return _format_result(settings, "", False, [], "", before, before, missing=True)
        if not check_mode:
            raise
        # Earlier tasks did not create it, because the play runs in check mode.
        return _format_result(settings, "", True, [], "", before, "to be built", str(error), missing)
    interpreter, after = plan.interpreter, plan.link_text
    built = not is_complete(plan.path)
    if built:
        builder = Builder(settings, plan.files, interpreter, plan.path)
        try:
            builder.check_interpreter()
        except MissingInterpreterError:
            if not check_mode and not settings.report_missing:
                raise
            link_after = after if check_mode else before
            return _format_result(
                settings, plan.digest, check_mode, [], interpreter.path, before, link_after, missing=True
            )
        built = check_mode or builder.build()
    if settings.rebuild and not check_mode:
        record_rebuild(settings, plan)
    if settings.link and not check_mode:
        register_link(settings.directory, settings.link)
    if after != before and settings.link and after and not check_mode:
        links.swap_link(settings.link, after, sync=True)
    return _format_result(settings, plan.digest, built, list_packages(plan.path), interpreter.path, before, after)


def _format_result(
    settings: VenvSettings,
    digest: str,
    built: bool,
    packages: list[str],
    interpreter: str,
    before: str | None,
    after: str | None,
    note: str = "",
    missing: bool = False,
) -> dict[str, Any]:
    path = os.path.join(settings.directory, digest) if digest else ""
    old: dict[str, Any] = {"link": before}
    new: dict[str, Any] = {"link": after}
    if built:
        old["venv"] = None
        new["venv"] = path or "to be built"
        new["packages"] = packages or note or "known after the build"
    header = settings.link or path or settings.directory
    return {
        "changed": built or before != after,
        "digest": digest,
        "path": path,
        "link": settings.link or "",
        "built": built,
        "packages": packages,
        "interpreter": interpreter,
        "missing": missing,
        "diff": {"before_header": header, "after_header": header, "before": old, "after": new},
    }


def find_url_secrets(params: dict[str, Any]) -> set[str]:
    """Return the user names and passwords of index URLs, which an installer may print without the URL."""
    found: set[str] = set()
    for url in [params["index_url"] or "", *params["extra_index_urls"]]:
        with contextlib.suppress(ValueError):
            for part in (urlsplit(url).username, urlsplit(url).password):
                found |= {part, unquote(part)} if part else set()
    return found


def mask_arguments(params: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with secret options masked, and without credentials in the URLs of the others."""
    masked = json.loads(
        requirements.mask_user_info(json.dumps({k: v for k, v in params.items() if k not in SECRET_OPTIONS}))
    )
    masked.update({name: MASK if params[name] else params[name] for name in SECRET_OPTIONS})
    return masked


def main() -> None:
    module = AnsibleModule(
        argument_spec={**VENV_OPTIONS, "report_missing": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    require_supported_platform(module)
    params = module.params
    invocation = {"module_args": mask_arguments(params)}
    try:
        settings = parse_settings(params, report_missing=params["report_missing"])
    except VenvError as error:
        module.fail_json(msg=str(error), invocation=invocation)
    # A short value such as "1" is no secret, and masking it would damage most messages.
    module.no_log_values = {value for value in module.no_log_values | find_url_secrets(params) if len(value) > 3}
    os.umask(0o022)
    try:
        if not module.check_mode:
            remove_leftovers(settings.directory)
        result = ensure_venv(settings, module.check_mode)
    except (VenvError, BuildError, links.SymlinkError) as error:
        module.fail_json(msg=str(error), invocation=invocation)
    except OSError as error:
        module.fail_json(msg=format_error(error, settings.directory), invocation=invocation)
    # The result contains no secrets, and a secret that equals a part of a path must not mask it.
    module.no_log_values = set()
    if not module._diff:
        del result["diff"]
    module.exit_json(invocation=invocation, **result)


if __name__ == "__main__":
    main()
