# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of builds at a real registry: they pull and push what they are for, and nothing else."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator

import pytest
import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import token
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import _free_ports

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth:
  token:
    realm: http://127.0.0.1:{port}/token
    service: lab
    issuer: cloudbang-builder
    jwks: {root}/keys.json
    signingalgorithms: [ES256]
"""
KEY = ec.generate_private_key(ec.SECP256R1())


def signer(key: ec.EllipticCurvePrivateKey = KEY, name: bytes = b"builder-1") -> token.Signer:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return token.read_signer({"key.pem": pem, "kid": name})


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty registry that takes tokens of KEY."""
    program = str(ensure(["registry"], Settings.from_vars({}), print)["registry"].path)
    root = tmp_path_factory.mktemp("registry")
    public = KEY.public_key().public_numbers()
    key = {"kty": "EC", "crv": "P-256", "kid": "builder-1", "alg": "ES256", "use": "sig"}
    key.update(x=_number(public.x), y=_number(public.y))
    (root / "keys.json").write_text(json.dumps({"keys": [key]}))
    [port] = _free_ports(1)
    (root / "config.yml").write_text(CONFIG.format(root=root, port=port))
    url = f"http://127.0.0.1:{port}"
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(root / "config.yml")], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                assert urllib3.request("GET", f"{url}/v2/", retries=False, timeout=2).status == 401
                break
            except urllib3.exceptions.HTTPError:
                assert process.poll() is None and time.monotonic() < end, (root / "log").read_text()
                time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def minted(
    made: token.Signer | None = None, age: int = 0, issuer: str = "cloudbang-builder", service: str = "lab"
) -> str:
    now = int(time.time()) - age
    content = token.claims(issuer, service, "build", ["cloudbang/base/run-go"], ["acme/shop"], now, 600, "1")
    return token.signed(made or signer(), content)


def status(registry: str, method: str, repository: str, given: str) -> int:
    where = f"{registry}/v2/{repository}/" + ("blobs/uploads/" if method == "POST" else "tags/list")
    headers = {"Authorization": f"Bearer {given}"}
    return int(urllib3.request(method, where, headers=headers, retries=False, timeout=10).status)


@pytest.mark.parametrize(
    ("method", "repository", "wanted"),
    [
        ("POST", "acme/shop", 202),
        ("GET", "acme/shop", 404),
        ("GET", "cloudbang/base/run-go", 404),
        ("POST", "cloudbang/base/run-go", 401),
        ("POST", "acme/other", 401),
        ("GET", "acme/other", 401),
        ("GET", "blue/shop", 401),
        ("POST", "acme/shop/more", 401),
    ],
)
def test_a_token_is_for_its_repositories(registry: str, method: str, repository: str, wanted: int) -> None:
    # 404: it may be read, and there is nothing.
    assert status(registry, method, repository, minted()) == wanted


def test_other_tokens_are_refused(registry: str) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    head, body, signature = minted().split(".")
    refused = [
        minted(signer(other)),
        minted(signer(other, b"builder-2")),
        minted(age=3600),
        minted(issuer="somebody"),
        minted(service="other"),
        f"{head}.{body}.{signature[:-4]}AAAA",
        "hello",
    ]
    assert [status(registry, "POST", "acme/shop", one) for one in refused] == [401] * len(refused)
