# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Check what a task asks for, all of it before anything changes, and give it one normal form.

Pure: plain data in, plain data and a list of `Problem` out. A problem names the option, what was found and what is
wanted; values of options that carry secrets are never repeated.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from .arguments import APP, PORT, Arguments, arguments

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
SERVICE_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
DOMAIN = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*\Z")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
QUANTITY = re.compile(r"\+?(?P<number>\d+\.?\d*|\.\d+)(?P<suffix>m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?\d+)?\Z")
IMAGE_PATH = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\Z")
IMAGE_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]+)?\Z")
IMAGE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
IMAGE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
POWERS = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18, "m": -3}
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
MAX_REPLICAS = 10000
MAX_CONTENT = 1_000_000
TRUE = ("yes", "true", "on", "1", "y", "t")
FALSE = ("no", "false", "off", "0", "n", "f")
SYSTEM_TENANTS = ("kube-system", "kube-public", "kube-node-lease")


class Problem(NamedTuple):
    """One thing that is wrong with what the task asks for."""

    option: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.option}: found {self.found}, wanted {self.wanted}"


class Invalid(Exception):
    """What the task asks for cannot be done; `problems` is the whole list."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


@dataclass(frozen=True)
class File:
    """A configuration file of every process of an app."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    secret: bool


@dataclass(frozen=True)
class App:
    """An app as one task wants it. `image` is None when the task only starts, stops or removes an existing app."""

    name: str
    tenant: str
    state: str
    image: str | None
    type: str
    processes: tuple[dict[str, Any], ...]
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

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.name}"

    @property
    def secrets(self) -> list[str]:
        """Every value that must not appear in an output."""
        files = [entry.content.decode("utf-8", "replace") for entry in self.files if entry.secret]
        return [value for value in (*self.secret_env.values(), *files) if value]


def plain(value: Any) -> Any:
    """Return the value as plain JSON types. A key that is no text becomes `<key>`, which no check accepts."""
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, str) else f"<{key!r}>": plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def shown(value: Any, secret: bool = False) -> str:
    """Return how a message shows a value: as JSON, shortened; only its type when it is a secret."""
    if value is None:
        return "nothing"
    if secret:
        return f"a {_TYPE_NAMES.get(type(value).__name__, 'value')} (not shown)"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:117] + "..."


_TYPE_NAMES = {"str": "text", "bool": "boolean", "int": "number", "float": "number", "list": "list", "dict": "mapping"}
_WANTED = {
    "str": "text",
    "path": "a path",
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}


def _converted(value: Any, kind: str) -> Any:
    """Return the value as the kind of option; ValueError when it is something else."""
    if kind == "raw":
        return value
    if kind in ("str", "path") and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return os.path.expanduser(os.path.expandvars(str(value))) if kind == "path" else str(value)
    if kind == "int" and not isinstance(value, bool):
        if isinstance(value, int):
            return value
        if isinstance(value, str) and re.match(r"[+-]?[0-9]+\Z", value.strip()):
            return int(value)
    if kind == "bool":
        if isinstance(value, bool):
            return value
        if str(value).lower() in TRUE:
            return True
        if str(value).lower() in FALSE:
            return False
    if (kind == "list" and isinstance(value, list)) or (kind == "dict" and isinstance(value, dict)):
        return value
    raise ValueError(kind)


