# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.filter.environment import environment_file
from ansible_collections.flaskops.production.plugins.module_utils import _secrets

ENVIRONMENT = {
    "SECRET_KEY": 'qu"ote$\\s`tick',
    "DATABASE_URL": "postgresql://app:p%40ssw0rd@db.example.org/app",
    "API_TOKEN": "ab12",
    "GREETING": "a long greeting",
    "DEBUG": "0",
    "WORD": "short",
}

SAID = {
    "value": ('RuntimeError: qu"ote$\\s`tick', "RuntimeError: ********"),
    "repr": ("KeyError: 'qu\"ote$\\\\s`tick'", "KeyError: '********'"),
    "URL": ("could not connect to postgresql://app:p%40ssw0rd@db.example.org/app!", "could not connect to ********!"),
    "password of a URL": ("login with p%40ssw0rd failed", "login with ******** failed"),
    "password of a URL, decoded": ("login with p@ssw0rd failed", "login with ******** failed"),
    "short value of a secret": ("token ab12", "token ********"),
    "long value of anything": ("a long greeting", "********"),
    "short value": ("DEBUG is 0, short and sweet", "DEBUG is 0, short and sweet"),
    "names": ("SECRET_KEY is not set", "SECRET_KEY is not set"),
    "several": ("ab12 ab12\na long greeting", "******** ********\n********"),
}


@pytest.mark.parametrize(("said", "shown"), SAID.values(), ids=SAID)
def test_values_are_hidden(tmp_path, said, shown):
    (tmp_path / ".env").write_text(environment_file(ENVIRONMENT))
    assert _secrets.hide(said, str(tmp_path / ".env")) == shown


def test_a_file_that_was_written_by_hand(tmp_path):
    (tmp_path / ".env").write_text("# secrets\nexport TOKEN='single quoted'\nKEY = no\nPASSWORD=plain-one\n  X=\n")
    said = "single quoted, plain-one, # secrets"
    assert _secrets.hide(said, str(tmp_path / ".env")) == "********, ********, # secrets"


def test_without_a_file_there_is_nothing_to_hide(tmp_path):
    assert _secrets.hide("as it is", str(tmp_path / ".env")) == "as it is"
