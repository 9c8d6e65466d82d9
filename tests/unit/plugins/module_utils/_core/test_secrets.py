# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._core import secrets as secrets_module

ENVIRONMENT = {
    "SECRET_KEY": 'qu"ote$\\s`tick',
    "DATABASE_URL": "postgresql://app:p%40ssw0rd@db.example.org/app",
    "API_TOKEN": "ab12",
    "GREETING": "a long greeting",
    "DEBUG": "0",
    "WORD": "short",
    "FLASK_ENV": "production",
    "DB_NAME": "guestbook",
    "UPLOADS": "/srv/guestbook/shared/media",
    "STRIPE": "sk_live_4eC39HqLyjWD",
    "MAIL": "smtp://robot@mail.example.org",
}

OUTPUTS = {
    "value": ('RuntimeError: qu"ote$\\s`tick', "RuntimeError: ********"),
    "repr": ("KeyError: 'qu\"ote$\\\\s`tick'", "KeyError: '********'"),
    "URL": ("could not connect to postgresql://app:p%40ssw0rd@db.example.org/app!", "could not connect to ********!"),
    "password of a URL": ("login with p%40ssw0rd failed", "login with ******** failed"),
    "password of a URL, decoded": ("login with p@ssw0rd failed", "login with ******** failed"),
    "short value of a secret": ("token ab12", "token ********"),
    "long value of anything": ("a long greeting", "********"),
    "short value": ("DEBUG is 0, short and sweet", "DEBUG is 0, short and sweet"),
    "word": ("runs in 'production': guestbook, or db=guestbook.", "runs in '********': ********, or db=********."),
    "word in a path": ("/srv/guestbook/app/production.py", "/srv/guestbook/app/production.py"),
    "word in a name": ("guestbook.models, guestbook-next.service", "guestbook.models, guestbook-next.service"),
    "word in a word": ("reproductions", "reproductions"),
    "path": ("/srv/guestbook/shared/media: Permission denied", "/srv/guestbook/shared/media: Permission denied"),
    "random value in a path": ("/v1/sk_live_4eC39HqLyjWD/x", "/v1/********/x"),
    "user of a URL": ("to smtp://robot@mail.example.org/x", "to ********/x"),
    "names": ("SECRET_KEY is not set", "SECRET_KEY is not set"),
    "several": ("ab12 ab12\na long greeting", "******** ********\n********"),
}


@pytest.mark.parametrize(("output", "shown"), OUTPUTS.values(), ids=OUTPUTS)
def test_values_are_hidden(tmp_path, output, shown):
    quoted = {name: re.sub(r'(["\\$`])', r"\\\1", value) for name, value in ENVIRONMENT.items()}
    (tmp_path / ".env").write_text("".join(f'{name}="{value}"\n' for name, value in quoted.items()))
    assert secrets_module.hide_secrets(output, str(tmp_path / ".env")) == shown


def test_manually_written_file_is_parsed(tmp_path):
    (tmp_path / ".env").write_text("# secrets\nexport TOKEN='single quoted'\nKEY = no\nPASSWORD=plain-one\n  X=\n")
    output = "single quoted, plain-one, # secrets"
    assert secrets_module.hide_secrets(output, str(tmp_path / ".env")) == "********, ********, # secrets"


def test_missing_file_hides_nothing(tmp_path):
    assert secrets_module.hide_secrets("as it is", str(tmp_path / ".env")) == "as it is"


UNIT = "myapp.service"


def test_credentials_of_any_form_are_hidden(tmp_path):
    (tmp_path / "token").write_text("tok-1\n")
    (tmp_path / "many").mkdir()
    (tmp_path / "many/db.json").write_text('{"user": "web", "password": "json-pass"}')
    (tmp_path / "many/smtp").write_text("MAIL_PASSWORD=mail-pass\n")
    (tmp_path / "key.pem").write_text("-----BEGIN\nMIIEvAIBADAN\n-----END\n")
    directives = [
        f"LoadCredential=token:{tmp_path}/token",
        f"LoadCredential=many:{tmp_path}/many",
        f"LoadCredential = key:{tmp_path}/key.pem",
        f"LoadCredential=gone:{tmp_path}/gone",
        "LoadCredential=inherited",
        "SetCredential=inline:set-here",
        "ExecStart=/bin/true",
    ]
    read = secrets_module.read_credentials(directives, UNIT)
    output = "tok-1, json-pass, mail-pass, MIIEvAIBADAN, set-here, user web, myapp"
    shown = secrets_module.hide_secrets(output, str(tmp_path / ".env"), read)
    assert shown == "********, ********, ********, ********, ********, user web, myapp"


def test_unit_without_credentials_has_none():
    assert secrets_module.read_credentials(["ExecStart=/bin/true"], "there-is-no-such.service") == []


def test_named_pipe_instead_of_the_environment_file_does_not_block(tmp_path):
    os.mkfifo(tmp_path / ".env")
    assert secrets_module.hide_secrets("said", str(tmp_path / ".env")) == "said"


def test_nothing_is_shown_where_nobody_knows_what_to_hide(tmp_path):
    (tmp_path / ".env").symlink_to(".env")
    assert secrets_module.hide_secrets("it may be a secret", str(tmp_path / ".env")) == "********"


def test_multiline_value_is_hidden_line_by_line(tmp_path):
    (tmp_path / ".env").write_text(
        'A="1"\nPEM_KEY="-----BEGIN-----\nMIIEvQIBADANBg\\$\n\nb=c\n-----END-----\n"\nB=plain\n'
    )
    output = "line 2 of it is MIIEvQIBADANBg$, and B is plain"
    assert secrets_module.hide_secrets(output, str(tmp_path / ".env")) == "line 2 of it is ********, and B is plain"
    secrets, _words = secrets_module.find_secrets((tmp_path / ".env").read_text())
    assert "-----BEGIN-----\nMIIEvQIBADANBg$\n\nb=c\n-----END-----\n" in secrets
