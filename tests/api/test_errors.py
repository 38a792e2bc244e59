# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to the API that are wrong or get lost."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client

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


def test_connection_that_ends_in_the_handshake_is_made_again(api: Api, nodes: Nodes, tenant: str) -> None:
    """A load balancer without a backend ends connections like this for a moment."""
    target = int(api.url.rpartition(":")[2])
    ended: list[int] = []

    def forward(listener: socket.socket) -> None:
        while True:
            near, _address = listener.accept()
            if len(ended) < 2:
                near.recv(4096)
                near.close()
                ended.append(1)
                continue
            far = socket.create_connection(("127.0.0.1", target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=forward, args=(listener,), daemon=True).start()
        options = api.options(name="shop", tenant=tenant, host=f"https://127.0.0.1:{listener.getsockname()[1]}")
        result = runner.run("app", {**options, "image": "x/y:1", "type": "worker", "timeout": 30})
    assert not result.get("failed"), result["msg"]
    assert len(ended) == 2


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


class Cutter(threading.Thread):
    """Forwards connections to the API. Once `cut` is set, it drops the answers of the API."""

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
      cloudbang.platform.app_info: {{name: shop, tenant: "{tenant}", log_lines: 10, events: true}}
      register: info
    - name: Ask with a token that is not valid
      cloudbang.platform.app_info:
        kubeconfig: ""
        host: "{url}"
        ca_cert: "{ca}"
        api_key: canary-token
        name: shop
        tenant: "{tenant}"
      register: token
      failed_when: "'(401)' not in token.msg"
    - name: Deploy with mistakes beside secrets
      cloudbang.platform.app:
        name: shop
        tenant: "{tenant}"
        image: x/y:latest
        secret_env: {{PASSWORD: canary-in-env-3, "9": canary-name, LIST: [canary-in-list]}}
        secret_files: [{{path: etc/key, content: canary-in-file-3, mode: "9"}}]
      register: wrong
      failed_when: "'wanted' not in wrong.msg"
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


def command_lines() -> set[bytes]:
    """Return the arguments of every process, which all users of a machine can read."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found.add(Path("/proc", process, "cmdline").read_bytes())
    return found


@pytest.mark.parametrize("mode", ["run", "check"])
@pytest.mark.parametrize("execute", ["controller", "target"])
def test_play_shows_no_secret(api: Api, nodes: Nodes, tenant: str, tmp_path: Path, execute: str, mode: str) -> None:
    """No part of a secret is in the output, the log, temporary directories or command lines."""
    (tmp_path / "home").mkdir()
    play = tmp_path / "play.yml"
    values = {"url": api.url, "ca": api.directory / "ca.crt"}
    play.write_text(PLAY.format(kubeconfig=api.kubeconfig, tenant=tenant, execute=execute, **values))
    text = play.read_text()
    if mode == "check":
        play.write_text(text[: text.index("    - name: Scale")])
    environment = {"ANSIBLE_HOME": "home", "ANSIBLE_LOCAL_TEMP": "tmp", "ANSIBLE_REMOTE_TMP": "tmp", "TMPDIR": "home"}
    environment = {name: str(tmp_path / value) for name, value in environment.items()}
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-vvvv", "--diff", str(play)]
    command += [
        "-e",
        "ansible_python_interpreter={{ansible_playbook_python}}",
        *(["--check"] if mode == "check" else []),
    ]
    seen: set[bytes] = set()
    with (tmp_path / "output").open("w+b") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment, "ANSIBLE_LOG_PATH": str(tmp_path / "log")},
            stdout=output,
            stderr=output,
        )
        while process.poll() is None:
            seen |= command_lines()
            time.sleep(0.02)
    assert process.returncode == 0, (tmp_path / "output").read_text()[-6000:]
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != play]
    assert {tmp_path / "output", tmp_path / "log"} <= set(kept)
    assert [path for path in kept if b"canary" in path.read_bytes()] == []
    assert [line for line in seen if b"canary" in line] == []
