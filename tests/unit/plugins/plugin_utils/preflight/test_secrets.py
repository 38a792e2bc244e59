# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities and keys that the user brings, each spoilt in one way."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ansible_collections.cloudbang.platform.plugins.module_utils.host import examine
from ansible_collections.cloudbang.platform.plugins.plugin_utils import cluster_identity
from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import Authority, ensure_key_pair
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.inventory import HostFinding
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.run import evaluate

from .good import NOW, good

MOMENT = datetime.fromtimestamp(NOW, timezone.utc)
NAME = "kubernetes-ca"


def write(
    directory: Path, key: Any = None, authority: bool = True, start: int = -10, end: int = 1000, line: bytes = b"\n"
) -> None:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mine")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(MOMENT + timedelta(days=start))
        .not_valid_after(MOMENT + timedelta(days=end))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).replace(b"\n", line)
    (directory / f"{NAME}.crt").write_bytes(pem)
    write_key(directory, key)


def write_key(directory: Path, key: Any, password: bytes | None = None) -> None:
    encryption: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path = directory / f"{NAME}.key"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)


def encrypted(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    write(directory, key)
    write_key(directory, key, b"secret")


def other_key(directory: Path) -> None:
    write(directory)
    write_key(directory, ec.generate_private_key(ec.SECP256R1()))


def no_key(directory: Path) -> None:
    write(directory)
    (directory / f"{NAME}.key").unlink()


def joined(directory: Path) -> None:
    write(directory)
    path = directory / f"{NAME}.crt"
    path.write_bytes(path.read_bytes().rstrip() + path.read_bytes())


def half_pair(directory: Path) -> None:
    ensure_key_pair(directory, "service-account")
    (directory / "other").mkdir()
    ensure_key_pair(directory / "other", "service-account")
    (directory / "other" / "service-account.pub").rename(directory / "service-account.pub")


def readable(directory: Path) -> None:
    write(directory)
    (directory / f"{NAME}.key").chmod(0o644)


ROWS: list[tuple[int, Callable[[Path], Any], str, str]] = [
    (61, no_key, "kubernetes-ca.key", "no file"),
    (62, lambda place: write(place, start=-400, end=-30), "kubernetes-ca.crt", "expired"),
    (62, lambda place: write(place, start=2), "kubernetes-ca.crt", "valid only from"),
    (62, lambda place: write(place, end=20), "kubernetes-ca.crt", "ends on"),
    (63, lambda place: write(place, authority=False), "kubernetes-ca.crt", "no authority"),
    (64, other_key, "kubernetes-ca.key", "does not belong"),
    (
        66,
        lambda place: write(place, rsa.generate_private_key(65537, 1024)),
        "kubernetes-ca.crt",
        "RSA key of 1024 bits",
    ),
    (67, encrypted, "kubernetes-ca.key", "encrypted"),
    (
        68,
        lambda place: (place / "encryption.key").write_bytes(base64.b64encode(b"x" * 16)),
        "encryption.key",
        "16 bytes",
    ),
    (68, lambda place: (place / "encryption.key").write_text("not base64!"), "encryption.key", "not base64"),
    (24, half_pair, "service-account.pub", "another key"),
    (70, lambda place: write(place, line=b"\r\n"), "kubernetes-ca.crt", "CRLF"),
    (70, joined, "kubernetes-ca.crt", "no line end"),
    (44, lambda place: (place / "kubernetes-ca.crt").write_text("<html>"), "kubernetes-ca.crt", "no certificate"),
    (67, readable, "kubernetes-ca.key", "mode 0644"),
]


def judged(directory: Path) -> list[HostFinding]:
    inventory = good()
    for settings in inventory.settings.values():
        settings["cloudbang_pki_dir"] = str(directory)
    return evaluate(inventory)


@pytest.mark.parametrize(("number", "spoil", "file", "found"), ROWS)
def test_one_fault_is_named(tmp_path: Path, number: int, spoil: Callable[[Path], Any], file: str, found: str) -> None:
    spoil(tmp_path)
    findings = judged(tmp_path)
    assert [one for one in findings if one.variable.endswith(file) and found in one.found], findings
    assert {(one.host, one.check) for one in findings} == {("controller", "pki")}
    assert not any("PRIVATE" in one.message for one in findings)


def test_what_the_collection_makes_is_right(tmp_path: Path) -> None:
    Authority.ensure(tmp_path, NAME, "cloudbang kubernetes")
    ensure_key_pair(tmp_path, "service-account")
    assert [one for one in judged(tmp_path) if "valid only from" not in one.found] == []


@pytest.mark.parametrize(
    ("recorded", "checks"),
    [
        (["10.92.0.11", "10.92.0.12", "10.92.0.100"], set()),
        # One management host has stayed, or the virtual IP has.
        (["192.0.2.11", "10.92.0.13"], set()),
        (["192.0.2.11", "10.92.0.100"], set()),
        (["192.0.2.11", "192.0.2.100"], {"other_cluster"}),
        # A compute host that was the other cluster's.
        (["10.92.0.21"], {"other_cluster"}),
        ([], set()),
    ],
)
def test_a_second_cluster_does_not_get_the_authorities_of_the_first(
    tmp_path: Path, recorded: list[str], checks: set[str]
) -> None:
    (tmp_path / cluster_identity.RECORD).write_bytes(cluster_identity.encoded(recorded))
    findings = judged(tmp_path)
    assert {one.check for one in findings} == checks, findings
    for one in findings:
        assert one.host == "controller" and one.variable == str(tmp_path / "cluster.json")
        assert all(address in one.found for address in recorded) and "10.92.0.100" in one.wanted
        assert "cloudbang_cluster_name" in one.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"addresses": 4}', "{}"])
def test_a_damaged_record_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / cluster_identity.RECORD).write_text(text, encoding="utf-8")
    assert judged(tmp_path) == []


@pytest.mark.parametrize(("same", "checks"), [(True, set()), (False, {"other_cluster"})])
def test_a_host_trusts_the_authority_of_this_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool, checks: set[str]
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    trusted = tmp_path / ("here" if same else "there") / f"{NAME}.crt"
    monkeypatch.setattr(examine, "AUTHORITIES", {NAME: str(trusted), "etcd-ca": "/nonexistent"})
    inventory = good()
    for settings in inventory.settings.values():
        settings["cloudbang_pki_dir"] = str(tmp_path / "here")
    inventory.facts["compute1"]["authorities"] = examine.authorities()
    assert list(inventory.facts["compute1"]["authorities"]) == [NAME]
    findings = evaluate(inventory)
    assert {one.check for one in findings} == checks, findings
    assert all(one.host == "compute1" and "another authority" in one.found for one in findings)
