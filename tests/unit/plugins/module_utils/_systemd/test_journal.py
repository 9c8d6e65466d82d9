# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the journal of a unit with a program in place of journalctl."""

from __future__ import annotations

from ansible_collections.flaskops.production.plugins.module_utils._systemd import journal


def read_journal(root, since):
    return journal.read_journal("myapp.service", since, [str(root / "shared/.env")])


def test_journal_is_read_from_the_given_time(programs, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text('SECRET_KEY="hunter22"\n')
    programs("journalctl", f'echo "$@" > {tmp_path}/asked; echo last line with hunter22')
    assert read_journal(tmp_path, 1234.5) == "last line with ********"
    asked = (tmp_path / "asked").read_text()
    assert "_SYSTEMD_UNIT=myapp.service + " in asked and "--since=@1234.5" in asked
    assert " + OBJECT_SYSTEMD_UNIT=myapp.service _UID=0 + " in asked
    assert f" + UNIT=myapp.service MESSAGE_ID={journal.SPAWN_FAILED}\n" in asked


def test_secrets_are_hidden_in_the_journal(programs, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("SECRET_KEY=from-env\n")
    (tmp_path / "token").write_text("from-file\n")
    programs("systemctl", f"printf '[Service]\\nLoadCredential=token:{tmp_path}/token\\n'")
    programs("journalctl", "echo it says from-env and from-file")
    assert read_journal(tmp_path, 0) == "it says ******** and ********"


def test_of_a_log_without_end_whole_lines_are_kept(programs, tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("SECRET_KEY=0123456789abcdef\n")
    monkeypatch.setattr(journal, "LOG_BYTES", 100)
    # The last 100 bytes begin in the middle of the secret.
    programs("journalctl", "yes 0123456789abcdef | head -n 200000; echo '" + "x" * 90 + "'")
    assert read_journal(tmp_path, 0) == "x" * 90