def check(options: Arguments, given: Any, where: str = "") -> tuple[dict[str, Any], list[Problem]]:
    """Check names, types and choices of the given options against their table and fill in the defaults.

    Returns every option of the table (None when not given and without default) and the problems found.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    if not isinstance(given, dict):
        return values, [Problem(where or "options", shown(given), "a mapping of " + ", ".join(sorted(options)))]
    prefix = where + "." if where else ""
    for name in sorted(set(given) - set(options)):
        problems.append(Problem(prefix + name, "an unknown option", "one of " + ", ".join(sorted(options))))
    for name, option in options.items():
        value = given.get(name)
        if value is None:
            values[name] = copy.deepcopy(option.get("default"))
            if option.get("required"):
                problems.append(Problem(prefix + name, "nothing", _WANTED.get(option["type"], "a value")))
            continue
        values[name], found = _value(option, value, prefix + name)
        problems += found
    return values, problems


def _value(option: dict[str, Any], value: Any, where: str) -> tuple[Any, list[Problem]]:
    kind = option["type"]
    secret = bool(option.get("no_log"))
    try:
        value = _converted(value, kind)
    except ValueError:
        return None, [Problem(where, shown(value, secret), _WANTED[kind])]
    if "choices" in option and value not in option["choices"]:
        return None, [Problem(where, shown(value, secret), "one of " + ", ".join(option["choices"]))]
    if kind == "dict" and "options" in option:
        return check(option["options"], value, where)
    if kind != "list":
        return value, []
    entries: list[Any] = []
    problems: list[Problem] = []
    element = {"type": option.get("elements", "raw"), "no_log": secret}
    if "options" in option:
        element["options"] = option["options"]
    for number, entry in enumerate(value):
        if entry is None:
            converted, found = None, [Problem(f"{where}[{number}]", "nothing", _WANTED.get(element["type"], "a value"))]
        else:
            converted, found = _value(element, entry, f"{where}[{number}]")
        problems += found
        if element["type"] == "dict" or not found:
            entries.append(converted if converted is not None else {})
    return entries, problems


def quantity(text: str) -> Decimal | None:
    """Return the value of a Kubernetes quantity such as 100m, 0.5 or 64Mi; None when it is none."""
    match = QUANTITY.match(text.strip())
    if not match:
        return None
    suffix = match["suffix"] or ""
    try:
        number = Decimal(match["number"])
        if suffix in BINARY:
            return number * Decimal(1024) ** BINARY[suffix]
        power = POWERS[suffix] if suffix in POWERS else int(suffix[1:])
        return number.scaleb(power)
    except (InvalidOperation, ValueError):
        return None


class _Checker:
    """Collects the problems of one app while its parts take their normal form."""

    def __init__(self, where: str) -> None:
        self.where = where + "." if where else ""
        self.problems: list[Problem] = []

    def wrong(self, option: str, found: Any, wanted: str, secret: bool = False) -> None:
        self.problems.append(Problem(self.where + option, shown(found, secret), wanted))

    def between(self, option: str, value: int | None, low: int, high: int) -> None:
        if value is not None and not low <= value <= high:
            self.wrong(option, value, f"{low} to {high}")

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

    def arguments(self, option: str, value: Any) -> list[str] | None:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return shlex.split(value)
            except ValueError as error:
                self.wrong(option, value, f"a command line or a list ({error})")
                return None
        if isinstance(value, list) and all(
            isinstance(entry, (str, int, float)) and not isinstance(entry, bool) for entry in value
        ):
            return [str(entry) for entry in value]
        self.wrong(option, value, "a command line or a list of texts")
        return None

    def ports(self, option: str, given: list[Any]) -> list[dict[str, Any]]:
        ports: list[dict[str, Any]] = []
        for number, entry in enumerate(given):
            where = f"{option}[{number}]"
            values, found = check(PORT, entry if isinstance(entry, dict) else {"port": entry}, self.where + where)
            if found:
                self.problems += found
                continue
            self.between(where if not isinstance(entry, dict) else where + ".port", values["port"], 1, 65535)
            name = values["name"]
            if name is not None and (len(name) > 15 or not PORT_NAME.match(name)):
                self.wrong(where + ".name", name, "at most 15 lowercase letters, digits and single -, with a letter")
            ports.append(values)
        for key in ("port", "name"):
            seen: set[Any] = set()
            for number, port in enumerate(ports):
                mark = (port["port"], port["protocol"]) if key == "port" else port["name"]
                if mark in seen and port[key] is not None:
                    self.wrong(f"{option}[{number}]", port[key], f"each {key} once")
                seen.add(mark)
        return ports

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

    def resources(self, option: str, given: dict[str, Any] | None) -> dict[str, dict[str, str]]:
        requests = self.amounts(option + ".requests", (given or {}).get("requests"))
        limits = self.amounts(option + ".limits", (given or {}).get("limits"))
        for name in sorted(set(requests) & set(limits)):
            if (quantity(requests[name]) or 0) > (quantity(limits[name]) or 0):
                self.wrong(f"{option}.requests.{name}", requests[name], f"no more than the limit {limits[name]}")
        return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}

    def probe(self, option: str, given: dict[str, Any] | None, ports: list[dict[str, Any]]) -> dict[str, Any] | None:
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
            tcp = [port["port"] for port in ports if port["protocol"] == "TCP"]
            if tcp:
                probe["port"] = tcp[0]
            else:
                self.wrong(option, None, "a port, for the process has no TCP port")
        self.between(option + ".port", probe.get("port"), 1, 65535)
        self.between(option + ".initial_delay", probe.get("initial_delay"), 0, 3600)
        for name in ("period", "timeout", "failures"):
            self.between(f"{option}.{name}", probe.get(name), 1, 3600)
        return probe

    def process(self, option: str, given: dict[str, Any], app: str) -> dict[str, Any]:
        name = given["name"] or ""
        if not LABEL.match(name):
            self.wrong(option + ".name", name, "lowercase letters, digits and - (RFC 1123 label)")
        elif len(app) + 1 + len(name) > 63:
            self.wrong(option + ".name", name, f"at most 63 characters together with the app's name {app} and a dash")
        self.between(option + ".replicas", given["replicas"], 0, MAX_REPLICAS)
        ports = self.ports(option + ".ports", given["ports"] or [])
        process = {
            "name": name,
            "command": self.arguments(option + ".command", given["command"]),
            "args": self.arguments(option + ".args", given["args"]),
            "ports": ports,
            "resources": self.resources(option + ".resources", given["resources"]),
        }
        for kind in ("readiness", "liveness", "startup"):
            process[kind] = self.probe(f"{option}.{kind}", given[kind], ports)
        return process

    def processes(self, app: dict[str, Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, int]]:
        given = app["processes"] or [check(_process_options(), {"name": app["type"] or "web"})[0]]
        numbered = [(number, entry) for number, entry in enumerate(given) if entry]
        processes = [self.process(f"processes[{number}]", entry, app["name"] or "") for number, entry in numbered]
        names = [process["name"] for process in processes]
        for number, name in enumerate(names):
            if name in names[:number]:
                self.wrong(f"processes[{number}].name", name, "each process once")
        routed = main_process(app["type"], processes)
        if app["type"] == "web":
            if routed is None:
                self.wrong("processes", ", ".join(names), "a process with a TCP port, because type is web")
            elif routed["readiness"] is None:
                first = next(port for port in routed["ports"] if port["protocol"] == "TCP")
                routed["readiness"] = {"tcp": True, "port": first["port"]}
        for process in processes:
            for port in process["ports"]:
                if port["name"] is None:
                    first = process is routed and port is next(p for p in process["ports"] if p["protocol"] == "TCP")
                    taken = any(other["name"] == "http" for other in process["ports"])
                    port["name"] = "http" if first and not taken else f"{port['protocol'].lower()}-{port['port']}"
        return tuple(processes), {process["name"]: entry[1]["replicas"] for process, entry in zip(processes, numbered)}

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


def main_process(app_type: str, processes: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the process that the app's address and domains lead to: `web`, else the first that has a TCP port."""
    if app_type != "web":
        return None
    listening = [entry for entry in processes if any(port["protocol"] == "TCP" for port in entry["ports"])]
    named = [entry for entry in listening if entry["name"] == "web"]
    return next(iter(named or listening), None)


