# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CNI specification wants of a plugin, carried out in the agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from goodnet.cni.plugin import VERSIONS, decode
from goodnet.errors import BAD_CONFIG, BAD_ENVIRONMENT, INCOMPATIBLE, TRY_AGAIN, UNAVAILABLE, CniError
from goodnet.model import ROUTER

# Asks the agent itself: a request with "op" gets an answer, or raises a CniError.
Ask = Callable[[dict[str, Any]], dict[str, Any]]


def answer(environment: Mapping[str, str], text: str, agent: Ask) -> dict[str, Any]:
    """What the plugin is to do: {"status": its exit status, "output": what it prints, None for nothing}."""
    version = VERSIONS[-1]
    try:
        config = decode(text)
        version = config.get("cniVersion") or version
        output = run(environment, config, agent)
    except CniError as problem:
        return {"status": 1, "output": {"cniVersion": version, **problem.as_error()}}
    return {"status": 0, "output": None if output is None else {"cniVersion": version, **output}}


def run(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> dict[str, Any] | None:
    """Carry out CNI_COMMAND and return the text to print."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND is {command!r}", f"It can be {', '.join(COMMANDS)} or VERSION.")
    if config.get("cniVersion") not in VERSIONS:
        found = config.get("cniVersion")
        raise CniError(
            INCOMPATIBLE, f"The network configuration has cniVersion {found!r}", f"It can be {', '.join(VERSIONS)}."
        )
    return COMMANDS[command](environment, config, agent)


def add(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> dict[str, Any]:
    named = attachment(environment, netns=True)
    pod = pod_of(environment)
    if config.get("prevResult"):
        raise CniError(
            BAD_CONFIG, "GoodNet is chained after another plugin (there is a prevResult)", "Make it the first plugin."
        )
    return result(config["cniVersion"], named, agent({"op": "add", **named, **pod}))


def delete(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    named = attachment(environment)
    try:
        agent({"op": "del", **named})
    except CniError as problem:
        # One that is not ready removes later what it finds without a network namespace.
        if problem.code != TRY_AGAIN:
            raise


def check(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    previous = config.get("prevResult")
    if not isinstance(previous, dict):
        raise CniError(BAD_CONFIG, "CHECK without a prevResult", "The runtime has to pass on what ADD printed.")
    addresses = [str(ip.get("address", "")).partition("/")[0] for ip in previous.get("ips") or ()]
    agent({"op": "check", **attachment(environment, netns=True), "addresses": addresses})


def collect(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    valid = config.get("cni.dev/valid-attachments")
    if not isinstance(valid, list):
        raise CniError(BAD_CONFIG, "GC without a list in cni.dev/valid-attachments", "It has to say what is alive.")
    try:
        pairs = [[entry["containerID"], entry["ifname"]] for entry in valid]
    except (KeyError, TypeError):
        raise CniError(BAD_CONFIG, "An entry of cni.dev/valid-attachments has no containerID or no ifname") from None
    agent({"op": "gc", "valid": pairs})


def status(environment: Mapping[str, str], config: dict[str, Any], agent: Ask) -> None:
    try:
        agent({"op": "status"})
    except CniError as problem:
        raise CniError(UNAVAILABLE, problem.message, problem.details) from None


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
        raise CniError(
            BAD_ENVIRONMENT,
            f"CNI_CONTAINERID is {container!r}",
            "It has to start with a letter or digit and to have only these, '_', '.' and '-'.",
        )
    if not 1 <= len(ifname) <= 15 or ifname in (".", "..") or any(c in "/:" or c.isspace() for c in ifname):
        raise CniError(
            BAD_ENVIRONMENT,
            f"CNI_IFNAME is {ifname!r}",
            "It has to be the name of an interface, of at most 15 characters.",
        )
    if netns and not found["netns"].startswith("/"):
        raise CniError(
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
            raise CniError(
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
