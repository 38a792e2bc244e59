# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes pull the platform's images over TLS with credentials that change nothing; images are pushed elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import time
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from scenario import STATE, changes, converge, module, node, run, wait_for

from ansible_collections.cloudbang.platform.plugins.lookup.declared import load
from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight import options

HOST = "10.94.3.11"
PULL, PUSH = f"{HOST}:5000", f"{HOST}:5001"
CRANE = "DOCKER_CONFIG=/etc/cloudbang-registry/docker SSL_CERT_FILE=/etc/cloudbang-registry/ca.crt crane"
LOCAL = "127.0.0.1:5001"
DATA = "/var/lib/cloudbang/registry"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def status(path: str, *options: str, ca: bool = True, address: str = PULL) -> str:
    """Ask the registry from the controller. Return the HTTP status, or 000 when no connection came about."""
    trust = ("--cacert", str(STATE / "pki" / "registry-ca.crt")) if ca else ()
    quiet = ("--silent", "--output", "/dev/null", "--max-time", "10", "--noproxy", "*", "--write-out", "%{http_code}")
    return run("curl", *quiet, *trust, *options, f"https://{address}{path}").stdout


def credentials(user: str = "node") -> tuple[str, str]:
    """Return curl's options for a user: the nodes', the one that pushes the platform's images, or one of the list."""
    places = {"node": "registry-pull.password", "cloudbang": "registry-push.password"}
    place = STATE / "pki" / places.get(user, f"registry-users/{user}.password")
    return ("--user", f"{user}:{place.read_text().strip()}")


def on_host(path: str, *options: str, address: str = LOCAL) -> str:
    """Ask the registry on its host. Return the HTTP status."""
    quiet = "curl --silent --output /dev/null --max-time 10 --write-out '%{http_code}'"
    command = f"{quiet} --cacert /etc/cloudbang-registry/ca.crt {shlex.join(options)} https://{address}{path}"
    return str(node("storage1").run(command).stdout)


def push(name: str) -> str:
    """Push an image with other content each time. Return its digest."""
    host = node("storage1")
    host.check_output("cd /var/tmp && date +%N > now && tar -cf layer.tar now")
    pushed = host.check_output(f"{CRANE} append --new_layer /var/tmp/layer.tar --new_tag {LOCAL}/{name}")
    return str(pushed.splitlines()[-1].split("@")[-1])


def writes(unit: str) -> int:
    """Return the exit code of writing to the images in the file system that a service sees, even as root."""
    host = node("storage1")
    pid = host.check_output(f"systemctl show --property MainPID --value {unit}")
    assert int(pid) > 1
    done = host.run(f"nsenter --target {pid} --mount touch {DATA}/garbage")
    host.run(f"rm -f {DATA}/garbage")
    return int(done.rc)


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/pause/manifests/1"])
def test_without_credentials_nothing_is_served(path: str) -> None:
    assert status(path) == "401"
    assert status(path, "--user", "node:wrong") == "401"


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog"])
def test_credentials_open_the_door(path: str) -> None:
    assert status(path, *credentials()) == "200"


def test_its_certificate_is_of_the_clusters_authority_only() -> None:
    assert status("/v2/", ca=False) == "000"
    assert run("curl", "--silent", "--max-time", "5", f"http://{PULL}/v2/_catalog").stdout.find("repositories") == -1


def test_an_anonymous_push_is_refused() -> None:
    assert status("/v2/intruder/blobs/uploads/", "--request", "POST") == "401"
    assert on_host("/v2/intruder/blobs/uploads/", "--request", "POST") == "401"


@pytest.mark.parametrize("user", ["cloudbang", "ci"])
def test_who_pushes_has_no_access_where_nodes_pull(user: str) -> None:
    assert status("/v2/", *credentials(user)) == "401"


DECLARED = declarations.images(declarations.roles(load), options.defaults(load).get)
IMAGES = [f"{one.repository}:{one.tag}" for one in DECLARED]


