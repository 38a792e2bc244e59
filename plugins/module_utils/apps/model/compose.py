# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a docker compose file as the apps of a stack. Pure but for the files that a `Reader` reads.

What is not supported is a problem with its place, never left out. Texts are YAML 1.2 (`no` is a text, `22:22` is no
number), as compose reads them; numbers that would not come out as they are written stay texts.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .spec import ENV_NAME, SERVICE_LABEL
from .text_files import unreadable

# Returns the text of a file; OSError and ValueError (no UTF-8) say what is wrong with it.
Reader = Callable[[str], str]

MAX_SIZE = 1_000_000
MAX_VALUES = 50_000
MAX_DEPTH = 50
SERVICE = (
    "image",
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "ports",
    "expose",
    "depends_on",
    "deploy",
    "healthcheck",
    "configs",
    "secrets",
    "restart",
    "stop_grace_period",
)
TOP = ("version", "name", "services", "configs", "secrets")
VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-?+])(?P<rest>[^{}]*))?\}|(?P<bad>.?))",
    re.DOTALL,
)
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?\Z")
BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(b|k|kb|m|mb|g|gb)?\Z", re.IGNORECASE)
PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:]+\]|[0-9.]+):)?(?P<published>\d*(?:-\d+)?):)?"
    r"(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>tcp|udp))?\Z"
)


@cache
def _loader() -> Any:
    """Return the reader of YAML 1.2's core types, in which no mapping has a key twice."""
    # Not above: whoever imports these modules need not have the libraries, and is told which one is missing.
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            # Merge keys that merge others multiply with each level, before there is a value to count.
            if len(node.value) > MAX_VALUES:
                raise yaml.constructor.ConstructorError(None, None, "too many merged keys", node.start_mark)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            if isinstance(node, yaml.MappingNode):
                seen: set[Any] = set()
                for key, _value in node.value:
                    mark = (key.tag, str(key.value))
                    if mark in seen and key.tag != "tag:yaml.org,2002:merge":
                        found_twice = f"the key {key.value} twice"
                        raise yaml.constructor.ConstructorError(None, None, found_twice, key.start_mark)
                    seen.add(mark)
            found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return found

    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"-?(0|[1-9][0-9]*)", "-0123456789"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("merge", r"<<", "<"),
    ):
        Loader.add_implicit_resolver("tag:yaml.org,2002:" + tag, re.compile(rf"(?:{pattern})\Z"), list(first))
    return Loader


def load(text: str, where: str, wanted: str = "the YAML of a docker compose file") -> tuple[Any, list[Finding]]:
    """Return what a YAML text says, as JSON types, or the problem."""
    import yaml

    if len(text) > MAX_SIZE:
        return None, [Finding(where, f"{len(text)} characters", f"at most {MAX_SIZE}")]
    try:
        found = yaml.load(text, Loader=_loader())
        return bounded(found), []
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f" in line {line + 1}" if line is not None else ""
        reason = getattr(error, "problem", None) or (
            "it is nested too deep" if isinstance(error, RecursionError) else error
        )
        return None, [Finding(where, f"{' '.join(str(reason).split())[:200]}{place}", wanted)]


