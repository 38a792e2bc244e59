# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI plugin, and what the CNI specification wants of it.

The container runtime starts the plugin for every pod, so the plugin only hands what it was given to the agent of this
host, one line of JSON over its Unix socket, and prints what comes back. Without the modules json and socket, which it
needs in trouble only, it takes half of the time. `answer` is the rest of it, which runs in the agent.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    # Asks the agent itself: a request with "op" gets an answer, or raises a Problem.
    Ask = Callable[[dict[str, Any]], dict[str, Any]]

SOCKET = "/run/goodnet/agent.sock"
VERSIONS = ("0.4.0", "1.0.0", "1.1.0")
# What every pod has as its router; there is no such host, the address only leads to the virtual MAC.
ROUTER = "169.254.1.1"

# Error codes of the CNI specification, and our own from 100 on.
INCOMPATIBLE, UNKNOWN_CONTAINER, BAD_ENVIRONMENT, IO_FAILURE, UNDECODABLE, BAD_CONFIG = 1, 3, 4, 5, 6, 7
TRY_AGAIN, UNAVAILABLE, FAILED, NO_ADDRESS, DIFFERS = 11, 50, 100, 101, 102

# Seconds: how long an agent that restarts is waited for, and how long an answer may take.
PATIENCE = 3.0
LONGEST = 60.0
# How the agent's answer to the plugin begins; the exit status and the output follow.
ANSWERED = b'{"ok": true, "status": '


class Problem(Exception):
    """An error as the CNI specification wants it: code, message (what is wrong) and details (what to do)."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details

    def __str__(self) -> str:
        return f"{self.message}. {self.details}" if self.details else self.message

    def as_error(self) -> dict[str, Any]:
        """As the specification has it printed."""
        return {"code": self.code, "msg": self.message, "details": self.details}


class AgentAway(Problem):
    """Nobody listens on the agent's socket."""


def main(path: str = SOCKET) -> int:
    text = sys.stdin.buffer.read()
    command = os.environ.get("CNI_COMMAND", "")
    if command == "VERSION":
        return printed(text, {"supportedVersions": list(VERSIONS)})
    try:
        patience = PATIENCE if command in ("ADD", "CHECK", "GC") else 0
        return copied(exchange(path, request(os.environ, text), patience))
    except AgentAway as problem:
        if command == "DEL":
            # The agent removes what it finds without a network namespace when it is back.
            return 0
        code = UNAVAILABLE if command == "STATUS" else problem.code
        return printed(text, Problem(code, problem.message, problem.details).as_error(), 1)
    except Problem as problem:
        return printed(text, problem.as_error(), 1)


def request(environment: Mapping[str, str], text: bytes) -> bytes:
    """The line for the agent: all that the runtime said."""
    said = [f"{quoted(key)}: {quoted(value)}" for key, value in environment.items() if key.startswith("CNI_")]
    config = quoted(text.decode(errors="replace"))
    return f'{{"op": "cni", "environment": {{{", ".join(said)}}}, "config": {config}}}\n'.encode()


def quoted(text: str) -> str:
    """As JSON's string, in ASCII."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else escaped(c) for c in text)
    return f'"{plain}"'


def escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def copied(line: bytes) -> int:
    """Print the output that the agent's answer has, as it is, and give the exit status."""
    status, comma, output = line.removeprefix(ANSWERED).partition(b', "output": ')
    if comma and line.startswith(ANSWERED):
        output = output.rstrip()[:-1]
        if output != b"null":
            sys.stdout.buffer.write(output + b"\n")
        return int(status)
    understood(line)
    raise Problem(FAILED, f"The agent of this host answered the plugin with {line!r}")


def printed(text: bytes, output: dict[str, Any], status: int = 0) -> int:
    """Print output with the version of the network configuration, if that says one."""
    import json

    try:
        version = decode(text.decode(errors="replace")).get("cniVersion")
    except Problem:
        version = None
    print(json.dumps({"cniVersion": version or VERSIONS[-1], **output}))
    return status