def test_every_cluster_has_images() -> None:
    assert {"pause:1", "coredns:current", "metrics-server:current"} <= set(IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_the_platforms_images_can_be_pulled(image: str) -> None:
    host = node("storage1")
    host.check_output(f"{CRANE} pull --format=oci {LOCAL}/{image} /var/tmp/pulled")
    host.check_output(f"{CRANE} validate --remote {LOCAL}/{image}")
    index = json.loads(host.check_output("cat /var/tmp/pulled/index.json && rm -r /var/tmp/pulled"))
    digest = host.check_output(f"{CRANE} digest {LOCAL}/{image}")
    assert index["manifests"][0]["digest"] == digest
    assert status(f"/v2/{image.split(':')[0]}/manifests/{digest}", *credentials()) == "200"


@pytest.mark.parametrize(("artifact", "image"), [("image-pause", "pause:1"), ("image-coredns", "coredns:current")])
def test_pods_ask_for_the_digest_that_the_registry_has(artifact: str, image: str) -> None:
    lookup = "{{ lookup('cloudbang.platform.image_digest', '" + artifact + "') }}"
    wanted = module("storage1", "ansible.builtin.debug", msg=lookup)["msg"]
    assert node("storage1").check_output(f"{CRANE} digest {LOCAL}/{image}") == wanted


def test_what_is_pushed_is_served_under_the_same_digest_at_once() -> None:
    for _again in range(2):
        digest = push("molecule/own:1")
        assert node("storage1").check_output(f"{CRANE} digest {LOCAL}/molecule/own:1") == digest
        assert status(f"/v2/molecule/own/manifests/{digest}", *credentials()) == "200"
        # The tag, too, leads there for the nodes, although it led somewhere else when it was asked for last.
        headers = ("--head", "--header", f"Accept: {MANIFEST}")
        trust = ("--cacert", str(STATE / "pki" / "registry-ca.crt"), "--noproxy", "*")
        url = f"https://{PULL}/v2/molecule/own/manifests/1"
        answer = run("curl", "--silent", *trust, *headers, *credentials(), url).stdout.lower()
        assert f"docker-content-digest: {digest}" in answer


UPLOAD = "/v2/coredns/blobs/uploads/00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("PUT", "/v2/coredns/manifests/current", "405"),
        ("DELETE", "/v2/coredns/manifests/%s", "405"),
        ("POST", "/v2/intruder/blobs/uploads/", "405"),
        ("POST", "/v2/coredns/blobs/uploads/?mount=%s&from=pause", "405"),
        # There is no upload to go on with.
        ("PATCH", UPLOAD, "404"),
        ("PUT", UPLOAD + "?digest=%s", "404"),
        ("DELETE", "/v2/coredns/blobs/%s", "405"),
    ],
)
def test_the_credentials_of_a_node_change_nothing(method: str, path: str, answer: str) -> None:
    host = node("storage1")
    before = host.check_output(f"{CRANE} digest {LOCAL}/coredns:current")
    manifest = host.check_output(f"{CRANE} manifest {LOCAL}/pause:1")
    data = ("--header", f"Content-Type: {MANIFEST}", "--data-binary", manifest) if method == "PUT" else ()
    path = path.replace("%s", before)
    assert status(path, "--request", method, *data, *credentials()) == answer
    # Where pushing is possible they are no credentials at all.
    assert on_host(path, "--request", method, *data, *credentials()) == "401"
    assert host.check_output(f"{CRANE} digest {LOCAL}/coredns:current") == before


@pytest.mark.parametrize("user", ["node", "cloudbang", "ci"])
def test_images_are_not_pushed_from_other_hosts(user: str) -> None:
    assert status("/v2/", *credentials(user), address=PUSH) == "000"
    listening = node("storage1").check_output("ss --listening --tcp --numeric --no-header")
    assert [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(":5001")] == [LOCAL]


