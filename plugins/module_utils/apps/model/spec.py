# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app is to be, in one normal form, and what a release records of it. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shlex
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import (
    IMAGE_DIGEST,
    IMAGE_HOST,
    IMAGE_PATH,
    IMAGE_TAG,
)

from .arguments import APP, PORT, RUN, SCHEDULE, Arguments
from .options import LABEL, Checker, check, encodable
from .release_spec import Port, Process, ReleasedFile, ReleaseSpec, Resources, main_process, recorded
from .schedule import wrong_schedule, wrong_time_zone
from .types import DEFAULT, ON_HOSTS, TYPES

if TYPE_CHECKING:
    from .bindings import Binding

SERVICE_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
DOMAIN = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*\Z")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MAX_REPLICAS = 10000
MAX_INSTANCES = 100
MAX_CONTENT = 1_000_000
NODE_LABEL = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
PORT_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})\Z")
# Where the ports of hosts are recorded.
PORTS_NAMESPACE = "cloudbang-ports"
SYSTEM_TENANTS = ("kube-system", "kube-public", "kube-node-lease", PORTS_NAMESPACE)


@dataclass(frozen=True)
class File:
    """A configuration file of every process of an app."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    secret: bool


@dataclass(frozen=True)
class WantedBuild:
    """The build that an app is to run as, by its number, and the checked options that its record will complete."""

    number: int
    options: dict[str, Any] = field(repr=False)
    where: str = ""


@dataclass(frozen=True)
class App:
    """An app as one task wants it. `image` is None when the task only starts, stops or removes an existing app.

    With `build` it is not final: image and processes are those of the build, which the cluster has.
    """

    name: str
    tenant: str
    state: str
    image: str | None
    type: str
    processes: tuple[Process, ...]
    replicas: dict[str, int]
    env: dict[str, str]
    secret_env: dict[str, str] = field(repr=False)
    files: tuple[File, ...]
    domains: tuple[str, ...]
    ingress_class: str | None
    image_pull_secrets: tuple[str, ...]
    drain: int
    grace: int
    keep_releases: int
    strategy: str = "rolling"
    restart_key: str | None = None
    host_ports: tuple[int, int] = (20000, 24999)
    force: bool = False
    # What a stack says of its members; the bindings there are stay unless they are named here.
    stack: str | None = None
    bindings: tuple[Binding, ...] = ()
    unbind: tuple[tuple[str, str, str], ...] = ()
    build: WantedBuild | None = None

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.name}"

    @property
    def secrets(self) -> list[str]:
        """Every value that must not appear in an output."""
        files = [entry.content.decode("utf-8", "replace") for entry in self.files if entry.secret]
        bound = [value for binding in self.bindings for value in binding.secret_env.values()]
        return [value for value in (*self.secret_env.values(), *files, *bound) if value]


class AppChecker(Checker):
    """Gives the parts of an app their normal form."""

    def image(self, image: str, allow_latest: bool) -> None:
        rest, at, digest = image.partition("@")
        if at and not IMAGE_DIGEST.match(digest):
            self.wrong("image", image, "a digest of the form @sha256: and 64 hexadecimal digits")
        slash = rest.rfind("/")
        colon = rest.rfind(":")
        path, tag = (rest[:colon], rest[colon + 1 :]) if colon > slash else (rest, None)
        host, separator, tail = path.partition("/")
        if separator and ("." in host or ":" in host or host == "localhost"):
            if not IMAGE_HOST.match(host):
                self.wrong("image", image, "registry/path:tag with a registry host name or address")
            path = tail
        if not image:
            self.wrong("image", image, "registry/path:tag or registry/path@sha256:digest")
        elif not IMAGE_PATH.match(path):
            self.wrong("image", image, "a path of lowercase letters, digits and . _ - between slashes")
        elif tag is not None and not IMAGE_TAG.match(tag):
            self.wrong("image", image, "a tag of at most 128 letters, digits, _ . -")
        elif not at and not allow_latest and tag in (None, "latest"):
            self.wrong("image", image, "a fixed tag or a digest (or allow_latest: true)")

    def arguments(self, option: str, value: Any) -> tuple[str, ...] | None:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = shlex.split(value)
            except ValueError as error:
                self.wrong(option, value, f"a command line or a list ({error})")
                return None
        if isinstance(value, list) and all(
            isinstance(entry, (str, int, float)) and not isinstance(entry, bool) for entry in value
        ):
            texts = tuple(str(entry) for entry in value)
            if all(encodable(entry) and "\0" not in entry for entry in texts):
                return texts
            self.wrong(option, value, "UTF-8 texts without NUL characters")
            return None
        self.wrong(option, value, "a command line or a list of texts")
        return None

    def ports(self, option: str, given: list[Any]) -> tuple[Port, ...]:
        ports: list[Port] = []
        for number, entry in enumerate(given):
            where = f"{option}[{number}]"
            values, found = check(PORT, entry if isinstance(entry, dict) else {"port": entry}, self.where + where)
            if found:
                self.findings += found
                continue
            self.between(where if not isinstance(entry, dict) else where + ".port", values["port"], 1, 65535)
            name = values["name"]
            if name is not None and (len(name) > 15 or not PORT_NAME.match(name)):
                self.wrong(where + ".name", name, "at most 15 lowercase letters, digits and single -, with a letter")
            ports.append(Port(**{**values, "name": name or ""}))
        for key in ("port", "name"):
            seen: set[Any] = set()
            for number, port in enumerate(ports):
                value = getattr(port, key)
                mark = (value, port.protocol) if key == "port" else value
                if mark in seen and value != "":
                    self.wrong(f"{option}[{number}]", value, f"each {key} once")
                seen.add(mark)
        return tuple(ports)

    def amounts(self, option: str, given: dict[str, Any] | None) -> dict[str, str]:
        amounts: dict[str, str] = {}
        for name, text in (given or {}).items():
            if text is None:
                continue
            value = quantity(text)
            example = "a quantity such as 100m, 0.5 or 2" if name == "cpu" else "a quantity such as 64Mi, 512M or 2Gi"
            if value is None or value < 0:
                self.wrong(f"{option}.{name}", text, example)
            elif name == "cpu" and value != 0 and value < Decimal("0.001"):
                self.wrong(f"{option}.{name}", text, "1m or more")
            elif name != "cpu" and 0 < value < 1024**2:
                self.wrong(f"{option}.{name}", text, f"1Mi or more, {example}")
            else:
                amounts[name.replace("_", "-")] = text.strip()
        return amounts

    def resources(self, option: str, given: dict[str, Any] | None) -> Resources:
        requests = self.amounts(option + ".requests", (given or {}).get("requests"))
        limits = self.amounts(option + ".limits", (given or {}).get("limits"))
        for name in sorted(set(requests) & set(limits)):
            if (quantity(requests[name]) or 0) > (quantity(limits[name]) or 0):
                self.wrong(f"{option}.requests.{name}", requests[name], f"no more than the limit {limits[name]}")
        return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}

    def probe(self, option: str, given: dict[str, Any] | None, ports: tuple[Port, ...]) -> dict[str, Any] | None:
        if given is None:
            return None
        kinds = [kind for kind in ("http", "tcp", "command") if given.get(kind)]
        if len(kinds) != 1:
            self.wrong(option, " and ".join(kinds) or None, "one of http (a path), tcp (true) or command (a list)")
            return None
        probe = {key: value for key, value in given.items() if value is not None}
        if kinds[0] == "http" and not str(given["http"]).startswith("/"):
            self.wrong(option + ".http", given["http"], "a path that starts with /")
        if kinds[0] != "command" and "port" not in probe:
            tcp = [port.port for port in ports if port.protocol == "TCP"]
            if tcp:
                probe["port"] = tcp[0]
            else:
                self.wrong(option, None, "a port, because the process has no TCP port")
        self.between(option + ".port", probe.get("port"), 1, 65535)
        self.between(option + ".initial_delay", probe.get("initial_delay"), 0, 3600)
        for name in ("period", "timeout", "failures"):
            self.between(f"{option}.{name}", probe.get(name), 1, 3600)
        return probe

    def process(self, option: str, given: dict[str, Any], app: dict[str, Any]) -> Process:
        name, kind = given["name"] or "", app["type"]
        longest = TYPES[kind].longest
        if not LABEL.match(name):
            self.wrong(option + ".name", name, "lowercase letters, digits and - (RFC 1123 label)")
        elif len(app["name"] or "") + 1 + len(name) > longest:
            wanted = f"at most {longest} characters together with the app's name {app['name']} and a dash"
            self.wrong(option + ".name", name, wanted)
        if TYPES[kind].lasting:
            self.between(option + ".replicas", given["replicas"], 0, MAX_REPLICAS)
        else:
            if given["replicas"] not in (None, 1):
                self.wrong(option + ".replicas", given["replicas"], f"none, because type is {kind}: see parallelism")
            for part in ("ports", "readiness"):
                if given[part]:
                    self.wrong(f"{option}.{part}", given[part], f"none, because type is {kind}")
        ports = self.ports(option + ".ports", given["ports"] or [])
        process = Process(
            name=name,
            command=self.arguments(option + ".command", given["command"]),
            args=self.arguments(option + ".args", given["args"]),
            ports=ports,
            resources=self.resources(option + ".resources", given["resources"]),
            readiness=self.probe(option + ".readiness", given["readiness"], ports),
            liveness=self.probe(option + ".liveness", given["liveness"], ports),
            startup=self.probe(option + ".startup", given["startup"], ports),
            placement=self.placement(option + ".placement", given["placement"]),
        )
        return replace(
            process,
            host_network=self.host_network(option + ".host_network", given, process, app),
            schedule=self.schedule(option, given, kind),
            run=self.run(option, given, kind),
        )

    def port_range(self, option: str, text: str | None) -> tuple[int, int]:
        found = PORT_RANGE.match(text or "")
        low, high = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1024 <= low <= high <= 65535:
            self.wrong(option, text, "a range of ports in 1024 to 65535, such as 20000-24999")
        return low, high

    def placement(self, option: str, given: dict[str, Any] | None) -> dict[str, Any]:
        """Return where the pods may run, without what is so by default."""
        if not given:
            return {}
        placement: dict[str, Any] = {}
        if given["spread"] not in (None, "hosts"):
            placement["spread"] = given["spread"]
        for name, value in sorted((given["node_labels"] or {}).items()):
            if isinstance(value, bool):
                value = "true" if value else "false"
            if not NODE_LABEL.match(name):
                self.wrong(
                    f"{option}.node_labels.{name}", name, "the name of a label, such as topology.kubernetes.io/zone"
                )
            elif not isinstance(value, (str, int, float)) or not LABEL_VALUE.match(str(value)):
                self.wrong(f"{option}.node_labels.{name}", value, "at most 63 letters, digits and - _ .")
            else:
                placement.setdefault("node_labels", {})[name] = str(value)
        for number, name in enumerate(given["tolerations"] or []):
            if not isinstance(name, str) or not NODE_LABEL.match(name):
                self.wrong(f"{option}.tolerations[{number}]", name, "the name of a taint, such as example.org/gpu")
            elif name in placement.setdefault("tolerations", []):
                self.wrong(f"{option}.tolerations[{number}]", name, "each taint once")
            else:
                placement["tolerations"].append(name)
        return placement

    def host_network(self, option: str, given: dict[str, Any], process: Process, app: dict[str, Any]) -> bool:
        if not given["host_network"]:
            return False
        if app["type"] not in ON_HOSTS:
            takers = " and ".join(ON_HOSTS)
            self.wrong(option, True, f"false, because type is {app['type']}: only {takers} support it")
        if app["strategy"] == "blue_green":
            wanted = "strategy rolling or recreate: an instance has one port, so two cannot run at once"
            self.wrong(option, True, wanted)
        if not process.ports:
            self.wrong(option, True, "ports of the process, for which each instance gets numbers of its own")
        if given["replicas"] is not None and not 1 <= given["replicas"] <= MAX_INSTANCES:
            self.wrong(option, f"{given['replicas']} replicas", f"1 to {MAX_INSTANCES} replicas with host_network")
        declared = [port.port for port in process.ports if port.protocol == "TCP"]
        for name, probe in process.probes.items():
            port = (probe or {}).get("port")
            if port is not None and port not in declared:
                where = f"{option.rpartition('.')[0]}.{name}.port"
                self.wrong(where, port, "one of the process's own TCP ports, because of host_network")
        return True

    def schedule(self, option: str, given: dict[str, Any], kind: str) -> dict[str, Any]:
        """Return when a cron process starts."""
        if not TYPES[kind].scheduled:
            for name in SCHEDULE:
                if given[name] is not None:
                    self.wrong(f"{option}.{name}", given[name], f"none, because type is {kind}")
            return {}
        text = given["schedule"]
        wanted = wrong_schedule(text) if text is not None else f"when it starts, such as @daily, because type is {kind}"
        if wanted:
            self.wrong(option + ".schedule", text, wanted)
        if given["time_zone"] is not None and wrong_time_zone(given["time_zone"]):
            self.wrong(option + ".time_zone", given["time_zone"], "a time zone such as Europe/Berlin or Etc/UTC")
        self.between(option + ".start_deadline", given["start_deadline"], 10, 10**6)
        history = {name: value for name, value in (given["history"] or {}).items() if value is not None}
        for name, value in history.items():
            self.between(f"{option}.history.{name}", value, 0, 1000)
        schedule = {name: given[name] for name in ("time_zone", "start_deadline") if given[name] is not None}
        return {
            **schedule,
            "at": " ".join((text or "").split()),
            "concurrency": given["concurrency"] or "forbid",
            "history": {"succeeded": history.get("succeeded", 3), "failed": history.get("failed", 1)},
        }

    def run(self, option: str, given: dict[str, Any], kind: str) -> dict[str, int]:
        """Return how a process that runs to an end does so."""
        if TYPES[kind].lasting:
            for name in RUN:
                if given[name] is not None:
                    self.wrong(f"{option}.{name}", given[name], f"none, because type is {kind}")
            return {}
        for name, low, high in (("parallelism", 1, 1000), ("completions", 1, 10**6), ("retries", 0, 1000)):
            self.between(f"{option}.{name}", given[name], low, high)
        self.between(option + ".deadline", given["deadline"], 1, 10**8)
        run: dict[str, int] = {"retries": 3}
        run.update({name: given[name] for name in RUN if given[name] is not None})
        return run

    def processes(self, app: dict[str, Any]) -> tuple[tuple[Process, ...], dict[str, int]]:
        given = app["processes"] or [check(_process_options(), {"name": app["type"] or DEFAULT})[0]]
        numbered = [(number, entry) for number, entry in enumerate(given) if entry]
        processes = [self.process(f"processes[{number}]", entry, app) for number, entry in numbered]
        names = [process.name for process in processes]
        on_hosts = [process.name for process in processes if process.host_network]
        for number, name in enumerate(names):
            if name in names[:number]:
                self.wrong(f"processes[{number}].name", name, "each process once")
            if re.sub(r"-[0-9]+\Z", "", name) in set(on_hosts) - {name}:
                wanted = "another name, because an instance of host_network has it"
                self.wrong(f"processes[{number}].name", name, wanted)
        routed = main_process(app["type"], processes)
        listens = TYPES[app["type"]].listens
        if listens and routed is None:
            self.wrong("processes", ", ".join(names), f"a process with a TCP port, because type is {app['type']}")
        replicas = {process.name: entry["replicas"] for process, (_number, entry) in zip(processes, numbered)}
        return tuple(_completed(process, process is routed, listens) for process in processes), replicas

    def environment(self, app: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        result: list[dict[str, str]] = []
        size = 0
        for option in ("env", "secret_env"):
            secret = option == "secret_env"
            values: dict[str, str] = {}
            for name, value in (app[option] or {}).items():
                where = f"{option}.{name}"
                if not ENV_NAME.match(name):
                    self.wrong(where, name, "a name of letters, digits and _ that does not start with a digit")
                if isinstance(value, bool):
                    value = "true" if value else "false"
                if not isinstance(value, (str, int, float)):
                    self.wrong(where, value, "text", secret)
                    continue
                data = self.content(where, str(value), secret)
                if b"\0" in data:
                    self.wrong(where, str(value), "text without NUL characters", secret)
                size += len(name) + len(data)
                values[name] = str(value)
            result.append(values)
        for name in sorted(set(result[0]) & set(result[1])):
            self.wrong(f"secret_env.{name}", "the same name in env", "it in one of them")
        if size > MAX_CONTENT:
            self.wrong("env", f"{size} bytes", f"at most {MAX_CONTENT} bytes together")
        return result[0], result[1]

    def content(self, where: str, value: str, secret: bool) -> bytes:
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError:
            self.wrong(where, "bytes that are not UTF-8", "UTF-8 text", secret)
            return b""

    def files(self, app: dict[str, Any]) -> tuple[File, ...]:
        files: list[File] = []
        paths: set[str] = set()
        for option in ("files", "secret_files"):
            secret = option == "secret_files"
            for number, given in enumerate(app[option] or []):
                where = f"{option}[{number}]"
                if not given or given["path"] is None or given["content"] is None:
                    continue
                path = given["path"]
                if not path.startswith("/") or path.endswith("/") or ":" in path or ".." in path.split("/"):
                    self.wrong(where + ".path", path, "an absolute path of a file, without : and ..")
                elif path in paths:
                    self.wrong(where + ".path", path, "each path once")
                paths.add(path)
                files.append(
                    File(
                        path=path,
                        content=self.content(where + ".content", given["content"], secret),
                        mode=self.mode(where + ".mode", given["mode"]),
                        secret=secret,
                    )
                )
        size = sum(len(entry.content) for entry in files)
        if size > MAX_CONTENT:
            self.wrong("files", f"{size} bytes", f"at most {MAX_CONTENT} bytes together")
        return tuple(files)

    def mode(self, where: str, given: Any) -> int:
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 0o777:
            return given
        if isinstance(given, str) and re.match(r"0?[0-7]{3}\Z", given):
            return int(given, 8)
        self.wrong(where, given, 'an octal mode as text, such as "0444"')
        return 0o444

    def domains(self, given: list[str]) -> tuple[str, ...]:
        for number, domain in enumerate(given):
            where = f"domains[{number}]"
            if len(domain) > 253 or not DOMAIN.match(domain) or any(len(part) > 63 for part in domain.split(".")):
                self.wrong(where, domain, "a lowercase host name such as shop.example.org")
            elif re.match(r"[0-9.]+\Z", domain):
                self.wrong(where, domain, "a host name, not an address")
            elif domain in given[:number]:
                self.wrong(where, domain, "each domain once")
        return tuple(given)


def _process_options() -> Arguments:
    options: Arguments = APP["processes"]["options"]
    return options


def _completed(process: Process, routed: bool, listens: bool) -> Process:
    """Return a process with a name for each port, and a probe of what requests are led to."""
    first, readiness = process.tcp, process.readiness
    if routed and listens and readiness is None and first is not None:
        readiness = {"tcp": True, "port": first.port}
    http = "" if any(port.name == "http" for port in process.ports) else "http"
    ports = tuple(
        replace(port, name=port.name or (routed and port is first and http) or f"{port.protocol.lower()}-{port.port}")
        for port in process.ports
    )
    return replace(process, readiness=readiness, ports=ports)


def names(name: str | None, tenant: str | None, where: str = "") -> list[Finding]:
    """Return what is wrong with the name of an app and of its tenant."""
    checker = AppChecker(where)
    if name is None:
        checker.wrong("name", None, "the app's name")
    elif len(name) > 52 or not SERVICE_LABEL.match(name):
        checker.wrong("name", name, "at most 52 lowercase letters, digits and -, a letter first (RFC 1123 label)")
    if tenant is None:
        checker.wrong("tenant", None, "the tenant's name, which is its namespace")
    elif len(tenant) > 63 or not LABEL.match(tenant):
        checker.wrong("tenant", tenant, "at most 63 lowercase letters, digits and - (RFC 1123 label)")
    elif tenant in SYSTEM_TENANTS:
        checker.wrong("tenant", tenant, "a namespace that is not the cluster's own")
    return checker.findings


def parse_app(given: dict[str, Any], where: str = "") -> tuple[App | None, list[Finding]]:
    """Return an app from its checked options, or None and the problems."""
    # An option with a value that is none of its choices is reported already, and taken as the default here.
    given = {**given, "type": given["type"] or DEFAULT, "strategy": given["strategy"] or "rolling"}
    given["host_ports"] = given["host_ports"] or APP["host_ports"]["default"]
    checker = AppChecker(where)
    checker.findings += names(given["name"], given["tenant"], where)
    image = given["image"]
    if image is not None:
        checker.image(image, given["allow_latest"])
    elif given["state"] == "present":
        checker.wrong("image", None, "the image to run, because state is present")
    processes: tuple[Process, ...] = ()
    replicas: dict[str, int] = {}
    if image is not None:
        processes, replicas = checker.processes(given)
    if given["domains"] and not TYPES[given["type"]].routed:
        checker.wrong("domains", given["domains"], f"no domains, because type is {given['type']}")
    elif given["domains"] and image is not None and main_process(given["type"], processes) is None:
        checker.wrong("domains", given["domains"], "a process with a TCP port for them")
    allowed = TYPES[given["type"]].strategies
    if given["strategy"] not in allowed:
        wanted = f"{' or '.join(allowed)}, because type is {given['type']}"
        checker.wrong("strategy", given["strategy"], wanted)
    if given["restart_key"] is not None and not 0 < len(given["restart_key"]) <= 253:
        checker.wrong("restart_key", given["restart_key"], "a text of 1 to 253 characters")
    env, secret_env = checker.environment(given)
    for process in processes:
        if process.host_network:
            for name in sorted({"PORT", *(port.variable for port in process.ports)} & {*env, *secret_env}):
                wanted = f"none, because host_network of process {process.name} sets it"
                checker.wrong(f"env.{name}", "a value", wanted)
    checker.between("drain", given["drain"], 0, 3600)
    checker.between("grace", given["grace"], 1, 86400)
    checker.between("keep_releases", given["keep_releases"], 1, 1000)
    for number, secret in enumerate(given["image_pull_secrets"] or []):
        if len(secret) > 253 or not DOMAIN.match(secret):
            checker.wrong(f"image_pull_secrets[{number}]", secret, "the name of a Secret in the tenant's namespace")
    if given["ingress_class"] is not None and not DOMAIN.match(given["ingress_class"]):
        checker.wrong("ingress_class", given["ingress_class"], "the name of an IngressClass")
    app = App(
        name=given["name"] or "",
        tenant=given["tenant"] or "",
        state=given["state"],
        image=image,
        type=given["type"],
        processes=processes,
        replicas=replicas,
        env=env,
        secret_env=secret_env,
        files=checker.files(given),
        domains=checker.domains(given["domains"] or []),
        ingress_class=given["ingress_class"],
        image_pull_secrets=tuple(given["image_pull_secrets"] or []),
        drain=given["drain"],
        grace=given["grace"],
        keep_releases=given["keep_releases"],
        strategy=given["strategy"],
        restart_key=given["restart_key"],
        host_ports=checker.port_range("host_ports", given["host_ports"]),
        force=bool(given["force"]),
    )
    return (None if checker.findings else app), checker.findings


def canonical(value: Any) -> bytes:
    """Return the one JSON form of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def fingerprint(salt: str, value: bytes, length: int = 16) -> str:
    """Return a keyed digest: the same for the same content of one app, and no help in guessing a secret."""
    return hmac.new(salt.encode(), value, hashlib.sha256).hexdigest()[:length]