def bounded(value: Any) -> Any:
    """Return a copy of a value in JSON types; ValueError when it is too large, which aliases make with few letters."""
    left = MAX_VALUES

    def copied(entry: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise ValueError(f"found more than {MAX_VALUES} values or {MAX_DEPTH} levels")
        if isinstance(entry, dict):
            for key in entry:
                if not isinstance(key, (str, int, float)) or isinstance(key, bool):
                    raise ValueError(f"found the key {str(key)[:50]}, which is not text")
            return {str(key): copied(inner, depth + 1) for key, inner in entry.items()}
        if isinstance(entry, list):
            return [copied(inner, depth + 1) for inner in entry]
        if isinstance(entry, float) and entry in (float("inf"), float("-inf")):
            return str(entry)
        if entry is None or isinstance(entry, (str, bool, int, float)):
            return entry
        raise ValueError(f"found a value of type {type(entry).__name__}")

    return copied(value, 0)


def convert(
    content: Any,
    where: str,
    read: Reader,
    directory: str | None = None,
    variables: Mapping[str, Any] | None = None,
    secret_variables: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[str], list[Finding]]:
    """Return the spec of a stack that a compose file (its text, or what is in it) describes, warnings and problems.

    directory is where the paths in it start; without one, only absolute paths are read.
    """
    findings: list[Finding] = []
    if isinstance(content, str):
        content, findings = load(content, where)
    else:
        try:
            content = bounded(content)
        except (ValueError, RecursionError) as error:
            findings = [Finding(where, str(error), "what is in a docker compose file")]
    if findings:
        return {}, [], findings
    known = {**(variables or {}), **(secret_variables or {})}
    reading = _Reading(where, read, directory, known, set(secret_variables or {}))
    return reading.stack(content), reading.warnings, reading.findings


class _Reading:
    """Reads one file and collects what is wrong with it."""

    def __init__(
        self, where: str, read: Reader, directory: str | None, variables: Mapping[str, Any], secret: set[str]
    ) -> None:
        self.where, self.read, self.directory = where, read, directory
        self.variables = {name: _plain_text(value) for name, value in variables.items()}
        self.secret = secret
        self.findings: list[Finding] = []
        self.warnings: list[str] = []
        self.top: dict[str, Any] = {}

    def wrong(self, place: str, found: Any, wanted: str) -> None:
        self.findings.append(Finding(f"{self.where}: {place}" if place else self.where, shown(found), wanted))

    def tell(self, place: str, found: str, wanted: str) -> None:
        self.findings.append(Finding(f"{self.where}: {place}", found, wanted))

    def unsupported(self, place: str, name: str, names: tuple[str, ...]) -> None:
        found = f"{name}, which is not supported here"
        at = f"{self.where}: {place}.{name}" if place else f"{self.where}: {name}"
        self.findings.append(Finding(at, found, "only " + ", ".join(names)))

    def mapping(self, place: str, given: Any, names: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Return a mapping without its extensions, and tell the keys that are not among the names."""
        if not isinstance(given, dict):
            self.wrong(place, given, "a mapping" + (" of " + ", ".join(names) if names else ""))
            return {}
        found = {key: value for key, value in given.items() if not key.startswith("x-")}
        if names is None:
            return found
        for key in sorted(set(found) - set(names)):
            self.unsupported(place, key, names)
        return {key: value for key, value in found.items() if key in names}

    def stack(self, content: Any) -> dict[str, Any]:
        self.top = self.mapping("", content, TOP)
        for kind in ("configs", "secrets"):
            entries = self.mapping(kind, self.top.get(kind) or {})
            ways = ("file", "content", "environment")
            self.top[kind] = {name: self.mapping(f"{kind}.{name}", entry, ways) for name, entry in entries.items()}
        services = self.mapping("services", self.top.get("services"))
        if not services and not self.findings:
            self.wrong("services", services, "at least one service")
        ended = self.ended(services)
        apps = []
        for name, service in services.items():
            if len(name) > 52 or not SERVICE_LABEL.match(name):
                self.wrong(f"services.{name}", name, "at most 52 lowercase letters, digits and -, a letter first")
            apps.append(self.app(name, service, name in ended))
        return {"apps": apps}

    def ended(self, services: dict[str, Any]) -> set[str]:
        """Return the services that others wait for to end well: they are jobs."""
        found: set[str] = set()
        for service in services.values():
            depends = service.get("depends_on") if isinstance(service, dict) else None
            for name, how in depends.items() if isinstance(depends, dict) else ():
                if isinstance(how, dict) and how.get("condition") == "service_completed_successfully":
                    found.add(name)
        return found

    def app(self, name: str, given: Any, ends: bool) -> dict[str, Any]:
        place = f"services.{name}"
        service = self.mapping(place, given, SERVICE)
        app: dict[str, Any] = {"name": name, "image": self.text(f"{place}.image", service.get("image"))}
        if service.get("image") is None:
            self.wrong(f"{place}.image", None, "the image to run")
        process: dict[str, Any] = {"name": "web"}
        for option, key in (("entrypoint", "command"), ("command", "args")):
            process[key] = self.command(f"{place}.{option}", service.get(option))
        env, secret_env = self.environment(place, service)
        app["env"], app["secret_env"] = env, secret_env
        process["ports"] = self.ports(place, service)
        deploy = self.mapping(f"{place}.deploy", service.get("deploy") or {}, ("replicas", "resources"))
        process.update(self.deployed(f"{place}.deploy", deploy))
        if service.get("healthcheck") is not None:
            process["readiness"] = self.healthcheck(f"{place}.healthcheck", service["healthcheck"])
        app["files"] = self.files(place, service, "configs", "/")
        app["secret_files"] = self.files(place, service, "secrets", "/run/secrets/")
        app["depends_on"] = self.depends_on(f"{place}.depends_on", service.get("depends_on"))
        if service.get("stop_grace_period") is not None:
            app["grace"] = self.seconds(f"{place}.stop_grace_period", service["stop_grace_period"], 1)
        listens = any(port["protocol"] == "TCP" for port in process["ports"])
        app["type"] = "job" if ends else "web" if listens else "worker"
        process["name"] = app["type"]
        self.restart(f"{place}.restart", service.get("restart"), ends)
        if ends:
            for option in ("ports", "readiness"):
                if process.get(option):
                    wanted = "none, because another service waits until this one has ended"
                    self.tell(place, "ports" if option == "ports" else "a healthcheck", wanted)
        app["processes"] = [{key: value for key, value in process.items() if value not in (None, [], {})}]
        return {key: value for key, value in app.items() if value not in (None, [], {})}

    def restart(self, place: str, given: Any, ends: bool) -> None:
        allowed = ("no", "on-failure") if ends else ("always", "unless-stopped")
        if given is None or (ends and given is False) or given in allowed:
            return
        why = "another service waits until it has ended" if ends else "no other service waits until it has ended"
        self.wrong(place, given, f"{' or '.join(allowed)}, because {why}")

    def text(self, place: str, given: Any) -> str | None:
        """Return a text that outputs may show, with its variables replaced."""
        text, secret = self.interpolated(place, given)
        if secret:
            self.tell(place, "a secret variable", "it in environment, or in the file's secrets")
            return None
        return text

    def interpolated(self, place: str, given: Any) -> tuple[str | None, bool]:
        """Return a text with its variables replaced, and whether one of them is secret."""
        if given is None:
            return None, False
        if not isinstance(given, (str, int, float)):
            self.wrong(place, given, "text")
            return None, False
        secret = False

        def value(match: re.Match[str]) -> str:
            nonlocal secret
            if match["escaped"]:
                return "$"
            name = match["plain"] or match["name"]
            if name is None:
                wanted = "a variable such as ${NAME} or ${NAME:-default}, or $$ for a dollar"
                self.wrong(place, match[0], wanted)
                return ""
            how, rest = match["how"] or "", match["rest"] or ""
            known = self.variables.get(name)
            there = known is not None and (known != "" or ":" not in how)
            secret = secret or (name in self.secret)
            if how.endswith("+"):
                return rest if there else ""
            if there:
                return known or ""
            if how.endswith("-"):
                return rest
            self.tell(place, f"no variable {name}", rest or f"a value for {name} in compose.variables")
            return ""

        return VARIABLE.sub(value, _plain_text(given)), secret

    def command(self, place: str, given: Any) -> list[str] | None:
        if given is None:
            return None
        if isinstance(given, list):
            return [self.text(f"{place}[{number}]", entry) or "" for number, entry in enumerate(given)]
        text = self.text(place, given)
        try:
            return shlex.split(text or "")
        except ValueError as error:
            self.wrong(place, text, f"a command line ({error})")
            return None

    def environment(self, place: str, service: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        env: dict[str, str] = {}
        secret_env: dict[str, str] = {}
        files = service.get("env_file")
        files = files if isinstance(files, list) else [] if files is None else [files]
        for number, entry in enumerate(files):
            at = f"{place}.env_file[{number}]"
            # Passwords are what such files are for, so no output shows what is in one.
            secret_env.update(self.env_file(at, entry))
        given = service.get("environment")
        entries: list[tuple[str, str, Any]] = []
        if isinstance(given, list):
            for number, entry in enumerate(given):
                name, equals, value = str(entry).partition("=")
                if isinstance(entry, str):
                    entries.append((f"{place}.environment[{number}]", name, value if equals else None))
                else:
                    self.wrong(f"{place}.environment[{number}]", entry, "NAME=value")
        else:
            named = self.mapping(f"{place}.environment", {} if given is None else given)
            entries = [(f"{place}.environment.{name}", name, value) for name, value in named.items()]
        for at, name, value in entries:
            if not ENV_NAME.match(name):
                self.wrong(at, name, "a name of letters, digits and _ that does not start with a digit")
                continue
            text, secret = self.interpolated(at, "${" + name + "}" if value is None else value)
            env.pop(name, None)
            secret_env.pop(name, None)
            if text is not None:
                (secret_env if secret else env)[name] = text
        return env, secret_env

    def env_file(self, place: str, given: Any) -> dict[str, str]:
        required = True
        if isinstance(given, dict):
            given = self.mapping(place, given, ("path", "required"))
            required = given.get("required") is not False
            given = given.get("path")
        if not isinstance(given, str):
            self.wrong(place, given, "the path of a file")
            return {}
        text = self.file(place, given, required)
        found: dict[str, str] = {}
        for number, line in enumerate((text or "").splitlines(), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, equals, value = line.removeprefix("export ").partition("=")
            name, value = name.strip(), value.strip()
            if not equals or not ENV_NAME.match(name):
                self.tell(f"{place} line {number}", "a line that is not NAME=value", "NAME=value, or # and a comment")
                continue
            if value[:1] in ("'", '"'):
                quote = value[0]
                if len(value) < 2 or not value.endswith(quote):
                    self.tell(
                        f"{place} line {number}", f"a value of {name} that starts with {quote}", f"{quote} at its end"
                    )
                    continue
                value = value[1:-1]
                found[name] = value if quote == "'" else self.interpolated(f"{place} line {number}", value)[0] or ""
            else:
                value = re.sub(r"\s+#.*", "", value)
                found[name] = self.interpolated(f"{place} line {number}", value)[0] or ""
        return found

    def file(self, place: str, path: str, required: bool = True) -> str | None:
        path = self.text(place, path) or ""
        if not os.path.isabs(path) and self.directory is None:
            self.wrong(place, path, "an absolute path, or the compose file by its path")
            return None
        try:
            return self.read(os.path.join(self.directory or "", path))
        except FileNotFoundError:
            if required:
                self.tell(place, f"no file {path}", "it to exist")
        except (OSError, ValueError) as error:
            self.findings.append(unreadable(f"{self.where}: {place}", path, error, "a text file"))
        return None

    def ports(self, place: str, service: dict[str, Any]) -> list[dict[str, Any]]:
        ports: dict[tuple[int, str], dict[str, Any]] = {}
        for option in ("ports", "expose"):
            given = service.get(option)
            if given is not None and not isinstance(given, list):
                self.wrong(f"{place}.{option}", given, "a list of ports")
                continue
            for number, entry in enumerate(given or []):
                at = f"{place}.{option}[{number}]"
                for port in self.port(at, entry):
                    ports.setdefault((port["port"], port["protocol"]), port)
        return list(ports.values())

    def port(self, place: str, given: Any) -> list[dict[str, Any]]:
        if isinstance(given, dict):
            entry = self.mapping(place, given, ("target", "published", "protocol", "name", "host_ip", "mode"))
            given = f"{_plain_text(entry.get('target', ''))}/{_plain_text(entry.get('protocol', 'tcp'))}"
            outside = ("published", "host_ip", "mode")
            published = next((_plain_text(entry[key]) for key in outside if entry.get(key) is not None), "")
            name = self.text(f"{place}.name", entry.get("name"))
        else:
            published, name = "", None
        text = self.text(place, given)
        match = PORT.match(text or "")
        first = int(match["first"]) if match else 0
        last = int(match["last"] or first) if match else 0
        if match is None or not 1 <= first <= last <= 65535 or last - first >= 100:
            self.wrong(place, given, "a port such as 8080, 80:8080 or 53:53/udp, or a range of at most 100")
            return []
        published = published or match["published"] or match["ip"] or ""
        if published:
            self.warnings.append(
                f"{self.where}: {place}: the hosts do not listen on {published}; other apps reach the port {first} at "
                "the app's name, and domains of the app bring requests from outside"
            )
        protocol = (match["protocol"] or "tcp").upper()
        port = {"protocol": protocol, **({"name": name} if name else {})}
        return [{"port": number, **port} for number in range(first, last + 1)]

    def deployed(self, place: str, given: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if given.get("replicas") is not None:
            text = self.text(f"{place}.replicas", given["replicas"]) or ""
            if re.match(r"[0-9]{1,5}\Z", text):
                found["replicas"] = int(text)
            else:
                self.wrong(f"{place}.replicas", given["replicas"], "a number of replicas")
        resources = self.mapping(f"{place}.resources", given.get("resources") or {}, ("limits", "reservations"))
        for theirs, ours in (("limits", "limits"), ("reservations", "requests")):
            at = f"{place}.resources.{theirs}"
            amounts = self.mapping(at, resources.get(theirs) or {}, ("cpus", "memory"))
            wanted: dict[str, str] = {}
            if amounts.get("cpus") is not None:
                text = self.text(f"{at}.cpus", amounts["cpus"]) or ""
                if re.match(r"[0-9]+(\.[0-9]+)?\Z", text) and quantity(text) is not None:
                    wanted["cpu"] = f"{int(Decimal(text) * 1000)}m"
                else:
                    self.wrong(f"{at}.cpus", amounts["cpus"], "a number of cores such as 0.5")
            if amounts.get("memory") is not None:
                wanted["memory"] = self.bytes(f"{at}.memory", amounts["memory"])
            if wanted:
                found.setdefault("resources", {})[ours] = wanted
        return found

    def bytes(self, place: str, given: Any) -> str:
        match = BYTES.match(self.text(place, given) or "")
        if match is None:
            self.wrong(place, given, "an amount of memory such as 64m, 512M or 1gb")
            return "1Mi"
        power = {"b": 0, "k": 1, "m": 2, "g": 3}[(match[2] or "b")[0].lower()]
        amount = int(Decimal(match[1]) * 1024**power)
        for suffix, unit in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
            if amount and amount % unit == 0:
                return f"{amount // unit}{suffix}"
        return str(amount)

    def seconds(self, place: str, given: Any, low: int) -> int:
        text = self.text(place, given) or ""
        match = DURATION.match(text)
        if text.isdigit() and len(text) < 9:
            total = Decimal(text)
        elif match is None or not text or len(text) > 20:
            self.wrong(place, given, "a duration such as 30s or 1m30s")
            return low
        else:
            hours, minutes, seconds, millis = (Decimal(part or 0) for part in match.groups())
            total = hours * 3600 + minutes * 60 + seconds + millis / 1000
        return max(low, int(total) + (total != int(total)))

    def healthcheck(self, place: str, given: Any) -> dict[str, Any] | None:
        names = ("test", "interval", "timeout", "retries", "start_period", "disable")
        check = self.mapping(place, given, names)
        test = check.get("test")
        if check.get("disable") is True or test in (["NONE"], "NONE"):
            return None
        if isinstance(test, str):
            command: list[str] = ["/bin/sh", "-c", self.text(f"{place}.test", test) or ""]
        elif isinstance(test, list) and len(test) > 1 and test[0] in ("CMD", "CMD-SHELL"):
            parts = [self.text(f"{place}.test[{number}]", part) or "" for number, part in enumerate(test)][1:]
            if test[0] == "CMD-SHELL" and len(parts) != 1:
                self.wrong(f"{place}.test", test, "one command line after CMD-SHELL")
            command = parts if test[0] == "CMD" else ["/bin/sh", "-c", parts[0]]
        else:
            self.wrong(f"{place}.test", test, "a command line, or a list that starts with CMD, CMD-SHELL or NONE")
            return None
        # compose's defaults, which are not those of Kubernetes
        probe: dict[str, Any] = {"command": command, "period": 30, "timeout": 30, "failures": 3}
        for theirs, ours in (("interval", "period"), ("timeout", "timeout")):
            if check.get(theirs) is not None:
                probe[ours] = self.seconds(f"{place}.{theirs}", check[theirs], 1)
        if check.get("start_period") is not None:
            # Nothing is restarted when this fails, so a slow start needs no more than to be checked as a duration.
            self.seconds(f"{place}.start_period", check["start_period"], 0)
        if check.get("retries") is not None:
            text = self.text(f"{place}.retries", check["retries"]) or ""
            if re.match(r"[0-9]{1,4}\Z", text):
                probe["failures"] = max(1, int(text))
            else:
                self.wrong(f"{place}.retries", check["retries"], "a number")
        return probe

    def files(self, place: str, service: dict[str, Any], kind: str, base: str) -> list[dict[str, Any]]:
        given = service.get(kind)
        if given is not None and not isinstance(given, list):
            self.wrong(f"{place}.{kind}", given, f"a list of {kind}")
            return []
        known = self.top[kind]
        files = []
        for number, entry in enumerate(given or []):
            at = f"{place}.{kind}[{number}]"
            entry = (
                {"source": entry} if isinstance(entry, str) else self.mapping(at, entry, ("source", "target", "mode"))
            )
            source = entry.get("source")
            if not isinstance(source, str) or source not in known:
                wanted = f"one of the file's {kind}: {', '.join(known)}" if known else f"{kind} at the top of the file"
                self.wrong(at, source, wanted)
                continue
            content = self.content(f"{kind}.{source}", known[source], kind)
            target = self.text(f"{at}.target", entry.get("target")) or source
            if content is not None:
                path = target if target.startswith("/") else base + target
                found: dict[str, Any] = {"path": path, "content": content}
                if entry.get("mode") is not None:
                    mode = entry["mode"]
                    found["mode"] = f"{mode:04o}" if isinstance(mode, int) and 0 <= mode <= 0o777 else mode
                files.append(found)
        return files

    def content(self, place: str, entry: dict[str, Any], kind: str) -> str | None:
        ways = [name for name, value in entry.items() if value is not None]
        if len(ways) != 1:
            self.wrong(place, " and ".join(ways) or None, "one of file, content and environment")
            return None
        if ways[0] == "file":
            if not isinstance(entry["file"], str):
                self.wrong(f"{place}.file", entry["file"], "the path of a file")
                return None
            return self.file(f"{place}.file", entry["file"])
        if ways[0] == "content":
            text, secret = self.interpolated(f"{place}.content", entry["content"])
            return self.not_open(place, text, secret, kind)
        name = self.text(f"{place}.environment", entry["environment"]) or ""
        if name not in self.variables:
            self.tell(f"{place}.environment", f"no variable {name}", "one of compose.variables or secret_variables")
            return None
        return self.not_open(place, self.variables[name], name in self.secret, kind)

    def not_open(self, place: str, text: str | None, secret: bool, kind: str) -> str | None:
        """Refuse a secret variable in a config, whose content outputs may show."""
        if secret and kind == "configs":
            self.tell(place, "a secret variable", "it in one of the file's secrets")
            return None
        return text

    def depends_on(self, place: str, given: Any) -> list[str]:
        if given is None:
            return []
        if isinstance(given, list) and all(isinstance(entry, str) for entry in given):
            return given
        conditions = ("service_started", "service_healthy", "service_completed_successfully")
        names = []
        for name, how in self.mapping(place, given).items():
            names.append(name)
            entry = self.mapping(f"{place}.{name}", how, ("condition", "required"))
            if entry.get("condition", "service_started") not in conditions:
                self.wrong(f"{place}.{name}.condition", entry["condition"], "one of " + ", ".join(conditions))
            if entry.get("required", True) is not True:
                self.wrong(f"{place}.{name}.required", entry["required"], "true")
        return names


def _plain_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
