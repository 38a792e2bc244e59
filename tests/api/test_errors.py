"""Wrong ways to the API, and an API that goes away."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import client, runner

from .conftest import ROOT, Api, Authority, Nodes

TARGET = {"name": "shop", "tenant": "acme"}


def message(options: dict[str, Any], module: str = "app_info") -> str:
    result = runner.run(module, {**TARGET, **options})
    assert result["failed"]
    return str(result["msg"])


def test_kubeconfig_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "found no file /none/admin.conf, wanted a kubeconfig" in message({"kubeconfig": "/none/admin.conf"})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert f"found no file {tmp_path}/.kube/config, wanted kubeconfig, host" in message({})


@pytest.mark.parametrize("text", ["", "{", "- a", "\x00", "clusters: []"])
def test_kubeconfig_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    assert f"kubeconfig {path} is not usable" in message({"kubeconfig": str(path)})


def test_unknown_context(api: Api) -> None:
    assert "found no other in" in message(api.options(context="other"))


def test_expired_client_certificate(api: Api) -> None:
    certificate, key = api.authority.issue("admin", "system:masters", first_day=-3, last_day=-1)
    path = api.write_kubeconfig("expired.conf", api.authority.pem, certificate, key)
    text = message({"kubeconfig": str(path)})
    assert "expired" in text and str(path) in text


def test_kubeconfig_of_another_cluster(api: Api) -> None:
    other = Authority.new("other-ca")
    certificate, key = other.issue("admin", "system:masters")
    path = api.write_kubeconfig("other.conf", other.pem, certificate, key)
    assert "(x509) is not signed by the CA given" in message({"kubeconfig": str(path)})
    path = api.write_kubeconfig("other-user.conf", api.authority.pem, certificate, key)
    text = message({"kubeconfig": str(path)})
    assert "does not accept the credentials (401)" in text or "refuses the client certificate" in text


def test_files_that_are_not_there(api: Api) -> None:
    assert "client_cert: found no file /none.crt" in message({"host": api.url, "client_cert": "/none.crt"})
    assert "ca_cert: found no file /none.crt" in message({"host": api.url, "ca_cert": "/none.crt"})


def test_token_and_host(api: Api) -> None:
    ca = str(api.directory / "ca.crt")
    text = message({"host": api.url, "ca_cert": ca, "api_key": "canary-token"})
    assert "(401)" in text and "canary-token" not in text


def test_not_allowed(api: Api, nodes: Nodes, tenant: str) -> None:
    certificate, key = api.authority.issue("nobody")
    path = api.write_kubeconfig("nobody.conf", api.authority.pem, certificate, key)
    assert "not allowed (403)" in message({"kubeconfig": str(path), "tenant": tenant}, "app_release")


def test_no_key_is_left_in_a_file(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client.connect({"kubeconfig": str(api.kubeconfig)})
    assert list(tmp_path.rglob("*")) == []


def test_nobody_listens(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 1.0)
    text = message(api.options(host="https://127.0.0.1:1"))
    assert "https://127.0.0.1:1" in text and "does not answer" in text


class Cutter(threading.Thread):
    """Forwards connections to the API; from `cut` on it swallows what the API answers."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut = threading.Event()
        self.verb = b""

    def run(self) -> None:
        while True:
            near, _address = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, answers in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if answers and self.cut.is_set():
                    continue
                sink.sendall(data)
        except OSError:
            pass


def test_answer_that_gets_lost_is_unknown_and_the_next_run_repairs(
    api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 1.0)
    cutter = Cutter(int(api.url.rpartition(":")[2]))
    cutter.start()
    options = {
        "name": "shop",
        "tenant": tenant,
        "image": "x/y:1",
        "processes": [{"name": "web", "ports": [80]}],
        "host": f"https://127.0.0.1:{cutter.port}",
        "request_timeout": 1,
        "timeout": 30,
    }
    apply = client.Kube.apply

    def cut_at_deployment(self: client.Kube, wanted: dict[str, Any], manager: str) -> dict[str, Any]:
        if wanted["kind"] == "Deployment":
            cutter.cut.set()
        return apply(self, wanted, manager)

    monkeypatch.setattr(client.Kube, "apply", cut_at_deployment)
    result = runner.run("app", api.options(**options))
    assert result["failed"] and result["unknown"] and "it is unknown whether" in result["msg"]
    monkeypatch.setattr(client.Kube, "apply", apply)
    again = runner.run("app", {**api.options(**options), "host": api.url, "request_timeout": 30})
    assert not again.get("failed"), again["msg"]
    assert again["apps"][0]["release"] == 1
    assert not runner.run("app", {**api.options(**options), "host": api.url})["changed"]


PLAY = """
- name: Deploy
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/cloudbang.platform.apps:
      kubeconfig: "{kubeconfig}"
      execute: "{execute}"
  tasks:
    - name: Deploy
      cloudbang.platform.app:
        name: shop
        tenant: "{tenant}"
        image: x/y:1
        processes: [{{name: web, ports: [80]}}]
        secret_env: {{PASSWORD: canary-in-env}}
        secret_files: [{{path: /etc/key, content: "canary-in-file"}}]
        timeout: 60
      register: first
    - name: Deploy again
      cloudbang.platform.app:
        tenant: "{tenant}"
        apps:
          - name: shop
            image: x/y:1
            processes: [{{name: web, ports: [80]}}]
            secret_env: {{PASSWORD: canary-in-env}}
            secret_files: [{{path: /etc/key, content: "canary-in-file"}}]
      register: second
    - name: Scale
      cloudbang.platform.app_scale: {{name: shop, tenant: "{tenant}", replicas: 3, timeout: 60}}
    - name: Deploy what fails
      cloudbang.platform.app:
        name: shop
        tenant: "{tenant}"
        image: x/crash:2
        processes: [{{name: web, ports: [80]}}]
        secret_env: {{PASSWORD: canary-in-env-2}}
        timeout: 60
      register: third
      failed_when: not third.failed
    - name: Go back to what is there
      cloudbang.platform.app_release: {{name: shop, tenant: "{tenant}"}}
      register: back
    - name: Look
      cloudbang.platform.app_info: {{name: shop, tenant: "{tenant}"}}
      register: info
    - name: Check
      ansible.builtin.assert:
        that:
          - first is changed
          - second is not changed
          - third.apps[0].rolled_back_to == 1
          - back is not changed
          - info.apps[0].status == 'running'
          - info.apps[0].processes.web.replicas == 3
          - info.apps[0].release == 3
"""


@pytest.mark.parametrize("execute", ["controller", "target"])
def test_play_shows_no_secret(api: Api, nodes: Nodes, tenant: str, tmp_path: Path, execute: str) -> None:
    play = tmp_path / "play.yml"
    play.write_text(PLAY.format(kubeconfig=api.kubeconfig, tenant=tenant, execute=execute))
    done = subprocess.run(
        [
            "ansible-playbook",
            "-i",
            "localhost,",
            "-c",
            "local",
            "-e",
            "ansible_python_interpreter={{ansible_playbook_python}}",
            "-vvvv",
            "--diff",
            str(play),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    assert "canary" not in output
