# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of authorities and keys that are on the controller already, made by an earlier run or by the user."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

from ..cluster_identity import RECORD, another
from .inventory import WARNING, HostFinding, Inventory, check

HOST = "controller"
AUTHORITIES = (
    "kubernetes-ca",
    "etcd-ca",
    "front-proxy-ca",
    "gateway-ca",
    "kubelet-ca",
    "metrics-ca",
    "registry-ca",
    "builder-ca",
)
SOON_DAYS = 30
KEY_BYTES = 32


def directories(inventory: Inventory) -> Iterator[Path]:
    """Return the directories of authorities that can be read; others are told with the controller's directories."""
    for _host, value in inventory.shared("cloudbang_pki_dir"):
        if isinstance(value, str) and value and os.access(Path(value).expanduser(), os.R_OK | os.X_OK):
            yield Path(value).expanduser()


def finding(path: Path, found: str, wanted: str, hint: str = "", severity: str = "error") -> HostFinding:
    return HostFinding(HOST, "pki", str(path), found, wanted, hint, severity)


@check("inventory")
def authorities(inventory: Inventory) -> Iterator[HostFinding]:
    if not HAS_CRYPTOGRAPHY:
        yield HostFinding(HOST, "controller", "cryptography", "not installed", "the Python library cryptography")
        return
    for directory in directories(inventory):
        for name in AUTHORITIES:
            yield from authority(directory / f"{name}.crt", directory / f"{name}.key", inventory.now)


def authority(certificate_path: Path, key_path: Path, now: float) -> Iterator[HostFinding]:
    """Yield the errors of an authority; a missing one will be created."""
    if not certificate_path.exists():
        return
    try:
        data = certificate_path.read_bytes()
        certificate = x509.load_pem_x509_certificate(data)
    except (OSError, ValueError) as error:
        yield finding(certificate_path, f"no certificate ({error})", "a certificate in PEM form")
        return
    yield from bundle_form(certificate_path, data)
    yield from certificate_faults(certificate_path, certificate, now)
    if not key_path.exists():
        yield finding(key_path, "no file", "the authority's key", f"{certificate_path.name} is there without it")
        return
    yield from key_faults(key_path, certificate)


def bundle_form(path: Path, data: bytes) -> Iterator[HostFinding]:
    if b"\r" in data:
        yield finding(path, "carriage returns (CRLF)", "lines that end in LF", "convert it with dos2unix")
    if b"-----END CERTIFICATE----------BEGIN" in data:
        yield finding(path, "no line end between two certificates", "one")


def certificate_faults(path: Path, certificate: Any, now: float) -> Iterator[HostFinding]:
    moment = datetime.fromtimestamp(now, timezone.utc) if now else datetime.now(timezone.utc)
    if certificate.not_valid_after_utc < moment:
        yield finding(path, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}", "a valid certificate")
    elif (certificate.not_valid_after_utc - moment).days < SOON_DAYS:
        ends = f"ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
        yield finding(path, ends, f"{SOON_DAYS} days or more", severity=WARNING)
    if certificate.not_valid_before_utc > moment:
        yield finding(
            path,
            f"valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            "a valid certificate",
            "is the clock right?",
        )
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        basic = None
    if basic is None or not basic.ca:
        yield finding(path, "a certificate that is no authority", "basic constraints CA:TRUE")
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in ("md5", "sha1"):
        yield finding(path, f"signed with {algorithm.name}", "SHA-256 or better")
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        yield finding(path, f"an RSA key of {public.key_size} bits", "an EC key", "keys of the platform are EC P-256")
    elif not isinstance(public, ec.EllipticCurvePublicKey):
        yield finding(path, f"a key of type {type(public).__name__}", "an EC key")


def key_faults(path: Path, certificate: Any) -> Iterator[HostFinding]:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except TypeError:
        yield finding(path, "an encrypted key", "a key without password", "openssl pkey -in old -out new")
        return
    except (OSError, ValueError) as error:
        yield finding(path, f"no key ({error})", "a private key in PEM form")
        return
    if key.public_key() != certificate.public_key():
        yield finding(path, "a key that does not belong to the certificate", "the key of the certificate beside it")
    if path.stat().st_mode & 0o077:
        yield finding(path, f"mode {path.stat().st_mode & 0o777:04o}", "0600", "others can read the key", WARNING)


@check("inventory")
def encryption_key(inventory: Inventory) -> Iterator[HostFinding]:
    for directory in directories(inventory):
        path = directory / "encryption.key"
        if not path.exists():
            continue
        try:
            size = len(base64.b64decode(path.read_bytes().strip(), validate=True))
        except binascii.Error:
            yield finding(path, "text that is not base64", f"{KEY_BYTES} random bytes in base64")
            continue
        except OSError as error:
            yield finding(path, f"no key ({error.strerror})", "a file that this user may read")
            continue
        if size != KEY_BYTES:
            yield finding(path, f"{size} bytes", f"{KEY_BYTES} random bytes in base64", "every secret depends on it")


@check("inventory")
def service_account_key(inventory: Inventory) -> Iterator[HostFinding]:
    """All API servers verify with the public half what any of them signed."""
    for directory in directories(inventory) if HAS_CRYPTOGRAPHY else ():
        private, public = directory / "service-account.key", directory / "service-account.pub"
        if not private.exists() or not public.exists():
            continue
        try:
            mine = serialization.load_pem_private_key(private.read_bytes(), None).public_key()
            theirs = serialization.load_pem_public_key(public.read_bytes())
        except (OSError, TypeError, ValueError) as error:
            yield finding(private, f"no usable key ({error})", "a key pair in PEM form")
            continue
        if mine != theirs:
            yield finding(public, "the public half of another key", f"that of {private.name}")


@check("inventory")
def authorities_are_of_this_cluster(inventory: Inventory) -> Iterator[HostFinding]:
    """Two clusters with one name would have the same administrators, and a reset of one would end the other."""
    for directory in directories(inventory):
        vips = [value for _host, value in inventory.shared("cloudbang_api_vip") if value]
        addresses = [inventory.address(host) for host in inventory.groups.get("management", ())]
        mine = [str(one) for one in (*vips, *addresses) if one is not None]
        other = another(directory, mine)
        if other:
            yield HostFinding(
                HOST,
                "other_cluster",
                str(directory / RECORD),
                f"authorities of a cluster with {', '.join(other)}",
                f"those of this one, with {', '.join(mine)}",
                "give it a cloudbang_cluster_name of its own; if all addresses of the cluster have changed, remove the "
                "file",
            )


@check("hosts")
def cluster_is_this_one(inventory: Inventory) -> Iterator[HostFinding]:
    """A host of another cluster, or of this one on a controller that lost its state, would get a second identity."""
    for host in inventory.examined:
        directory = Path(str(inventory.get(host, "cloudbang_pki_dir", ""))).expanduser()
        for name, theirs in inventory.facts[host].get("authorities", {}).items():
            path = directory / f"{name}.crt"
            if theirs != fingerprint(path):
                yield HostFinding(
                    host,
                    "other_cluster",
                    str(path),
                    f"{'another authority' if os.path.exists(path) else 'no file'}, but the host trusts one already",
                    f"the authority with the SHA-256 fingerprint {theirs[:16]}...",
                    "bring cloudbang_state_dir of the host's cluster, or reset the host if it is to change clusters",
                )


def fingerprint(path: Path) -> str:
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text(encoding="utf-8").strip())).hexdigest()
    except (OSError, ValueError):
        return ""
