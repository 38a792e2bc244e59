# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a certificate and key, both given as PEM, fit each other, the present day, and the domains they are for."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    MISSING: str | None = None
except ImportError as import_error:
    MISSING = str(import_error)

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding


def findings(certificate: str, key: str, domains: Iterable[str], now: datetime.datetime) -> list[Finding]:
    """Return what is wrong with a certificate chain (the domains' own first) and its key. now has a time zone."""
    if MISSING is not None:
        return [Finding("tls", f"no Python library cryptography: {MISSING}", "pip install cryptography")]
    found: list[Finding] = []
    leaf = _leaf(certificate)
    private = _private(key)
    if leaf is None:
        found.append(Finding("tls.certificate", "text that is not a certificate", "a certificate in PEM form"))
    if private is None:
        found.append(Finding("tls.key", "a text (not shown)", "a private key in PEM form, without password"))
    if leaf is None or private is None:
        return found
    if _public(leaf) != _public(private):
        found.append(Finding("tls.key", "the key of another certificate (not shown)", "the key of tls.certificate"))
    first, last = _validity(leaf)
    if now > last:
        found.append(Finding("tls.certificate", f"one that expired on {last:%Y-%m-%d %H:%M} UTC", "one that is valid"))
    elif now < first:
        wanted = "one that is valid now"
        found.append(Finding("tls.certificate", f"one that is valid from {first:%Y-%m-%d %H:%M} UTC on", wanted))
    names = covered(leaf)
    for domain in domains:
        if domain not in names and "*." + domain.partition(".")[2] not in names:
            listed = ", ".join(names) or "no domain at all"
            found.append(Finding("tls.certificate", f"one for {listed}", f"one that is also valid for {domain}"))
    return found


def covered(leaf: Any) -> list[str]:
    """Return the domains a certificate is for."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]


def described(certificate: str) -> str:
    """Return how a diff shows a certificate."""
    leaf = None if MISSING else _leaf(certificate)
    if leaf is None:
        return "no certificate"
    digest = leaf.fingerprint(hashes.SHA256()).hex()
    return f"{', '.join(covered(leaf))} until {_validity(leaf)[1]:%Y-%m-%d}, sha256 {digest[:16]}"


def _leaf(certificate: str) -> Any:
    try:
        return x509.load_pem_x509_certificate(certificate.encode())
    except (ValueError, UnicodeEncodeError):
        return None


def _private(key: str) -> Any:
    try:
        return serialization.load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError, UnicodeEncodeError):
        return None


def _public(holder: Any) -> bytes:
    encoded: bytes = holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _validity(leaf: Any) -> tuple[datetime.datetime, datetime.datetime]:
    """Return from when until when a certificate is valid; older libraries give times without a zone."""
    utc = datetime.timezone.utc
    if hasattr(leaf, "not_valid_after_utc"):
        return leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return leaf.not_valid_before.replace(tzinfo=utc), leaf.not_valid_after.replace(tzinfo=utc)
