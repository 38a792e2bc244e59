# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens for the registry: signed claims that it takes instead of a password (distribution's token authentication).

A token is for one build: it pulls from some repositories, pushes to one, and expires.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    MISSING: str | None = None
except ImportError as import_error:
    MISSING = str(import_error)

from ansible_collections.cloudbang.platform.plugins.module_utils.records import Wrong

# Clocks differ by less.
SKEW = 60
_SIZE = 32


@dataclass(frozen=True)
class Signer:
    """A private key on the curve P-256, and what the registry knows it by: a key id, or a certificate."""

    key: Any = field(repr=False)
    key_id: str = ""
    certificates: tuple[str, ...] = ()


def read_signer(data: Mapping[str, bytes]) -> Signer:
    """Return the signer of a Secret's data: `key.pem`, with `kid`, or `crt` with its authorities. Raises Wrong."""
    if MISSING is not None:
        raise Wrong(f"found no Python library cryptography ({MISSING}), wanted it: pip install cryptography")
    try:
        key = serialization.load_pem_private_key(data.get("key.pem", b""), None)
    except (ValueError, TypeError) as error:
        raise Wrong("data.key.pem: found no private key in PEM form, wanted one without password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Wrong("data.key.pem: found another kind of key, wanted one of the curve P-256")
    key_id = data.get("kid", b"").decode("ascii", "replace").strip()
    if key_id:
        return Signer(key, key_id)
    try:
        chain = x509.load_pem_x509_certificates(data["crt"]) if data.get("crt") else []
    except ValueError as error:
        raise Wrong("data.crt: found no certificate in PEM form, wanted one") from error
    if not chain:
        raise Wrong("data: found neither kid nor crt, wanted one of them")
    encoded = tuple(base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode() for one in chain)
    return Signer(key, certificates=encoded)


def claims(
    issuer: str,
    service: str,
    subject: str,
    pulls: Iterable[str],
    pushes: Iterable[str],
    now: int,
    seconds: int,
    jti: str,
) -> dict[str, Any]:
    """Return the claims of a token: repositories to pull from, and others to push to as well, for so many seconds."""
    written = sorted(set(pushes))
    access = [(name, ["pull"]) for name in sorted(set(pulls) - set(written))]
    access += [(name, ["pull", "push"]) for name in written]
    return {
        "iss": issuer,
        "sub": subject,
        "aud": service,
        "iat": now,
        "nbf": now - SKEW,
        "exp": now + seconds,
        "jti": jti,
        "access": [{"type": "repository", "name": name, "actions": actions} for name, actions in access],
    }


def signed(signer: Signer, content: Mapping[str, Any]) -> str:
    """Return the token with these claims: a JWS in compact form, ES256."""
    header: dict[str, Any] = {"typ": "JWT", "alg": "ES256"}
    header.update({"kid": signer.key_id} if signer.key_id else {"x5c": list(signer.certificates)})
    text = f"{_encoded(_json(header))}.{_encoded(_json(content))}"
    r, s = decode_dss_signature(signer.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{_encoded(r.to_bytes(_SIZE, 'big') + s.to_bytes(_SIZE, 'big'))}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
