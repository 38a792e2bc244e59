# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI plugin as the runtime starts it, against a real socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import goodnet
from goodnet.cni.plugin import ask, quoted, request
from goodnet.cni.server import Server
from goodnet.errors import (
    BAD_CONFIG,
    BAD_ENVIRONMENT,
    FAILED,
    INCOMPATIBLE,
    NO_ADDRESS,
    TRY_AGAIN,
    UNAVAILABLE,
    UNDECODABLE,
    CniError,
)

FILES = Path(next(iter(goodnet.__path__))).parent
TEMPLATE = FILES.parents[1] / "roles" / "goodnet" / "templates" / "goodnet-cni.j2"
POD = {
    "CNI_CONTAINERID": "c0ffee",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/run/netns/pod",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u-1",
}
WIRED = {
    "address": "10.244.1.5",
    "mac": "0a:58:0a:f4:01:05",
    "host": "gn0123456789ab",
    "host_mac": "0e:58:0a:f4:01:05",
    "mtu": 1450,
}


class Plugin:
    """The plugin as it is installed, but with the package of this tree and a socket of its own."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "agent.sock"
        self._script = directory / "goodnet"
        text = TEMPLATE.read_text()
        for installed, here in (("{{ _goodnet_lib }}", str(FILES)), ("main()", f'main("{self.socket}")')):
            assert installed in text
            text = text.replace(installed, here)
        _licence, _interpreter, program = text.split("\n", 2)
        self._script.write_text(f"#!{sys.executable} -IS\n{program}")
        self._script.chmod(0o755)

    def __call__(self, command: str, environment: dict[str, str] | None = None, **config: Any) -> tuple[int, Any]:
        """The exit status and what it printed."""
        whole = {"cniVersion": "1.1.0", "name": "goodnet", "type": "goodnet", **config}
        return self.raw(command, json.dumps(whole), POD if environment is None else environment)

    def raw(self, command: str, text: str, environment: dict[str, str]) -> tuple[int, Any]:
        done = subprocess.run(
            [self._script],
            input=text,
            env={"CNI_COMMAND": command, **environment},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout) if done.stdout else None


class Recorder:
    """Handlers that keep what they were asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.problem: list[CniError] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        for problem in self.problem:
            raise problem
        return WIRED if request["op"] == "add" else {}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plugin, Recorder]]:
    plugin, recorder = Plugin(tmp_path_factory.mktemp("plugin")), Recorder()
    asked = dict.fromkeys(("add", "del", "check", "gc", "status"), recorder.answer)
    server = Server(plugin.socket, asked)
    server.start()
    yield plugin, recorder
    server.stop()


@pytest.fixture
def plugin(served: tuple[Plugin, Recorder]) -> Plugin:
    return served[0]


@pytest.fixture
def agent(served: tuple[Plugin, Recorder]) -> Recorder:
    served[1].asked, served[1].problem = [], []
    return served[1]