def names(name: str | None, tenant: str | None, where: str = "") -> list[Problem]:
    """Return what is wrong with the name of an app and of its tenant."""
    checker = _Checker(where)
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
    return checker.problems


def parse_app(given: dict[str, Any], where: str = "") -> tuple[App | None, list[Problem]]:
    """Return an app from its checked options, or None and the problems."""
    checker = _Checker(where)
    checker.problems += names(given["name"], given["tenant"], where)
    image = given["image"]
    if image is not None:
        checker.image(image, given["allow_latest"])
    elif given["state"] == "present":
        checker.wrong("image", None, "the image to run, because state is present")
    processes: tuple[dict[str, Any], ...] = ()
    replicas: dict[str, int] = {}
    if image is not None:
        processes, replicas = checker.processes(given)
    if given["type"] == "worker" and given["domains"]:
        checker.wrong("domains", given["domains"], "no domains, because type is worker")
    env, secret_env = checker.environment(given)
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
    )
    return (None if checker.problems else app), checker.problems


def spread(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with those given beside `apps` moved into each app that does not set them itself."""
    listed = given.get("apps")
    if not isinstance(listed, list):
        return given
    shared = {key: value for key, value in given.items() if key in APP and key != "name" and value is not None}
    apps = [
        {**shared, **{key: value for key, value in entry.items() if value is not None}}
        if isinstance(entry, dict)
        else entry
        for entry in listed
    ]
    return {**{key: value for key, value in given.items() if key not in shared}, "apps": apps}


def parse(module: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the checked options of a module; for `app` the key `wanted` has the list of `App`.

    Raises Invalid with every problem of the task.
    """
    given = spread(plain(given))
    listed = given.get("apps") if module == "app" else None
    values, problems = check(arguments(module), given)
    timeouts = _Checker("")
    for option, low in (("timeout", 1), ("request_timeout", 1), ("log_lines", 0)):
        timeouts.between(option, values.get(option), low, 86400)
    problems += timeouts.problems
    if module == "app":
        values["wanted"] = _apps(values, problems, isinstance(listed, list))
    else:
        problems += _target(module, values)
    if problems:
        raise Invalid(problems)
    return values


def _apps(values: dict[str, Any], problems: list[Problem], listed: bool) -> list[App]:
    """Return the apps of a task and add what is wrong with each, and with them together."""
    if listed and values.get("name") is not None:
        problems.append(Problem("name", shown(values["name"]), "either name or apps"))
    if listed and not values["apps"] and not problems:
        problems.append(Problem("apps", "[]", "at least one app"))
    entries = values.get("apps") or [] if listed else [{key: values.get(key) for key in APP}]
    broken = {problem.option.split(".")[0] for problem in problems}
    apps: list[App] = []
    seen: dict[str, str] = {}
    domains: dict[str, str] = {}
    for number, entry in enumerate(entries):
        where = f"apps[{number}]" if listed else ""
        if not entry:
            continue
        app, found = parse_app(entry, where)
        problems += [problem for problem in found if problem not in problems and not _reported(problem, problems)]
        if app is None or where in broken:
            continue
        if app.key in seen:
            problems.append(Problem(f"{where}.name", shown(app.key), "each app of a tenant once"))
        seen[app.key] = where
        for domain in app.domains:
            if domain in domains:
                problems.append(Problem(f"{where}.domains", shown(domain), f"it at one app, {domains[domain]} has it"))
            domains.setdefault(domain, app.key)
        apps.append(app)
    return apps


def _reported(problem: Problem, problems: list[Problem]) -> bool:
    """Say whether the option of a follow-up problem, or an option inside it, is in the list already."""
    return any(known.option == problem.option or known.option.startswith(problem.option + ".") for known in problems)


def _target(module: str, values: dict[str, Any]) -> list[Problem]:
    """Return what is wrong with the options of the modules that act on an existing app."""
    checker = _Checker("")
    optional = module == "app_info"
    if values.get("name") is not None or values.get("tenant") is not None or not optional:
        found = names(values.get("name"), values.get("tenant"))
        checker.problems += [
            problem for problem in found if problem.found != "nothing" or (optional and problem.option == "tenant")
        ]
    if module == "app_scale":
        checker.between("replicas", values.get("replicas"), 0, MAX_REPLICAS)
    if module == "app_release":
        version = values.get("version")
        if version is not None and version != "last_good" and not re.match(r"v?[1-9][0-9]*\Z", version):
            checker.wrong("version", version, "the number of a release, such as 3, or last_good")
        checker.between("keep_releases", values.get("keep_releases"), 1, 1000)
    return checker.problems


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


def release_spec(app: App, salt: str) -> tuple[dict[str, Any], list[Content]]:
    """Return what a release records of an app, with references instead of secrets, and the Secrets referred to."""
    contents: list[Content] = []
    spec: dict[str, Any] = {
        "image": app.image,
        "type": app.type,
        "processes": [dict(process) for process in app.processes],
        "env": dict(sorted(app.env.items())),
        "secret_env": {name: fingerprint(salt, value.encode(), 12) for name, value in sorted(app.secret_env.items())},
        "files": [],
        "image_pull_secrets": list(app.image_pull_secrets),
        "drain": app.drain,
        "grace": app.grace,
        "env_secret": None,
        "files_secret": None,
    }
    if app.env or app.secret_env:
        data = {name: value.encode() for name, value in sorted({**app.env, **app.secret_env}.items())}
        contents.append(_content(app.name, "env", data, salt))
        spec["env_secret"] = contents[-1].name
    if app.files:
        data = {}
        for entry in sorted(app.files, key=lambda file: file.path):
            key = "f" + hashlib.sha256(entry.path.encode()).hexdigest()[:12]
            data[key] = entry.content
            spec["files"].append(
                {
                    "path": entry.path,
                    "key": key,
                    "mode": entry.mode,
                    "secret": entry.secret,
                    "content": fingerprint(salt, entry.content, 12),
                }
            )
        contents.append(_content(app.name, "files", data, salt))
        spec["files_secret"] = contents[-1].name
    return spec, contents


def _content(app: str, kind: str, data: dict[str, bytes], salt: str) -> Content:
    digest = fingerprint(salt, canonical({key: value.hex() for key, value in data.items()}), 12)
    return Content(f"{app}.{kind}.{digest}", data)
