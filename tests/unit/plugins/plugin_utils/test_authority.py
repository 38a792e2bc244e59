# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities: what they sign, and every reason for which a certificate is replaced."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ansible_collections.cloudbang.platform.plugins.plugin_utils import authority
from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import Authority, AuthorityError, Wanted

WANTED = Wanted("etcd1", ("system:masters",), ("etcd1", "10.0.0.1"), ("server", "client"))


def public(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


KEY = public(ec.generate_private_key(ec.SECP256R1()))
OTHER_KEY = public(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    directory = tmp_path_factory.mktemp("pki")
    assert Authority.ensure(directory, "ca", "test")
    return Authority(directory, "ca")


def test_a_certificate_says_what_was_wanted(ca: Authority) -> None:
    found = x509.load_pem_x509_certificate(ca.issue(KEY, WANTED).encode())
    assert found.subject.rfc4514_string() == "CN=etcd1,O=system:masters"
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["etcd1"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    found.verify_directly_issued_by(ca.certificate)
    assert 364 <= (found.not_valid_after_utc - datetime.now(timezone.utc)).days <= 365


@pytest.mark.parametrize(
    ("wanted", "key", "reason"),
    [
        (WANTED, KEY, None),
        (Wanted("etcd1", ("system:masters",), ("10.0.0.1", "etcd1", "etcd1"), ("client", "server")), KEY, None),
        (WANTED, OTHER_KEY, "does not belong to the key"),
        (Wanted("etcd2", ("system:masters",), WANTED.names, WANTED.usages), KEY, "its subject is CN=etcd1"),
        (Wanted("etcd1", (), WANTED.names, WANTED.usages), KEY, "its subject is"),
        (Wanted("etcd1", WANTED.organizations, ("etcd1", "10.0.0.2"), WANTED.usages), KEY, "10.0.0.1, 10.0.0.2"),
        (Wanted("etcd1", WANTED.organizations, (), WANTED.usages), KEY, "its names differ by 10.0.0.1, etcd1"),
        (Wanted("etcd1", WANTED.organizations, WANTED.names, ("server",)), KEY, "its usages differ"),
        (Wanted("etcd1", WANTED.organizations, WANTED.names, WANTED.usages, 365, 366), KEY, "it ends on"),
    ],
)
def test_why_a_certificate_is_replaced(ca: Authority, wanted: Wanted, key: str, reason: str | None) -> None:
    found = ca.unfit(ca.issue(KEY, WANTED), key, wanted)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(("pem", "reason"), [(None, "there is none"), ("", "there is none"), ("nonsense", "damaged")])
def test_no_certificate(ca: Authority, pem: str | None, reason: str) -> None:
    assert reason in str(ca.unfit(pem, KEY, WANTED))


def test_another_authority_of_the_same_name(ca: Authority, tmp_path: Path) -> None:
    Authority.ensure(tmp_path, "ca", "test")
    assert Authority(tmp_path, "ca").unfit(ca.issue(KEY, WANTED), KEY, WANTED) == "another authority signed it"


def test_a_certificate_never_outlives_its_authority(ca: Authority) -> None:
    found = x509.load_pem_x509_certificate(ca.issue(KEY, Wanted("x", days=9999)).encode())
    assert found.not_valid_after_utc == ca.certificate.not_valid_after_utc


def test_only_ec_keys_are_signed(ca: Authority) -> None:
    with pytest.raises(AuthorityError, match="wanted an EC key"):
        ca.issue(public(rsa.generate_private_key(65537, 1024)), WANTED)


def test_what_exists_is_kept(tmp_path: Path) -> None:
    makers = {
        "ca.crt": lambda: Authority.ensure(tmp_path, "ca", "test"),
        "sa.pub": lambda: authority.ensure_key_pair(tmp_path, "sa"),
        "password": lambda: authority.ensure_secret(tmp_path, "password"),
        "user.htpasswd": lambda: authority.ensure_htpasswd(tmp_path, "user", "password"),
    }
    assert [make() for make in makers.values()] == [True] * 4
    before = {name: (tmp_path / name).read_bytes() for name in makers}
    assert [make() for make in makers.values()] == [False] * 4
    assert {name: (tmp_path / name).read_bytes() for name in makers} == before
    private = ("ca.key", "sa.key", "password", "user.htpasswd")
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in private} == {0o600}


def test_another_password_makes_another_hash(tmp_path: Path) -> None:
    authority.ensure_secret(tmp_path, "password")
    authority.ensure_htpasswd(tmp_path, "user", "password")
    (tmp_path / "password").write_bytes(b"another\n")
    assert authority.ensure_htpasswd(tmp_path, "user", "password")
    name, _colon, known = (tmp_path / "user.htpasswd").read_bytes().strip().partition(b":")
    assert name == b"user" and bcrypt.checkpw(b"another", known)


def test_a_run_that_was_stopped_between_key_and_certificate_is_repaired(tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_text("half")
    assert Authority.ensure(tmp_path, "ca", "test")
    Authority(tmp_path, "ca")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda pki: (pki / "ca.key").unlink(), "ca.key is missing; run the pki role first"),
        (lambda pki: (pki / "ca.key").write_text("nonsense"), "authority ca: .*ca.key"),
        (lambda pki: Authority.ensure(pki, "b", "b") and (pki / "b.key").rename(pki / "ca.key"), "does not belong to"),
    ],
)
def test_a_damaged_authority_is_refused_and_not_replaced(tmp_path: Path, damage: Any, message: str) -> None:
    Authority.ensure(tmp_path, "ca", "test")
    certificate = (tmp_path / "ca.crt").read_bytes()
    damage(tmp_path)
    with pytest.raises(AuthorityError, match=message):
        Authority.ensure(tmp_path, "ca", "test")
    assert (tmp_path / "ca.crt").read_bytes() == certificate


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    authority.require_libraries()
    monkeypatch.setattr(authority, "MISSING", ImportError("No module named 'bcrypt'", name="bcrypt"))
    with pytest.raises(AuthorityError, match="has no bcrypt"):
        authority.require_libraries()