class Content(NamedTuple):
    """A content-hashed Secret: its name and its data, key to bytes."""

    name: str
    data: dict[str, bytes]


def digest_of(spec: ReleaseSpec, salt: str) -> str:
    """Return the digest that tells releases of different content apart."""
    return fingerprint(salt, canonical(recorded(spec)))


def release_spec(app: App, salt: str) -> tuple[ReleaseSpec, list[Content]]:
    """Return what a release records of an app that has an image, and the Secrets that it refers to."""
    if app.image is None:
        raise AssertionError(f"app {app.key} has no image, so it makes no release")
    contents: list[Content] = []
    env_secret = files_secret = None
    if app.env or app.secret_env:
        data = {name: value.encode() for name, value in sorted({**app.env, **app.secret_env}.items())}
        contents.append(content_of(app.name, "env", data, salt))
        env_secret = contents[-1].name
    ordered = sorted(app.files, key=lambda file: file.path)
    files = tuple(
        ReleasedFile(
            path=entry.path,
            key=file_key(entry.path),
            mode=entry.mode,
            secret=entry.secret,
            content=fingerprint(salt, entry.content, 12),
        )
        for entry in ordered
    )
    if files:
        data = {file_key(entry.path): entry.content for entry in ordered}
        contents.append(content_of(app.name, "files", data, salt))
        files_secret = contents[-1].name
    spec = ReleaseSpec(
        image=app.image,
        type=app.type,
        processes=app.processes,
        env=dict(sorted(app.env.items())),
        secret_env={name: fingerprint(salt, value.encode(), 12) for name, value in sorted(app.secret_env.items())},
        files=files,
        image_pull_secrets=app.image_pull_secrets,
        drain=app.drain,
        grace=app.grace,
        env_secret=env_secret,
        files_secret=files_secret,
        strategy=app.strategy,
    )
    return spec, contents


def file_key(path: str) -> str:
    """Return the key that a file has in the Secret of the files."""
    return "f" + hashlib.sha256(path.encode()).hexdigest()[:12]


def content_of(app: str, kind: str, data: dict[str, bytes], salt: str) -> Content:
    """Return the Secret for data of an app, named by what is in it."""
    digest = fingerprint(salt, canonical({key: value.hex() for key, value in data.items()}), 12)
    return Content(f"{app}.{kind}.{digest}", data)