@pytest.fixture
def alone(tmp_path: Path) -> Plugin:
    """A plugin whose agent is away."""
    return Plugin(tmp_path)


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_add_prints_the_result_of_each_version(plugin: Plugin, agent: Recorder, version: str) -> None:
    code, result = plugin("ADD", cniVersion=version)
    mtu = {"mtu": 1450} if version == "1.1.0" else {}
    family = {"version": "4"} if version == "0.4.0" else {}
    assert code == 0
    assert result == {
        "cniVersion": version,
        "interfaces": [
            {"name": "gn0123456789ab", "mac": "0e:58:0a:f4:01:05", **mtu},
            {"name": "eth0", "mac": "0a:58:0a:f4:01:05", "sandbox": "/run/netns/pod", **mtu},
        ],
        "ips": [{"address": "10.244.1.5/32", "interface": 1, "gateway": "169.254.1.1", **family}],
        "routes": [{"dst": "169.254.1.1/32"}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
        "dns": {},
    }
    assert agent.asked == [
        {
            "op": "add",
            "container": "c0ffee",
            "ifname": "eth0",
            "netns": "/run/netns/pod",
            "namespace": "shop",
            "name": "web-0",
            "uid": "u-1",
        }
    ]


def test_what_add_printed_is_what_check_is_given(plugin: Plugin, agent: Recorder) -> None:
    _ignored, result = plugin("ADD")
    assert plugin("CHECK", prevResult=result) == (0, None)
    assert agent.asked[-1]["op"] == "check" and agent.asked[-1]["addresses"] == ["10.244.1.5"]


def test_del_needs_no_namespace_and_prints_nothing(plugin: Plugin, agent: Recorder) -> None:
    environment = {key: POD[key] for key in ("CNI_CONTAINERID", "CNI_IFNAME")}
    assert plugin("DEL", environment) == (0, None)
    assert agent.asked == [{"op": "del", "container": "c0ffee", "ifname": "eth0", "netns": ""}]


def test_gc_and_status_need_no_container(plugin: Plugin, agent: Recorder) -> None:
    valid = [{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "eth0"}]
    assert plugin("GC", {}, **{"cni.dev/valid-attachments": valid}) == (0, None)
    assert plugin("STATUS", {}) == (0, None)
    assert agent.asked == [{"op": "gc", "valid": [["a", "eth0"], ["b", "eth0"]]}, {"op": "status"}]


def test_version_needs_nothing(plugin: Plugin) -> None:
    assert plugin("VERSION", {}) == (0, {"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]})


BAD: dict[str, tuple[str, dict[str, str], dict[str, Any], int, str]] = {
    "command": ("ATTACH", {}, {}, BAD_ENVIRONMENT, "CNI_COMMAND"),
    "version": ("ADD", {}, {"cniVersion": "0.2.0"}, INCOMPATIBLE, "0.2.0"),
    "container": ("ADD", {"CNI_CONTAINERID": "-x"}, {}, BAD_ENVIRONMENT, "CNI_CONTAINERID"),
    "container of del": ("DEL", {"CNI_CONTAINERID": "a/b"}, {}, BAD_ENVIRONMENT, "CNI_CONTAINERID"),
    "interface": ("ADD", {"CNI_IFNAME": "sixteen-letters-"}, {}, BAD_ENVIRONMENT, "CNI_IFNAME"),
    "no interface": ("ADD", {"CNI_IFNAME": ""}, {}, BAD_ENVIRONMENT, "CNI_IFNAME"),
    "interface path": ("ADD", {"CNI_IFNAME": "a/b"}, {}, BAD_ENVIRONMENT, "CNI_IFNAME"),
    "no namespace": ("ADD", {"CNI_NETNS": ""}, {}, BAD_ENVIRONMENT, "CNI_NETNS"),
    "no pod": ("ADD", {"CNI_ARGS": "K8S_POD_NAMESPACE=shop"}, {}, BAD_ENVIRONMENT, "K8S_POD_NAME"),
    "chained": ("ADD", {}, {"prevResult": {"ips": []}}, BAD_CONFIG, "prevResult"),
    "check without result": ("CHECK", {}, {}, BAD_CONFIG, "prevResult"),
    "gc without list": ("GC", {}, {}, BAD_CONFIG, "valid-attachments"),
    "gc without name": ("GC", {}, {"cni.dev/valid-attachments": [{"containerID": "a"}]}, BAD_CONFIG, "ifname"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_the_agent_is_not_asked(plugin: Plugin, agent: Recorder, case: str) -> None:
    command, environment, config, code, word = BAD[case]
    status, error = plugin(command, {**POD, **environment}, **config)
    assert (status, error["code"]) == (1, code)
    assert word in error["msg"]
    assert agent.asked == []


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_what_is_not_json_is_refused(plugin: Plugin, text: str) -> None:
    status, error = plugin.raw("ADD", text, POD)
    assert (status, error["code"], error["cniVersion"]) == (1, UNDECODABLE, "1.1.0")


def test_the_agents_problem_is_passed_on(plugin: Plugin, agent: Recorder) -> None:
    agent.problem = [CniError(NO_ADDRESS, "All 5 addresses are taken", "Run fewer pods.")]
    problem = {"code": NO_ADDRESS, "msg": "All 5 addresses are taken", "details": "Run fewer pods."}
    assert plugin("ADD") == (1, {"cniVersion": "1.1.0", **problem})
    assert plugin("ADD", cniVersion="0.4.0") == (1, {"cniVersion": "0.4.0", **problem})


def test_del_with_an_agent_that_is_not_ready_is_done_later(plugin: Plugin, agent: Recorder) -> None:
    agent.problem = [CniError(TRY_AGAIN, "The namespaces are not known yet")]
    assert plugin("DEL") == (0, None)
    agent.problem = [CniError(FAILED, "The flows can not be written")]
    assert plugin("DEL") == (1, {"cniVersion": "1.1.0", **agent.problem[0].as_error()})


def test_others_ask_too(plugin: Plugin, agent: Recorder) -> None:
    assert ask({"socket": str(plugin.socket)}, {"op": "status"}) == {"ok": True}
    agent.problem = [CniError(TRY_AGAIN, "what", "do")]
    with pytest.raises(CniError) as problem:
        ask({"socket": str(plugin.socket)}, {"op": "status"})
    assert problem.value.as_error() == agent.problem[0].as_error()


def test_status_of_an_agent_that_is_not_ready(plugin: Plugin, agent: Recorder) -> None:
    agent.problem = [CniError(TRY_AGAIN, "The namespaces are not known yet")]
    status, error = plugin("STATUS", {})
    assert (status, error["code"], error["msg"]) == (1, UNAVAILABLE, "The namespaces are not known yet")


def test_an_agent_that_is_away(alone: Plugin) -> None:
    assert alone("DEL") == (0, None)
    status, error = alone("STATUS", {})
    assert (status, error["code"]) == (1, UNAVAILABLE)
    assert str(alone.socket) in error["msg"]
    status, error = alone("ADD")
    assert (status, error["code"]) == (1, TRY_AGAIN)
    assert "systemctl status" in error["details"]


def test_an_agent_that_died_leaves_a_socket_that_nobody_listens_on(alone: Plugin) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(alone.socket))
    assert alone("DEL") == (0, None)
    assert alone("STATUS", {})[1]["code"] == UNAVAILABLE


def test_an_agent_that_restarts_is_waited_for(alone: Plugin) -> None:
    recorder = Recorder()
    server: list[Server] = []

    def start() -> None:
        time.sleep(0.8)
        server.append(Server(alone.socket, {"add": recorder.answer}))
        server[0].start()

    starter = threading.Thread(target=start)
    starter.start()
    status, result = alone("ADD")
    starter.join()
    server[0].stop()
    assert status == 0 and result["ips"][0]["address"] == "10.244.1.5/32"


def test_an_agent_that_ends_before_it_answers(alone: Plugin) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(alone.socket))
        listener.listen()

        def end() -> None:
            connection, _ignored = listener.accept()
            connection.recv(10)
            connection.close()

        ending = threading.Thread(target=end)
        ending.start()
        status, error = alone("DEL")
        ending.join()
    # It had listened, so it may have begun: the runtime has to ask again.
    assert (status, error["code"]) == (1, TRY_AGAIN)


def test_an_add_loads_next_to_nothing(plugin: Plugin, agent: Recorder) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(FILES)!r}); from goodnet.cni.plugin import main;"
        f"main({str(plugin.socket)!r}); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-ISc", code],
        input='{"cniVersion": "1.1.0"}',
        env={"CNI_COMMAND": "ADD", **POD},
        text=True,
        capture_output=True,
        check=True,
    )
    result, modules = done.stdout.splitlines()
    assert json.loads(result)["ips"]
    heavy = {"json", "socket", "re", "enum", "typing", "dataclasses", "logging", "subprocess", "threading", "pathlib"}
    assert not set(modules.split()) & (heavy | {"pyroute2", "ovs", "yaml", "goodnet.model", "goodnet.cni.requests"})


