# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens for the registry, verified by a program that knows nothing of their writer: openssl."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import token
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Wrong

KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    data: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return data


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "builder")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims(**more: Any) -> dict[str, Any]:
    given = {
        "issuer": "cloudbang-builder",
        "service": "lab",
        "subject": "build:acme/shop:3",
        "pulls": ["cloudbang/base/run-go", "acme/shop"],
        "pushes": ["acme/shop"],
        "now": 1_800_000_000,
        "seconds": 600,
        "jti": "5a17",
        **more,
    }
    return token.claims(**given)


def integer(data: bytes) -> bytes:
    """Return a positive number in DER."""
    data = data.lstrip(b"\0") or b"\0"
    data = b"\0" + data if data[0] & 0x80 else data
    return bytes([2, len(data)]) + data


def verified(text: str, directory: Path) -> bool:
    """Return whether openssl takes the signature of a token for one of KEY."""
    signed, _dot, signature = text.rpartition(".")
    raw = decoded(signature)
    assert len(raw) == 64
    inner = integer(raw[:32]) + integer(raw[32:])
    public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / "public.pem").write_bytes(public)
    (directory / "signature").write_bytes(bytes([0x30, len(inner)]) + inner)
    (directory / "text").write_text(signed)
    words = ["openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "text"]
    return subprocess.run(words, cwd=directory, capture_output=True, check=False).returncode == 0


def test_a_token_is_signed_and_says_what_it_is_for(tmp_path: Path) -> None:
    signer = token.read_signer({"key.pem": pem(KEY), "kid": b"builder-1\n"})
    for _count in range(8):
        text = token.signed(signer, claims())
        assert verified(text, tmp_path)
    head, body, _signature = text.split(".")
    assert "=" not in text and json.loads(decoded(head)) == {"typ": "JWT", "alg": "ES256", "kid": "builder-1"}
    assert json.loads(decoded(body)) == {
        "iss": "cloudbang-builder",
        "sub": "build:acme/shop:3",
        "aud": "lab",
        "iat": 1_800_000_000,
        "nbf": 1_799_999_940,
        "exp": 1_800_000_600,
        "jti": "5a17",
        "access": [
            {"type": "repository", "name": "cloudbang/base/run-go", "actions": ["pull"]},
            {"type": "repository", "name": "acme/shop", "actions": ["pull", "push"]},
        ],
    }
    other = json.dumps({**claims(), "exp": 2_000_000_000}).encode()
    forged = f"{head}.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}.{text.rpartition('.')[2]}"
    assert not verified(forged, tmp_path)


def test_a_key_may_be_known_by_its_certificate(tmp_path: Path) -> None:
    text = token.signed(token.read_signer({"key.pem": pem(KEY), "crt": certificate()}), claims())
    assert verified(text, tmp_path)
    head = json.loads(decoded(text.split(".", maxsplit=1)[0]))
    [der] = head["x5c"]
    assert set(head) == {"typ", "alg", "x5c"} and x509.load_der_x509_certificate(base64.b64decode(der))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data.key.pem: found no private key in PEM form"),
        ({"key.pem": b"x"}, "data.key.pem: found no private key in PEM form"),
        ({"key.pem": pem(KEY, b"password"), "kid": b"1"}, "data.key.pem: found no private key in PEM form"),
        ({"key.pem": pem(ec.generate_private_key(ec.SECP384R1())), "kid": b"1"}, "wanted one of the curve P-256"),
        ({"key.pem": pem(ed25519.Ed25519PrivateKey.generate()), "kid": b"1"}, "wanted one of the curve P-256"),
        ({"key.pem": pem(KEY)}, "data: found neither kid nor crt"),
        ({"key.pem": pem(KEY), "crt": b"x"}, "data.crt: found no certificate"),
    ],
)
def test_a_secret_that_cannot_sign(data: dict[str, bytes], message: str) -> None:
    with pytest.raises(Wrong) as caught:
        token.read_signer(data)
    assert message in str(caught.value)
