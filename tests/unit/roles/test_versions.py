# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written fits each Nginx and each systemd that the supported systems have.

The tables hold since when each directive is known. A new one has to be looked up in nginx.org's documentation or in
systemd's manual pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._nginx.config import select_lines
from ansible_collections.flaskops.production.plugins.module_utils._nginx.parser import Directive, parse_directives
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit
from ansible_collections.flaskops.production.tests.unit.roles.nginx_site_variants import VARIANTS
from ansible_collections.flaskops.production.tests.unit.roles.test_gunicorn_units import CASES

# Ubuntu 22.04 has the oldest of both and Ubuntu 26.04 the newest. In between are those of Debian 12 (1.22, 252), Ubuntu
# 24.04 (1.24, 255) and Debian 13 (1.26, 257), and what nginx.org and backports bring.
NGINX = [(1, 18, 0), (1, 20, 2), (1, 22, 1), (1, 24, 0), (1, 25, 0), (1, 25, 1), (1, 26, 3), (1, 27, 5), (1, 28, 0)]
SYSTEMD = range(249, 260)

# Those with a block whose content is no directive.
LISTS = ("map", "geo", "types")
# All are older than Nginx 1.18, but for the second group.
OLD_DIRECTIVES = """
access_log add_header alias allow auth_basic auth_basic_user_file autoindex client_body_timeout client_header_timeout
client_max_body_size default_type deny disable_symlinks error_log expires geo gzip gzip_comp_level gzip_min_length
gzip_proxied gzip_static gzip_types gzip_vary if large_client_header_buffers limit_req limit_req_status limit_req_zone
listen location log_format map proxy_buffer_size proxy_buffering proxy_buffers proxy_connect_timeout proxy_hide_header
proxy_http_version proxy_pass proxy_read_timeout proxy_redirect proxy_send_timeout proxy_set_header real_ip_header
real_ip_recursive resolver return root server server_name server_tokens set_real_ip_from ssl_certificate
ssl_certificate_key ssl_ciphers ssl_prefer_server_ciphers ssl_protocols ssl_session_cache ssl_session_tickets
ssl_session_timeout ssl_stapling ssl_stapling_verify ssl_trusted_certificate types
"""
DIRECTIVES = {**dict.fromkeys(OLD_DIRECTIVES.split(), (1, 18, 0)), "http2": (1, 25, 1)}
# Parameters of listen: until when they are the way to say it, without a warning.
LISTEN = {"default_server": (9,), "ssl": (9,), "http2": (1, 25, 0)}

# Since which version of systemd. What has none is older than 230.
SINCE = {
    "AmbientCapabilities": 229,
    "BindPaths": 233,
    "BindReadOnlyPaths": 233,
    "CacheDirectory": 235,
    "CacheDirectoryMode": 235,
    "InaccessiblePaths": 231,
    "KeyringMode": 235,
    "LoadCredential": 247,
    "LockPersonality": 235,
    "MemoryDenyWriteExecute": 231,
    "MemoryMax": 231,
    "PrivateMounts": 239,
    "ProtectClock": 245,
    "ProtectControlGroups": 232,
    "ProtectHostname": 242,
    "ProtectKernelLogs": 244,
    "ProtectKernelModules": 232,
    "ProtectKernelTunables": 232,
    "ProtectProc": 247,
    "ReadWritePaths": 231,
    "RemoveIPC": 232,
    "RestrictNamespaces": 233,
    "RestrictRealtime": 231,
    "RestrictSUIDSGID": 242,
    # Its value truncate: since 248.
    "StandardOutput": 248,
    "StartLimitIntervalSec": 230,
    "TemporaryFileSystem": 238,
}
OLDER = """
After Also Backlog CPUQuota CapabilityBoundingSet ConditionPathExists Description Environment EnvironmentFile
ExecStart Group KillMode KillSignal LimitNOFILE ListenStream Nice NoNewPrivileges NotifyAccess
PrivateDevices PrivateTmp ProtectHome ProtectSystem Requires Restart RestartSec RestrictAddressFamilies SocketGroup
SocketMode SocketUser Sockets SupplementaryGroups SyslogIdentifier SystemCallArchitectures SystemCallErrorNumber
SystemCallFilter TasksMax TimeoutStartSec TimeoutStopSec Type UMask User WantedBy WorkingDirectory
"""


def all_of(statements: tuple[Directive, ...]) -> Iterator[Directive]:
    for item in statements:
        yield item
        if item.name not in LISTS:
            yield from all_of(item.block)


@pytest.mark.parametrize("version", NGINX, ids=lambda version: ".".join(map(str, version)))
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_site_has_what_its_nginx_knows_and_nothing_that_it_warns_of(nginx_site_templates, variant, version):
    text = select_lines(nginx_site_templates[variant], version)
    assert "# nginx" not in text
    found = list(all_of(parse_directives(text)))
    unknown = {item.name for item in found if DIRECTIVES.get(item.name, (9,)) > version}
    assert unknown == set()
    options = {word for item in found if item.name == "listen" for word in item.words[1:]}
    assert {word for word in options if version > LISTEN[word]} == set()
    # HTTP/2 is spoken in one way or the other, and by no site that is not asked to.
    spoken = "http2" in options or any(item.name == "http2" for item in found)
    assert spoken == (variant == "tls")


@pytest.fixture(scope="module")
def directives(gunicorn_files, adoption_units) -> set[str]:
    """Every directive of the role's units, of the units of an adoption, and of the units that build."""
    files = [text for case in gunicorn_files(CASES).values() for path, text in case.items() if "/systemd/" in path]
    files += adoption_units({}).values()
    space = transient_unit.Mounts({"/a": "/b"}, {"/c": "/d"}, ("/srv",))
    lines = [line for text in files for line in text.splitlines()] + transient_unit.format_properties(space, 10)
    return {match[1] for match in (re.match(r"(\w+)=", line) for line in lines) if match}


@pytest.mark.parametrize("version", SYSTEMD)
def test_a_unit_has_what_its_systemd_knows(directives, version):
    known = {name for name, since in SINCE.items() if since <= version} | set(OLDER.split())
    assert sorted(directives - known) == []


def test_the_tables_have_nothing_that_is_not_written(directives, nginx_site_templates):
    assert sorted(set(OLDER.split()) | set(SINCE)) == sorted(directives)
    names = {item.name for text in nginx_site_templates.values() for item in all_of(parse_directives(text))}
    assert sorted(DIRECTIVES) == sorted(names)