def test_a_user_of_the_list_pushes_and_pulls() -> None:
    data = b"layer"
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    path = f"/v2/acme/shop/blobs/uploads/?digest={digest}"
    octets = ("--header", "Content-Type: application/octet-stream", "--data-binary", data.decode())
    # Without a session in between, as the distribution specification calls a monolithic upload, this is a 202 with one.
    assert on_host(path, "--request", "POST", *octets, *credentials("ci")) in ("201", "202")
    assert on_host("/v2/pause/manifests/1", *credentials("ci")) == "200"
    assert on_host("/v2/", "--user", "ci:wrong") == "401"


def test_only_one_of_the_services_can_write() -> None:
    assert writes("registry") == 0
    assert writes("registry-pull") != 0


def test_who_serves_nodes_owns_nothing_of_the_images() -> None:
    """Outside of the sandbox as well: the user has no right to write, and reads all the same."""
    host = node("storage1")
    as_user = "setpriv --reuid=registry-pull --regid=registry --clear-groups"
    assert host.run(f"{as_user} touch {DATA}/garbage {DATA}/docker/garbage").rc != 0
    assert host.run(f"{as_user} find {DATA} -writable -not -type l").stdout == ""
    files = host.check_output(f"{as_user} find {DATA} -type f | wc -l")
    assert int(files) > 10
    assert host.check_output(f"{as_user} find {DATA} -type f -readable | wc -l") == files
    for secret in ("htpasswd", "server.key", "config.yml", "docker/config.json"):
        assert host.run(f"{as_user} cat /etc/cloudbang-registry/{secret}").rc != 0


