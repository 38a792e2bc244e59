# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The registry serves the platform's images over TLS to those who have credentials, and takes theirs."""

from __future__ import annotations

import json

import pytest
from scenario import STATE, changes, converge, node, run

ADDRESS = "10.94.3.11:5000"
CRANE = "DOCKER_CONFIG=/etc/cloudbang-registry/docker SSL_CERT_FILE=/etc/cloudbang-registry/ca.crt crane"
LOCAL = "127.0.0.1:5000"


def status(path: str, *options: str, ca: bool = True) -> str:
    """Ask the registry from the controller. Return the HTTP status, or 000 when no connection came about."""
    trust = ("--cacert", str(STATE / "pki" / "registry-ca.crt")) if ca else ()
    quiet = ("--silent", "--output", "/dev/null", "--max-time", "10", "--write-out", "%{http_code}")
    return run("curl", *quiet, *trust, *options, f"https://{ADDRESS}{path}").stdout


def credentials() -> tuple[str, str]:
    return ("--user", "cloudbang:" + (STATE / "pki" / "registry.password").read_text().strip())


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/pause/manifests/1"])
def test_without_credentials_nothing_is_served(path: str) -> None:
    assert status(path) == "401"
    assert status(path, "--user", "cloudbang:wrong") == "401"


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog"])
def test_credentials_open_the_door(path: str) -> None:
    assert status(path, *credentials()) == "200"


def test_its_certificate_is_of_the_clusters_authority_only() -> None:
    assert status("/v2/", ca=False) == "000"
    assert run("curl", "--silent", "--max-time", "5", f"http://{ADDRESS}/v2/_catalog").stdout.find("repositories") == -1


def test_an_anonymous_push_is_refused() -> None:
    assert status("/v2/intruder/blobs/uploads/", "--request", "POST") == "401"


@pytest.mark.parametrize("image", ["pause:1", "coredns:current", "metrics-server:current"])
def test_the_platforms_images_can_be_pulled(image: str) -> None:
    host = node("storage1")
    host.check_output(f"{CRANE} pull --format=oci {LOCAL}/{image} /var/tmp/pulled")
    host.check_output(f"{CRANE} validate --remote {LOCAL}/{image}")
    index = json.loads(host.check_output("cat /var/tmp/pulled/index.json && rm -r /var/tmp/pulled"))
    assert index["manifests"][0]["digest"] == host.check_output(f"{CRANE} digest {LOCAL}/{image}")


def test_what_is_pushed_is_served_under_the_same_digest() -> None:
    host = node("storage1")
    host.check_output("cd /var/tmp && date > now && tar -cf layer.tar now")
    pushed = host.check_output(f"{CRANE} append --new_layer /var/tmp/layer.tar --new_tag {LOCAL}/molecule/own:1")
    digest = pushed.splitlines()[-1].split("@")[-1]
    assert host.check_output(f"{CRANE} digest {LOCAL}/molecule/own:1") == digest
    assert status(f"/v2/molecule/own/manifests/{digest}", *credentials()) == "200"


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
    node("storage1").check_output("systemctl stop registry")
    converge()
    assert status("/v2/", *credentials()) == "200"