@pytest.mark.parametrize("text", ["plain", '"\\/', "a\nb\r\t\0\x7f", "é→\U0001f600", "\udc80"])
def test_what_the_runtime_says_is_quoted_as_json(text: str) -> None:
    assert json.loads(quoted(text)) == text
    asked = json.loads(request({"CNI_X": text, "HOME": "/"}, text.encode("utf-8", "replace")))
    assert asked["environment"] == {"CNI_X": text}
    assert asked["config"] == text.encode("utf-8", "replace").decode()


def test_the_agent_listens_to_root_only(plugin: Plugin, agent: Recorder) -> None:
    assert plugin.socket.stat().st_mode & 0o777 == 0o600
    # What counts is who connects, not only who may open the file.
    plugin.socket.chmod(0o666)
    plugin.socket.parent.chmod(0o711)
    answers, asks = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(plugin.socket.parent)
            os.setresuid(65534, 65534, 65534)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(plugin.socket.name)
                connection.sendall(b'{"op": "status"}\n')
                os.write(asks, connection.makefile("rb").readline())
        finally:
            os._exit(0)
    os.close(asks)
    with open(answers, "rb") as stream:
        answer = json.loads(stream.read())
    os.waitpid(child, 0)
    plugin.socket.chmod(0o600)
    assert answer["ok"] is False and "65534" in answer["message"]
    assert agent.asked == []


@pytest.mark.parametrize("line", [b"x", b"[]", b'{"op": "fly"}', b"{}"])
def test_the_agent_says_what_a_request_has_to_be(plugin: Plugin, agent: Recorder, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(plugin.socket))
        stream = connection.makefile("rwb")
        for text in (line, b'{"op": "status"}'):
            stream.write(text + b"\n")
            stream.flush()
            answer = json.loads(stream.readline())
            if text == line:
                assert answer["ok"] is False and answer["code"] == BAD_ENVIRONMENT
                assert "add, check, cni, del, gc, status" in answer["details"]
    assert answer == {"ok": True}
