# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks for a team, with the variables of their documentation, against a real API."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.kube import kinds
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import ROOT, Api, Nodes
from .test_apps import SECRET, good, info
from .test_routes import _define

PAGE = (ROOT / "docs" / "apps-playbooks.md").read_text()


class Gateway:
    """Answers requests for all domains except the broken ones, because there are no pods."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.asked: list[str] = []
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gateway.asked.append(self.headers["Host"])
                self.send_response(503 if self.headers["Host"] in gateway.broken else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_all: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway()
    yield found
    found.server.shutdown()
    found.server.server_close()


class Team:
    """Runs the playbooks in two tenants."""

    def __init__(self, api: Api, gateway: Gateway, tenant: str, directory: Path) -> None:
        self.api, self.gateway = api, gateway
        self.staging, self.live, self.file = f"{tenant}-staging", tenant, directory / "app.yml"
        (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
        self.domain = f"{tenant}.example.org"
        self.file.write_text(text.replace("acme", tenant).replace("shop.example.org", self.domain))
        for name in (self.staging, self.live):
            good("tenant", api.options(name=name))
            # No kubelet gives the pods addresses, so the cluster creates no endpoints for them.
            ready = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "shop-x", "labels": {"kubernetes.io/service-name": "shop"}},
                "addressType": "IPv4",
                "ports": [{"name": "p8000", "port": 8000}],
                "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": True}}],
            }
            api.kube.request("POST", kinds.path("EndpointSlice", name), {}, ready)

    def run(self, name: str, *arguments: str) -> tuple[int, int, str]:
        """Return the exit code of a playbook, its number of changes and its output."""
        command = ["ansible-playbook", f"cloudbang.platform.apps.{name}", "-e", f"@{self.file}", *arguments]
        command += ["-e", f"site_address=127.0.0.1:{self.gateway.server.server_port}"]
        command += ["-e", f"vault_database_url={SECRET}", "-e", "cloudbang_pages_retries=1"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        environment["K8S_AUTH_KUBECONFIG"] = str(self.api.kubeconfig)
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120, check=False
        )
        text = done.stdout + done.stderr
        assert SECRET not in text
        found = re.search(r"changed=(\d+)", text)
        assert found, text
        return done.returncode, int(found[1]), text

    def good(self, name: str, *arguments: str) -> int:
        code, changed, text = self.run(name, *arguments)
        assert code == 0, text
        return changed

    def image(self, tag: str) -> None:
        self.file.write_text(re.sub(r"shop:[0-9.]+", f"shop:{tag}", self.file.read_text()))


@pytest.fixture
def team(api: Api, nodes: Nodes, gateway: Gateway, tenant: str, tmp_path: Path) -> Team:
    found = ensure(["traefik-crds"], Settings.from_vars({}), print)
    _define(api, Path(found["traefik-crds"].path).read_text("utf-8"))
    return Team(api, gateway, tenant, tmp_path)


def test_deploy_promote_and_roll_back(api: Api, team: Team) -> None:
    assert team.good("deploy", "--check") == 2
    assert info(api, team.staging)["status"] == "absent"
    assert team.good("deploy", "--diff") == 3
    assert team.gateway.asked == [f"staging.{team.domain}"]
    space = api.kube.get("Namespace", None, team.staging)
    assert space is not None
    assert space["metadata"]["annotations"]["cloudbang.platform/domains"] == f"staging.{team.domain}"
    assert team.good("deploy") == 0
    assert info(api, team.staging)["status"] == "running"

    team.gateway.broken = {f"staging.{team.domain}"}
    code, changed, text = team.run("promote")
    assert code and not changed and "503" in text
    assert info(api, team.live)["status"] == "absent"
    team.gateway.broken = set()
    team.gateway.asked.clear()
    assert team.good("promote", "--check") == 1
    assert team.good("promote", "--diff") == 2
    assert team.gateway.asked == [f"staging.{team.domain}", team.domain]
    assert team.good("promote") == 0
    assert info(api, team.live)["digest"] == info(api, team.staging)["digest"]

    team.image("1.5.0")
    assert team.good("deploy") == 1
    team.gateway.broken = {team.domain}
    code, changed, text = team.run("promote")
    assert code and 'failed at "Fetch the pages". Rolled back to the previous release: shop.' in text
    releases = info(api, team.live)["releases"]
    assert [release["image"].rpartition(":")[2] for release in releases] == ["1.4.2", "1.5.0", "1.4.2"]
    team.gateway.broken = set()
    assert team.good("promote") == 1

    assert team.good("rollback") == 1
    assert info(api, team.staging)["image"].endswith(":1.4.2")
    assert team.good("rollback") == 0
    assert (
        team.good("rollback", "-e", f"cloudbang_rollback_tenant={team.live}", "-e", "cloudbang_rollback_version=1") == 1
    )
    assert info(api, team.live)["image"].endswith(":1.4.2")


def test_an_app_without_a_release_before_stays(api: Api, team: Team) -> None:
    team.good("deploy")
    team.gateway.broken = {team.domain}
    code, _changed, text = team.run("promote")
    assert code and "Rolled back to the previous release: none." in text
    assert info(api, team.live)["status"] == "running"
