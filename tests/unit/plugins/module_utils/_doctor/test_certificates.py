# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the expiry of certificates is read."""

from __future__ import annotations

import base64
import calendar

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._doctor.certificates import (
    PEM,
    parse_expiry,
    read_certificate,
)

# Self-signed certificates of openssl. Their times are UTCTime and, after 2049, GeneralizedTime.
UNTIL_2026 = """\
-----BEGIN CERTIFICATE-----
MIIBfDCCASOgAwIBAgIURtaCp5vie547YSGRdJ7ixt1LoWwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYS5leGFtcGxlMB4XDTI2MTEyODE4NTM0MloXDTI2MTIyODE4
NTM0MlowFDESMBAGA1UEAwwJYS5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAErh/UyzUvFUhDrKL4LUw1OmGOGL/CJPgCOczU1CRXbLNpfcJjY0BLz2i/
XDXbZDXLemUZBRpb8ftAOy+W8lJq1qNTMFEwHQYDVR0OBBYEFE1Rt9ydN9GTItKB
zLBQBbgSPDgDMB8GA1UdIwQYMBaAFE1Rt9ydN9GTItKBzLBQBbgSPDgDMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgKyVCK5+1ucLG4mDFlo+2hf7g
vFUqnk1Vv94fp5II06YCIDXopWndLAu1eL+oT3gtao6px/nJjFCw9jX9KUovIhih
-----END CERTIFICATE-----
"""
UNTIL_2081 = """\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUI1R9O2GuCFjpeDvrHO3wevZXRzcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYi5leGFtcGxlMCAXDTI2MTEyODE4NTM0MloYDzIwODEwODMx
MTg1MzQyWjAUMRIwEAYDVQQDDAliLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQC5ICcUcDhMyykuCwwo0n/w89p66EDplBVpapn2ZISrpf1SzXaqrGA
d50M7x8YOhlOnjV+bZ0jRVzf/+rFH1+6o1MwUTAdBgNVHQ4EFgQUyKqghQRm8CRv
LDcY50u/F6b4uK0wHwYDVR0jBBgwFoAUyKqghQRm8CRvLDcY50u/F6b4uK0wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA0YwyLwKrZBE9RPp/F6Uc
8Lm2L0V/CGyi2sYKtMm9rVkCIHVNMC7FpyYZkcM61vvSd9w7WWyjBmhjpOuosfsA
Da8+
-----END CERTIFICATE-----
"""
IN_2026 = calendar.timegm((2026, 12, 28, 18, 53, 42))
IN_2081 = calendar.timegm((2081, 8, 31, 18, 53, 42))


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        (UNTIL_2026, IN_2026),
        (UNTIL_2081, IN_2081),
        (UNTIL_2026 + UNTIL_2081, IN_2026),
        ("Certificate of a.example\n" + UNTIL_2026.replace("CERTIFICATE", "X509 CERTIFICATE"), IN_2026),
        (UNTIL_2026.replace("\n", "\r\n"), IN_2026),
    ],
    ids=["utc-time", "generalized-time", "chain", "x509-with-a-comment", "line-ends-of-windows"],
)
def test_expiry_of_the_first_certificate_is_read(tmp_path, text, expires):
    path = tmp_path / "site.pem"
    path.write_bytes(text.encode())
    found = read_certificate(str(path))
    assert (found.expires, found.error) == (expires, "")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "no certificate in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a certificate in DER"),
        (b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n", "not a certificate in DER"),
    ],
)
def test_other_content_is_reported(tmp_path, content, error):
    path = tmp_path / "site.pem"
    path.write_bytes(content)
    found = read_certificate(str(path))
    assert (found.expires, found.error) == (None, error)


def test_truncated_certificates_are_rejected():
    der = base64.b64decode(PEM.search(UNTIL_2026.encode()).group(1))
    for length in range(len(der)):
        with pytest.raises(ValueError, match="not a certificate in DER"):
            parse_expiry(der[:length])


def test_missing_files_are_reported():
    found = read_certificate("/etc/no/such.pem")
    assert found.expires is None
    assert "No such file or directory" in found.error