@pytest.mark.parametrize("unit", ["registry", "registry-pull"])
def test_a_service_in_its_sandbox_reaches_no_other_service(unit: str) -> None:
    host = node("storage1")
    pid = host.check_output(f"systemctl show --property MainPID --value {unit}")
    lines = dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines())
    assert lines["Uid"].split()[0] != "0"
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")
    assert {int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    inside = f"nsenter --target {pid} --mount"
    assert host.run("ls /run/dbus/system_bus_socket /run/systemd/private").rc == 0
    assert host.run(f"{inside} ls /run/dbus/system_bus_socket").rc != 0
    assert host.check_output(f"{inside} stat --format=%F,%a /run/systemd/private").endswith(",0")
    places = "/etc/cloudbang-registry/x /etc/systemd/system/x /usr/local/bin/x /var/lib/x"
    loop = f"for path in {places}; do touch $path 2> /dev/null && echo $path; done; true"
    assert host.check_output(f"{inside} sh -c {shlex.quote(loop)}") == ""


# A neighbour of the host that has IPv6 only.
WALL = [
    "ip netns add wall && ip link add wall0 type veth peer name wall1 netns wall",
    "sysctl --quiet --write net.ipv6.conf.wall0.disable_ipv6=0",
    "ip -6 address add fd00:94::1/64 dev wall0 nodad && ip link set wall0 up",
    "ip netns exec wall sysctl --quiet --write net.ipv6.conf.wall1.disable_ipv6=0",
    "ip -n wall -6 address add fd00:94::2/64 dev wall1 nodad && ip -n wall link set wall1 up",
]


@pytest.mark.disruptive
def test_who_pushes_follows_the_networks_and_users_of_the_inventory() -> None:
    """The controller is the first address of the network that it shares with the nodes."""
    opened = converge("--extra-vars", json.dumps({"registry_push_networks": ["10.94.3.1/32"]}))
    assert len(changes(opened)) == 1
    assert status("/v2/", *credentials("ci"), address=PUSH) == "200"
    assert status("/v2/", *credentials("node"), address=PUSH) == "401"
    assert changes(converge("--extra-vars", json.dumps({"registry_push_networks": ["10.94.3.1/32"]}))) == []
    # A reload of the host's own filter empties all tables, and this one comes again with it.
    host = node("storage1")
    assert host.check_output("systemctl show --property=PartOf,ReloadPropagatedFrom registry").count("nftables") == 2
    host.check_output("nft delete table inet cloudbang-registry && systemctl reload registry")
    assert "5001" in host.check_output("nft list table inet cloudbang-registry")
    # What is named is an IPv4 network: nobody comes in by IPv6.
    for command in WALL:
        host.check_output(command)
    try:
        ask = "ip netns exec wall curl --insecure --silent --output /dev/null --max-time 4 --write-out '%{http_code}'"
        wait_for(lambda: host.run(f"{ask} https://[fd00:94::1]:5000/v2/").stdout == "401", 15)
        assert host.run(f"{ask} https://[fd00:94::1]:5001/v2/").stdout == "000"
    finally:
        host.run("ip netns del wall; ip link del wall0")
    # At the same time a user is taken out of the list.
    assert on_host("/v2/", *credentials("ci")) == "200"
    converge("--extra-vars", json.dumps({"registry_push_networks": ["192.0.2.0/24"], "registry_users": []}))
    assert on_host("/v2/", *credentials("ci")) == "401"
    assert on_host("/v2/", *credentials("cloudbang")) == "200"
    assert status("/v2/", *credentials("cloudbang"), "--connect-timeout", "3", address=PUSH) == "000"
    assert status("/v2/", *credentials()) == "200"
    converge()
    assert on_host("/v2/", *credentials("ci")) == "200"
    assert status("/v2/", *credentials("ci"), "--connect-timeout", "3", address=PUSH) == "000"
    assert "cloudbang-registry" not in node("storage1").check_output("nft list tables")


# With builds. Their own images are not needed here.
BUILDS = {
    "cloudbang_builder_enabled": True,
    "registry_images": [{"artifact": "image-pause", "repository": "pause", "tag": "1"}],
}
BUILD = f"{HOST}:5002"
# A pod on the host, as far as the registry sees it.
POD = [
    "ip netns add pod && ip link add pod0 type veth peer name pod1 netns pod",
    "ip address add 10.244.7.1/24 dev pod0 && ip link set pod0 up",
    "ip -n pod address add 10.244.7.2/24 dev pod1 && ip -n pod link set pod1 up",
    "ip -n pod route add default via 10.244.7.1",
]
Signer = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def signer(authority: str) -> Signer:
    """Return key and certificate of an authority of the cluster."""
    key = serialization.load_pem_private_key((STATE / "pki" / f"{authority}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key, x509.load_pem_x509_certificate((STATE / "pki" / f"{authority}.crt").read_bytes())


def stranger() -> Signer:
    """Return a key of nobody, with a certificate that looks like that of builds."""
    key, name = ec.generate_private_key(ec.SECP256R1()), signer("builder-ca")[1].subject
    assert name.get_attributes_for_oid(NameOID.COMMON_NAME)
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    return key, made.add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())


@cache
def cluster() -> str:
    """Return the name of the cluster."""
    return str(module("storage1", "ansible.builtin.debug", msg="{{ cloudbang_cluster_name }}")["msg"])


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    access: dict[str, Iterable[str]], by: Signer | None = None, header: dict[str, Any] | None = None, **claims: Any
) -> str:
    """Return a token for actions on repositories, signed with the key of builds unless by another."""
    key, certificate = by or signer("builder-ca")
    chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
    now = int(time.time())
    content = {
        "iss": "cloudbang-builder",
        "aud": cluster(),
        "sub": "build",
        "nbf": now - 60,
        "exp": now + 600,
        "access": [{"type": "repository", "name": name, "actions": list(words)} for name, words in access.items()],
        **claims,
    }
    parts = [{"typ": "JWT", "alg": "ES256", "x5c": chain, **(header or {})}, content]
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    if parts[0]["alg"] == "none":
        return f"{text}."
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def in_pod(command: str, credential: str = "") -> tuple[int, str]:
    """Run crane in the pod with a token instead of a password. Return its exit code and what it says."""
    host = node("storage1")
    entry = {"registrytoken": credential} if credential else {}
    config = shlex.quote(json.dumps({"auths": {BUILD: entry}}))
    host.check_output(f"mkdir -p /var/tmp/docker && printf %s {config} > /var/tmp/docker/config.json")
    done = host.run(
        "timeout 60 ip netns exec pod env DOCKER_CONFIG=/var/tmp/docker SSL_CERT_FILE=/etc/cloudbang-registry/ca.crt "
        f"crane {command}"
    )
    return int(done.rc), str(done.stdout + done.stderr)


def pushed(repository: str, credential: str) -> bool:
    """Return whether a pod can push an image; otherwise it is refused, and for no other reason."""
    node("storage1").check_output("cd /var/tmp && date +%N > now && tar -cf layer.tar now")
    code, said = in_pod(f"append --new_layer /var/tmp/layer.tar --new_tag {BUILD}/{repository}:1", credential)
    assert code == 0 or "UNAUTHORIZED" in said or "401" in said, said
    return code == 0


def asked(path: str, *options: str, credential: str = "") -> str:
    """Ask in the pod. Return the HTTP status."""
    header = ("--header", f"Authorization: Bearer {credential}") if credential else ()
    quiet = "ip netns exec pod curl --silent --output /dev/null --max-time 10 --write-out '%{http_code}'"
    words = shlex.join([*header, *options, f"https://{BUILD}{path}"])
    return str(node("storage1").run(f"{quiet} --cacert /etc/cloudbang-registry/ca.crt {words}").stdout)


@pytest.mark.disruptive
def test_a_build_pushes_with_its_token_to_its_repository_alone() -> None:
    opened = ("--extra-vars", json.dumps(BUILDS))
    assert len(changes(converge(*opened))) == 1
    assert changes(converge(*opened)) == []
    host, mine = node("storage1"), {"a/b": ("pull", "push"), "pause": ("pull",)}
    for command in POD:
        host.check_output(command)
    try:
        own = token(mine)
        assert pushed("a/b", own)
        digest = in_pod(f"digest {BUILD}/a/b:1", own)[1].strip()
        # Nodes have it at once.
        assert status(f"/v2/a/b/manifests/{digest}", *credentials()) == "200"
        assert in_pod(f"pull --format=oci {BUILD}/pause:1 /var/tmp/pulled-base", own)[0] == 0
        # Nothing else.
        assert not pushed("c/d", own) and not pushed("pause", own) and not pushed("a/b2", own)
        assert status("/v2/c/d/manifests/1", *credentials()) == "404"
        layer = json.loads(in_pod(f"manifest {BUILD}/pause:1", own)[1])["layers"][0]["digest"]
        assert asked("/v2/coredns/manifests/current", credential=own) == "401"
        mount = f"/v2/a/b/blobs/uploads/?mount={layer}&from="
        assert asked(f"{mount}coredns", "--request", "POST", credential=own) == "401"
        assert asked(f"{mount}pause", "--request", "POST", credential=own) == "201"
        assert asked("/v2/_catalog", credential=own) == "401"
        assert asked(f"/v2/a/b/manifests/{digest}", "--request", "DELETE", credential=own) == "401"
        everything = token({"a/b": ("pull", "push", "delete", "*")})
        assert asked(f"/v2/a/b/manifests/{digest}", "--request", "DELETE", credential=everything) == "405"
        # What is no token of this registry, of builds, of now.
        now = int(time.time())
        bad = {
            "none": "",
            "no access": token({}),
            "expired": token(mine, exp=now - 300),
            "not yet": token(mine, nbf=now + 300),
            "another service": token(mine, aud="other"),
            "another issuer": token(mine, iss="other"),
            "another key": token(mine, stranger()),
            "another authority": token(mine, signer("registry-ca")),
            "a certificate of builds, another key": token(mine, (stranger()[0], signer("builder-ca")[1])),
            "no signature": token(mine, header={"alg": "none"}),
        }
        for name, credential in bad.items():
            # Without a token, crane asks for one where nobody gives any.
            assert name == "none" or not pushed("a/b", credential), name
            assert asked("/v2/a/b/manifests/1", credential=credential) == "401", name
        # Passwords are for the other ports.
        for user in ("node", "cloudbang", "ci"):
            assert asked("/v2/", *credentials(user)) == "401"
        # From elsewhere nobody connects, even with a token.
        bearer = ("--header", f"Authorization: Bearer {own}", "--connect-timeout", "3")
        assert status("/v2/", *bearer, address=BUILD) == "000"
        assert asked("/v2/", credential=own) == "200"
        # The process has the user of the service that takes pushes, and none of its secrets.
        pid = host.check_output("systemctl show --property MainPID --value registry-build")
        for secret in ("htpasswd", "docker/config.json", "config.yml", "pull/htpasswd"):
            path = f"/etc/cloudbang-registry/{secret}"
            assert host.check_output(f"cat {path}")
            # systemd puts an empty file in the place of each, which root can read.
            assert host.run(f"nsenter --target {pid} --mount cat {path}").stdout == ""
        host.check_output("nft delete table inet cloudbang-registry-build && systemctl reload registry-build")
        assert "5002" in host.check_output("nft list table inet cloudbang-registry-build")
    finally:
        host.run("ip netns del pod; ip link del pod0; rm -rf /var/tmp/docker /var/tmp/pulled-base")
    # Without builds nothing of it is left, and what was built stays.
    assert len(changes(converge())) == 1
    assert host.check_output("systemctl show --property LoadState --value registry-build") == "not-found"
    assert ":5002" not in host.check_output("ss --listening --tcp --numeric --no-header")
    assert "cloudbang-registry-build" not in host.check_output("nft list tables")
    left = host.run("ls -d /etc/cloudbang-registry/build /etc/systemd/system/registry-build.service*")
    assert left.stdout == ""
    assert status(f"/v2/a/b/manifests/{digest}", *credentials()) == "200"
    assert changes(converge()) == []


@pytest.mark.disruptive
def test_one_service_of_an_earlier_release_becomes_two_and_its_password_ends() -> None:
    """Until then one service listened on the nodes' port, and every node had the password that pushes."""
    host = node("storage1")
    host.check_output("systemctl disable --now registry-pull && rm /etc/systemd/system/registry-pull.service")
    # Its unit let everybody in.
    host.check_output("sed -i /^IPAddress/d /etc/systemd/system/registry.service")
    host.check_output("rm -r /etc/cloudbang-registry/pull && systemctl daemon-reload")
    host.check_output("sed -i 's/addr: .*/addr: 0.0.0.0:5000/' /etc/cloudbang-registry/config.yml")
    host.check_output(f"chmod 0700 {DATA} && systemctl restart registry")
    wait_for(lambda: status("/v2/", *credentials("cloudbang")) == "200")
    assert status("/v2/intruder/blobs/uploads/", "--request", "POST", *credentials("cloudbang")) == "202"
    converge()
    assert status("/v2/", *credentials("cloudbang")) == "401"
    assert status("/v2/pause/manifests/1", *credentials()) == "200"
    assert status("/v2/intruder/blobs/uploads/", "--request", "POST", *credentials()) == "405"
    assert changes(converge()) == []


@pytest.mark.disruptive
def test_a_lost_image_is_pushed_again() -> None:
    host = node("storage1")
    digest = host.check_output(f"{CRANE} digest {LOCAL}/pause:1")
    host.check_output(f"{CRANE} delete {LOCAL}/pause@{digest}")
    assert status("/v2/pause/manifests/1", *credentials()) == "404"
    assert len(changes(converge())) == 1
    assert host.check_output(f"{CRANE} digest {LOCAL}/pause:1") == digest


@pytest.mark.disruptive
def test_a_stopped_registry_runs_again() -> None:
    node("storage1").check_output("systemctl stop registry registry-pull")
    converge()
    assert status("/v2/", *credentials()) == "200"
    assert on_host("/v2/", *credentials("ci")) == "200"
