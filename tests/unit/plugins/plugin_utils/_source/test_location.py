# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source.location import (
    is_remote,
    redact_location,
    redact_text,
)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://example.com/x.git", "https://example.com/x.git"),
        ("https://token@example.com/x.git", "https://example.com/x.git"),
        ("https://bob:pass@example.com:8443/x.git", "https://example.com:8443/x.git"),
        ("https://bob:p@ss@example.com/x", "https://example.com/x"),
        ("https://bob:p/a?s#s@example.com/x", "https://example.com/x"),
        ("https://example.com/@scope/x.tgz", "https://example.com/@scope/x.tgz"),
        ("https://example.com:8443/@scope/x.tgz", "https://example.com:8443/@scope/x.tgz"),
        ("https://[::1]:8443/@scope/x.tgz", "https://[::1]:8443/@scope/x.tgz"),
        ("https://s3.example.com/x.tgz?X-Amz-Signature=abc", "https://s3.example.com/x.tgz"),
        ("ssh://git@example.com/x.git", "ssh://git@example.com/x.git"),
        ("ssh://git:pass@example.com/x.git", "ssh://git@example.com/x.git"),
        ("git@example.com:org/x.git", "git@example.com:org/x.git"),
        ("/srv/git/x.git", "/srv/git/x.git"),
    ],
)
def test_credentials_and_query_are_removed_from_locations(location, shown):
    assert redact_location(location) == shown


@pytest.mark.parametrize(
    ("repository", "remote"),
    [
        ("https://example.com/x.git", True),
        ("file:///srv/x.git", True),
        ("git@example.com:x.git", True),
        ("example.com:x.git", True),
        ("/srv/a:b/x.git", False),
        ("./a:b", False),
        ("../x", False),
        ("x", False),
    ],
)
def test_paths_are_not_remote(repository, remote):
    assert is_remote(repository) is remote


def test_secrets_are_removed_from_messages():
    url = "https://bob:hunter22@example.com/x.git?token=s3cret"
    text = f"fatal: unable to access '{url}': hunter22, token=s3cret; see https://bob@example.com/"
    clean = redact_text(text, url)
    assert [secret for secret in ("bob", "hunter22", "s3cret") if secret in clean] == []
    assert "https://example.com/x.git" in clean
