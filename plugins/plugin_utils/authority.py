# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate authorities on the controller: made once, kept 0600, used to sign keys that stay on their hosts."""

from __future__ import annotations

import base64
import fcntl
import ipaddress
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError

MISSING: ImportError | None = None
try:
    import bcrypt
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    MISSING = error

AUTHORITY_DAYS = 3650
BACKDATED = timedelta(hours=1)  # a host whose clock is a little behind must not see a certificate from the future


class AuthorityError(PlatformError):
    """An unusable key or certificate; the message has its name, the reason and the next step."""


@dataclass(frozen=True)
class Wanted:
    """Content of a leaf certificate.

    ``names`` are DNS names and addresses for the subject alternative name; ``usages`` some of ``server``, ``client``;
    ``days`` its lifetime; ``renew_before`` how many days before its end it is replaced.
    """

    common_name: str
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    usages: tuple[str, ...] = ("client",)
    days: int = 365
    renew_before: int = 30


def require_libraries() -> None:
    """Report the Python library that the controller lacks."""
    if MISSING:
        raise AuthorityError(
            f"the controller's Python has no {MISSING.name}: {MISSING}; install cryptography and bcrypt there"
        )


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the only writer's place in a directory, which is made 0700 when missing."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(directory / ".lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Return subject alternative names: addresses as addresses, all else as DNS names."""
    result: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            result.append(x509.DNSName(name))
    return result


def extended_usages(usages: Iterable[str]) -> list[x509.ObjectIdentifier]:
    """Return the object identifiers of ``server`` and ``client``."""
    known = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    return [known[one] for one in usages]


def subject(common_name: str, organizations: Iterable[str]) -> x509.Name:
    """Return a subject as Kubernetes reads it: each organization is a group, the common name the user."""
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(signs: bool) -> x509.KeyUsage:
    """Return the usages of a key: handshakes; for an authority's also certificates and revocation lists."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


class Authority:
    """A certificate authority: ``NAME.crt`` and ``NAME.key`` in a directory on the controller."""

    def __init__(self, directory: Path, name: str) -> None:
        self.certificate_path = directory / f"{name}.crt"
        self.key_path = directory / f"{name}.key"
        try:
            self.certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
            key = serialization.load_pem_private_key(self.key_path.read_bytes(), None)
        except FileNotFoundError as error:
            raise AuthorityError(f"authority {name}: {error.filename} is missing; run the pki role first") from error
        except (ValueError, TypeError) as error:
            raise AuthorityError(f"authority {name}: {self.key_path} or {self.certificate_path}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"authority {name}: {self.key_path}: found {type(key).__name__}, wanted an EC key")
        if key.public_key() != self.certificate.public_key():
            raise AuthorityError(f"authority {name}: {self.key_path} does not belong to {self.certificate_path}")
        self.key = key

    @classmethod
    def ensure(cls, directory: Path, name: str, common_name: str) -> bool:
        """Make the authority when neither its key nor its certificate exists; return whether it was made."""
        certificate_path, key_path = directory / f"{name}.crt", directory / f"{name}.key"
        if certificate_path.exists():
            cls(directory, name)
            return False
        # A stopped run leaves a key without certificate; nothing was signed with it yet.
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(who)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        atomic.write(key_path, private_pem(key))
        atomic.write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return True

    def issue(self, public_key_pem: str, wanted: Wanted) -> str:
        """Return the PEM of a certificate for a public key."""
        key = serialization.load_pem_public_key(public_key_pem.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise AuthorityError(f"certificate {wanted.common_name}: found {type(key).__name__}, wanted an EC key")
        now = datetime.now(timezone.utc)
        end = min(now + timedelta(days=wanted.days), self.certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject(wanted.common_name, wanted.organizations))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(extended_usages(wanted.usages)), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if wanted.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(general_names(wanted.names)), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def unfit(self, certificate_pem: str | None, public_key_pem: str, wanted: Wanted) -> str | None:
        """Return why a certificate has to be replaced, None when it is as wanted."""
        if not certificate_pem:
            return "there is none"
        try:
            found = x509.load_pem_x509_certificate(certificate_pem.encode())
        except ValueError:
            return "it is damaged"
        key = serialization.load_pem_public_key(public_key_pem.encode())
        if found.public_key() != key:
            return "it does not belong to the key beside it"
        try:
            found.verify_directly_issued_by(self.certificate)
        except Exception:  # the library raises several kinds, all of which say no
            return "another authority signed it"
        if found.not_valid_after_utc - datetime.now(timezone.utc) < timedelta(days=wanted.renew_before):
            return f"it ends on {found.not_valid_after_utc:%Y-%m-%d}"
        if found.subject != subject(wanted.common_name, wanted.organizations):
            return f"its subject is {found.subject.rfc4514_string()}"
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if set(usage) != set(extended_usages(wanted.usages)):
            return "its usages differ"
        try:
            names = set(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = set()
        missing = set(general_names(wanted.names)) ^ names
        if missing:
            return f"its names differ by {', '.join(sorted(str(one.value) for one in missing))}"
        return None


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return an unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def ensure_key_pair(directory: Path, name: str) -> bool:
    """Make ``NAME.key`` and its public half ``NAME.pub`` when missing; return whether they were made."""
    private, public = directory / f"{name}.key", directory / f"{name}.pub"
    if private.exists() and public.exists():
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    atomic.write(private, private_pem(key))
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    atomic.write(public, pem, 0o644)
    return True


def ensure_secret(directory: Path, name: str, size: int = 32) -> bool:
    """Make ``NAME``, a file with ``size`` random bytes in base64, when missing; return whether it was made."""
    path = directory / name
    if path.exists() and path.stat().st_size:
        return False
    atomic.write(path, base64.b64encode(os.urandom(size)) + b"\n")
    return True


def ensure_htpasswd(directory: Path, user: str, secret: str) -> bool:
    """Make ``USER.htpasswd`` with the bcrypt hash of a secret when it does not match; return whether it was made."""
    path = directory / f"{user}.htpasswd"
    password = (directory / secret).read_bytes().strip()
    if path.exists():
        name, _colon, known = path.read_bytes().strip().partition(b":")
        if name.decode() == user and bcrypt.checkpw(password, known):
            return False
    atomic.write(path, user.encode() + b":" + bcrypt.hashpw(password, bcrypt.gensalt(10)) + b"\n")
    return True
