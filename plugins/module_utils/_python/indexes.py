# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the credentials of the package indexes of a build.

Installers skip an index that refuses them, and install a package of the same name from the next index.
"""

from __future__ import annotations

import configparser
import contextlib
import http.client
import os
import re
from typing import Iterator, Mapping, NamedTuple
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

from ansible.module_utils.urls import ConnectionError as SetupError
from ansible.module_utils.urls import open_url

from ansible_collections.flaskops.production.plugins.module_utils._python import requirements

# The timeout of a request in seconds, and the maximum number of requested pages. Only a 403 causes another request.
TIMEOUT = 10
MAX_PAGES = 50
REFUSAL_STATUSES = (401, 403)

CONFIGURATION = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_LINE = re.compile(r"^(-i|--index-url|--pypi-url|--extra-index-url)(?:\s*=\s*|\s+)(\S+)")


class Index(NamedTuple):
    """An index, and the setting or file that contains it."""

    url: str
    setting: str


def list_indexes(
    settings: Index, extra: list[str], environment: Mapping[str, str], texts: Mapping[str, str]
) -> list[Index]:
    """Return the configured indexes, without the default one of the installer."""
    found = [settings] if settings.url else []
    found += [Index(url, "venv_extra_index_urls") for url in extra]
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"):
        # uv also takes name=URL.
        urls = [re.sub(r"^[\w.-]+=", "", word) for word in environment.get(name, "").split()]
        found += [Index(url, f"venv_environment ({name})") for url in urls]
    for name, text in texts.items():
        matches = [_LINE.match(line.text) for line in requirements.parse_lines(text)]
        found += [Index(match.group(2).strip("'\""), name) for match in matches if match]
    for path in [*CONFIGURATION, environment.get("PIP_CONFIG_FILE", "")]:
        found += [Index(url, path) for url in _read_configuration(os.path.expanduser(path))]
    unique: dict[str, Index] = {}
    for index in found:
        if urlsplit(index.url).scheme in ("http", "https"):
            unique.setdefault(index.url.rstrip("/"), index)
    return list(unique.values())


def _read_configuration(path: str) -> Iterator[str]:
    """Yield the indexes in a configuration file of pip."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path or os.devnull, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return
    for section in ("global", "install"):
        for key in ("index-url", "extra-index-url"):
            with contextlib.suppress(configparser.Error):
                yield from parser.get(section, key, fallback="").split()


def check_index(index: Index, names: list[str], environment: Mapping[str, str]) -> str | None:
    """Return a message if an index refuses the credentials, or None.

    A 401 is sufficient. A 403 must be the answer for all packages, because some indexes send it for missing packages.
    """
    status = None
    for name in names[:MAX_PAGES]:
        status = _request_status(index.url, name, environment)
        if status != 403:
            break
    if status not in REFUSAL_STATUSES:
        return None
    shown = requirements.mask_user_info(index.url)
    return (
        f"The package index {shown} ({index.setting}) answered {status}: user name and password are missing, "
        "wrong, or not allowed to read it. Nothing was installed, because packages of the same names on another index "
        "may be different: correct or remove the index, and run again."
    )


def _request_status(url: str, name: str, environment: Mapping[str, str]) -> int | None:
    """Return the HTTP status of an index for a package, or None if the request failed."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    page = urlunsplit((parts.scheme, host, parts.path.rstrip("/") + f"/{name}/", "", ""))
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    try:
        with _set_environment(environment):
            response = open_url(
                page,
                url_username=user or None,
                url_password=password or None,
                force_basic_auth=bool(user),
                use_netrc=not user,
                follow_redirects="none",
                unredirected_headers=["Authorization"],
                headers={"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"},
                timeout=TIMEOUT,
                ca_path=environment.get("PIP_CERT") or environment.get("REQUESTS_CA_BUNDLE"),
            )
        with contextlib.closing(response):
            return int(response.status)
    except HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException, ValueError, SetupError):
        # The installer reports these errors.
        return None


@contextlib.contextmanager
def _set_environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set the proxies and certificates of the installer in os.environ during a request."""
    names = [name for name in wanted if re.search(r"_proxy\Z|\ASSL_CERT_|\ANETRC\Z", name, re.IGNORECASE)]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: wanted[name] for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
