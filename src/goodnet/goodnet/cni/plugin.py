# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI plugin.

The container runtime starts the plugin for every pod, so the plugin only hands what it was given to the agent of this
host, one line of JSON over its Unix socket, and prints the answer. Without the modules json and socket, which it
needs in trouble only, it takes half of the time. The rest of it, `requests`, runs in the agent.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

from goodnet.errors import FAILED, IO_FAILURE, TRY_AGAIN, UNAVAILABLE, UNDECODABLE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SOCKET = "/run/goodnet/agent.sock"
VERSIONS = ("0.4.0", "1.0.0", "1.1.0")

# Seconds: how long an agent that restarts is waited for, and how long an answer may take.
PATIENCE = 3.0
LONGEST = 60.0
# How the agent's answer to the plugin begins; the exit status and the output follow.
ANSWERED = b'{"ok": true, "status": '


class AgentAway(CniError):
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
        return printed(text, CniError(code, problem.message, problem.details).as_error(), 1)
    except CniError as problem:
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
    raise CniError(FAILED, f"The agent of this host answered the plugin with {line!r}")


def printed(text: bytes, output: dict[str, Any], status: int = 0) -> int:
    """Print output with the version of the network configuration, if that says one."""
    import json

    try:
        version = decode(text.decode(errors="replace")).get("cniVersion")
    except CniError:
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
        raise CniError(found["code"], found["message"], found["details"])
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
                raise CniError(TRY_AGAIN, what, "It is asked again.")
            found += part
    except OSError as error:
        what = f"The agent of this host did not answer on {path}: {error}"
        raise CniError(TRY_AGAIN, what, "See `journalctl -u goodnet-agent`.") from None
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
            raise CniError(IO_FAILURE, f"The agent's socket {path} can not be used: {error}") from None


def decode(text: str) -> dict[str, Any]:
    import json

    try:
        config = json.loads(text)
    except ValueError as error:
        raise CniError(UNDECODABLE, f"The network configuration on standard input is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise CniError(UNDECODABLE, f"The network configuration on standard input is {config!r}, not a JSON object")
    return config
