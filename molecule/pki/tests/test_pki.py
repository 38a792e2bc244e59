# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates verify against their own authority, say what was asked for, and are replaced before they end."""

from __future__ import annotations

import pytest
from scenario import STATE, changes, converge, run

PKI = STATE / "pki"
HOST = STATE / "host"
AUTHORITIES = [
    "etcd-ca",
    "front-proxy-ca",
    "gateway-ca",
    "kubelet-ca",
    "kubernetes-ca",
    "metrics-ca",
    "builder-ca",
    "registry-ca",
]


def openssl(*arguments: str) -> str:
    result = run("openssl", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def verifies(certificate: str, authority: str, *purpose: str) -> bool:
    files = ("-CAfile", str(PKI / f"{authority}.crt"), str(HOST / f"{certificate}.crt"))
    return run("openssl", "verify", "-no-CApath", "-no-CAstore", "-x509_strict", *purpose, *files).returncode == 0


@pytest.mark.parametrize("authority", AUTHORITIES)
def test_the_right_authority_signed(authority: str) -> None:
    assert verifies("server", authority) == (authority == "etcd-ca")
    assert verifies("client", authority) == (authority == "kubernetes-ca")


def test_a_certificate_is_for_its_purpose_only() -> None:
    assert verifies("server", "etcd-ca", "-purpose", "sslserver")
    assert not verifies("server", "etcd-ca", "-purpose", "sslclient")
    assert verifies("client", "kubernetes-ca", "-purpose", "sslclient")
    assert not verifies("client", "kubernetes-ca", "-purpose", "sslserver")


def test_it_is_good_for_its_names_only() -> None:
    assert verifies("server", "etcd-ca", "-verify_hostname", "server.example.org")
    assert verifies("server", "etcd-ca", "-verify_ip", "10.94.5.11")
    assert not verifies("server", "etcd-ca", "-verify_hostname", "other.example.org")


def test_user_and_group_are_those_that_kubernetes_sees() -> None:
    subject = openssl("x509", "-in", str(HOST / "client.crt"), "-noout", "-subject", "-nameopt", "sep_multiline")
    assert {line.strip() for line in subject.splitlines()[1:]} == {"O=some:group", "CN=someone"}


@pytest.mark.parametrize("name", ["server", "client"])
def test_it_ends_within_a_year(name: str) -> None:
    path = str(HOST / f"{name}.crt")
    assert run("openssl", "x509", "-in", path, "-noout", "-checkend", str(366 * 86400)).returncode == 1
    assert run("openssl", "x509", "-in", path, "-noout", "-checkend", str(330 * 86400)).returncode == 0


@pytest.mark.parametrize("name", ["server", "client"])
def test_key_and_certificate_belong_together(name: str) -> None:
    of_key = openssl("pkey", "-in", str(HOST / f"{name}.key"), "-pubout")
    assert openssl("x509", "-in", str(HOST / f"{name}.crt"), "-noout", "-pubkey") == of_key


def test_secrets_are_for_their_owner_only() -> None:
    secret = [*PKI.glob("*.key"), *HOST.glob("*.key"), *PKI.glob("*.password")]
    assert len(secret) >= len(AUTHORITIES) + 5
    assert [path for path in secret if path.stat().st_mode & 0o077] == []


@pytest.mark.disruptive
def test_a_lost_certificate_is_issued_again_by_the_same_authority() -> None:
    authority = (PKI / "etcd-ca.crt").read_bytes()
    (HOST / "server.crt").unlink()
    assert changes(converge()) == ["controller: Issue certificates"]
    assert (PKI / "etcd-ca.crt").read_bytes() == authority
    assert verifies("server", "etcd-ca")
    assert changes(converge()) == []


@pytest.mark.disruptive
def test_a_certificate_of_another_authority_is_replaced() -> None:
    (HOST / "server.crt").write_bytes((HOST / "client.crt").read_bytes())
    assert changes(converge()) == ["controller: Issue certificates"]
    assert verifies("server", "etcd-ca")


@pytest.mark.disruptive
def test_a_certificate_that_ends_soon_is_replaced() -> None:
    request, issued = str(STATE / "short.csr"), str(HOST / "client.crt")
    openssl("req", "-new", "-key", str(HOST / "client.key"), "-subj", "/O=some:group/CN=someone", "-out", request)
    signer = ("-CA", str(PKI / "kubernetes-ca.crt"), "-CAkey", str(PKI / "kubernetes-ca.key"), "-CAcreateserial")
    openssl("x509", "-req", "-in", request, *signer, "-days", "5", "-out", issued)
    assert changes(converge()) == ["controller: Issue certificates"]
    assert run("openssl", "x509", "-in", issued, "-noout", "-checkend", str(330 * 86400)).returncode == 0


@pytest.mark.disruptive
def test_permissions_and_links_are_put_right_and_what_a_link_leads_to_is_left_alone() -> None:
    """The private key behind a link is not taken over, and a link gives no other file away."""
    other = STATE / "other"
    other.write_bytes((HOST / "client.key").read_bytes())
    other.chmod(0o640)
    (HOST / "server.crt").chmod(0o600)
    (HOST / "client.crt").rename(HOST / "moved.crt")
    (HOST / "client.crt").symlink_to(HOST / "moved.crt")
    (HOST / "client.key").unlink()
    (HOST / "client.key").symlink_to(other)
    assert changes(converge()) == ["controller: Issue certificates"]
    assert (HOST / "server.crt").stat().st_mode & 0o777 == 0o644
    assert not (HOST / "client.crt").is_symlink() and not (HOST / "client.key").is_symlink()
    assert (HOST / "client.key").stat().st_mode & 0o777 == 0o600
    assert other.stat().st_mode & 0o777 == 0o640 and other.read_bytes() != (HOST / "client.key").read_bytes()
    assert changes(converge()) == []