def ask(config: Mapping[str, str], asked: dict[str, Any], patience: float = 0) -> dict[str, Any]:
    """The agent's answer to a request, for others than the plugin; config can say the socket."""
    import json

    line = json.dumps(asked).encode() + b"\n"
    return understood(exchange(config.get("socket", SOCKET), line, patience))


def understood(line: bytes) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(line)
    if not found["ok"]:
        raise Problem(found["code"], found["message"], found["details"])
    return found


def exchange(path: str, line: bytes, patience: float) -> bytes:
    """The agent's answer to a line; the agent is waited for that many seconds if it does not listen."""
    connection = connect(path, time.monotonic() + patience)
    found = b""
    try:
        connection.settimeout(LONGEST)
        connection.sendall(line)
        while not found.endswith(b"\n"):
            part = connection.recv(65536)
            if not part:
                what = f"The agent of this host ended before it answered on {path}"
                raise Problem(TRY_AGAIN, what, "It is asked again.")
            found += part
    except OSError as error:
        what = f"The agent of this host did not answer on {path}: {error}"
        raise Problem(TRY_AGAIN, what, "See `journalctl -u goodnet-agent`.") from None
    finally:
        connection.close()
    return found


def connect(path: str, until: float) -> _socket.socket:
    while True:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.settimeout(LONGEST)
        try:
            connection.connect(path)
            return connection
        except (FileNotFoundError, ConnectionRefusedError) as error:
            connection.close()
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            what = f"The agent of this host does not listen on {path}: {error.strerror}"
            raise AgentAway(TRY_AGAIN, what, "Look at `systemctl status goodnet-agent`.") from None
        except OSError as error:
            connection.close()
            raise Problem(IO_FAILURE, f"The agent's socket {path} can not be used: {error}") from None


def answer(environment: Mapping[str, str], text: str, agent: Ask) -> dict[str, Any]:
    """What the plugin is to do: {"status": its exit status, "output": what it prints, None for nothing}."""
    version = VERSIONS[-1]
    try:
        config = decode(text)
        version = config.get("cniVersion") or version
        output = run(environment, config, agent)
    except Problem as problem:
        return {"status": 1, "output": {"cniVersion": version, **problem.as_error()}}
    return {"status": 0, "output": None if output is None else {"cniVersion": version, **output}}


def decode(text: str) -> dict[str, Any]:
    import json

    try:
        config = json.loads(text)
    except ValueError as error:
        raise Problem(UNDECODABLE, f"The network configuration on standard input is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise Problem(UNDECODABLE, f"The network configuration on standard input is {config!r}, not a JSON object")
    return config


def run(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> dict[str, Any] | None:
    """Carry out CNI_COMMAND and give what is to be printed."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise Problem(BAD_ENVIRONMENT, f"CNI_COMMAND is {command!r}", f"It can be {', '.join(COMMANDS)} or VERSION.")
    if config.get("cniVersion") not in VERSIONS:
        found = config.get("cniVersion")
        raise Problem(
            INCOMPATIBLE, f"The network configuration has cniVersion {found!r}", f"It can be {', '.join(VERSIONS)}."
        )
    return COMMANDS[command](environment, config, agent)


def add(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> dict[str, Any]:
    named = attachment(environment, netns=True)
    pod = pod_of(environment)
    if config.get("prevResult"):
        raise Problem(
            BAD_CONFIG, "GoodNet is chained after another plugin (there is a prevResult)", "Make it the first plugin."
        )
    return result(config["cniVersion"], named, agent({"op": "add", **named, **pod}))


def delete(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    named = attachment(environment)
    try:
        agent({"op": "del", **named})
    except Problem as problem:
        # One that is not ready removes later what it finds without a network namespace.
        if problem.code != TRY_AGAIN:
            raise


def check(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    previous = config.get("prevResult")
    if not isinstance(previous, dict):
        raise Problem(BAD_CONFIG, "CHECK without a prevResult", "The runtime has to pass on what ADD printed.")
    addresses = [str(ip.get("address", "")).partition("/")[0] for ip in previous.get("ips") or ()]
    agent({"op": "check", **attachment(environment, netns=True), "addresses": addresses})


def collect(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    valid = config.get("cni.dev/valid-attachments")
    if not isinstance(valid, list):
        raise Problem(BAD_CONFIG, "GC without a list in cni.dev/valid-attachments", "It has to say what is alive.")
    try:
        pairs = [[entry["containerID"], entry["ifname"]] for entry in valid]
    except (KeyError, TypeError):
        raise Problem(BAD_CONFIG, "An entry of cni.dev/valid-attachments has no containerID or no ifname") from None
    agent({"op": "gc", "valid": pairs})


def status(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    try:
        agent({"op": "status"})
    except Problem as problem:
        raise Problem(UNAVAILABLE, problem.message, problem.details) from None


COMMANDS = {"ADD": add, "DEL": delete, "CHECK": check, "GC": collect, "STATUS": status}


def attachment(environment: Mapping[str, str], netns: bool = False) -> dict[str, str]:
    """What the runtime names: the container, the name of its interface, its network namespace."""
    found = {
        "container": environment.get("CNI_CONTAINERID", ""),
        "ifname": environment.get("CNI_IFNAME", ""),
        "netns": environment.get("CNI_NETNS", ""),
    }
    container, ifname = found["container"], found["ifname"]
    if not container[:1].isalnum() or not container.translate({ord(c): "a" for c in "_.-"}).isalnum():
        raise Problem(
            BAD_ENVIRONMENT,
            f"CNI_CONTAINERID is {container!r}",
            "It has to start with a letter or digit and to have only these, '_', '.' and '-'.",
        )
    if not 1 <= len(ifname) <= 15 or ifname in (".", "..") or any(c in "/:" or c.isspace() for c in ifname):
        raise Problem(
            BAD_ENVIRONMENT,
            f"CNI_IFNAME is {ifname!r}",
            "It has to be the name of an interface, of at most 15 characters.",
        )
    if netns and not found["netns"].startswith("/"):
        raise Problem(
            BAD_ENVIRONMENT,
            f"CNI_NETNS is {found['netns']!r}",
            "It has to be the absolute path of the pod's network namespace.",
        )
    return found


def pod_of(environment: Mapping[str, str]) -> dict[str, str]:
    arguments = dict(pair.partition("=")[::2] for pair in environment.get("CNI_ARGS", "").split(";"))
    pod = {key: arguments.get(f"K8S_POD_{key.upper()}", "") for key in ("namespace", "name", "uid")}
    for key in ("namespace", "name"):
        if not pod[key]:
            raise Problem(
                BAD_ENVIRONMENT,
                f"CNI_ARGS has no K8S_POD_{key.upper()}",
                "GoodNet puts a pod into the network of its namespace's tenant, so the runtime has to name the pod.",
            )
    return pod


def result(version: str, named: dict[str, str], wired: dict[str, Any]) -> dict[str, Any]:
    """The result of ADD in the shape of that version of the specification."""
    host = {"name": wired["host"], "mac": wired["host_mac"]}
    pod = {"name": named["ifname"], "mac": wired["mac"], "sandbox": named["netns"]}
    address = {"address": f"{wired['address']}/32", "interface": 1, "gateway": ROUTER}
    if version == "0.4.0":
        address["version"] = "4"
    if version == "1.1.0":
        host["mtu"] = pod["mtu"] = wired["mtu"]
    routes = [{"dst": f"{ROUTER}/32"}, {"dst": "0.0.0.0/0", "gw": ROUTER}]
    return {"interfaces": [host, pod], "ips": [address], "routes": routes, "dns": {}}
