# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates of stacks: their parameters, what a task gives for them, and the stack that comes out. Pure.

`${name}` in a text is replaced by a parameter; a text that is nothing else takes the parameter's type. `$${` stands for
`${`.
"""

from __future__ import annotations

import hashlib
import re
import secrets as random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import IMAGE_DIGEST
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .arguments import STACK, TEMPLATE
from .options import FALSE, TRUE, Checker, check
from .spec import canonical
from .stack_spec import Parse, members

NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
VERSION = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
PARAMETER = re.compile(r"[a-z][a-z0-9_]*\Z")
REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
# Where secrets may stand.
HIDDEN = re.compile(r"\.(secret_env\.[^.]+|secret_files\[\d+\]\.content|credentials\.[^.]+|tls\.key)\Z")
MAX_SIZE = 900_000
LETTERS = string.ascii_letters + string.digits
# What stands for a parameter without default while a template is checked.
SAMPLES = {"str": "x", "int": 1, "bool": True, "secret": "x"}


@dataclass(frozen=True)
class Template:
    """One version of a template. `stack` has apps, bindings and routes, with references to the parameters."""

    name: str
    version: str
    description: str
    parameters: tuple[dict[str, Any], ...]
    stack: dict[str, Any]

    def content(self) -> dict[str, Any]:
        """Return all that the digest is of."""
        return {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "parameters": list(self.parameters),
            "stack": self.stack,
        }

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(canonical(self.content())).hexdigest()


@dataclass(frozen=True)
class Values:
    """What a task gives for parameters, completed; `generated` are the secrets that were made and are to be kept."""

    values: dict[str, Any] = field(repr=False)
    secrets: list[str] = field(repr=False)
    generated: dict[str, str] = field(repr=False)


def parse_template(values: dict[str, Any], parse: Parse) -> tuple[Template | None, list[Finding]]:
    """Return the template, if the task itself has it, and what is wrong with the options beyond their types."""
    checker = Checker("")
    state = values.get("state")
    if state != "imported" or values.get("name") is not None or values.get("version") is not None:
        for option, pattern, wanted in (
            ("name", NAME, "at most 63 lowercase letters, digits and -, a letter first"),
            ("version", VERSION, "at most 63 lowercase letters, digits, . and -, such as 1.4.0"),
        ):
            given = values.get(option)
            if given is None or not pattern.match(given):
                checker.wrong(option, given, wanted)
    sources = [option for option in ("file", "definition", "stack") if values.get(option) is not None]
    if state == "present" and len(sources) != 1:
        checker.wrong("file", " and ".join(sources) or None, "one of file, definition and stack, because state=present")
    elif state in ("exported", "imported", "absent") and sources:
        checker.wrong(sources[0], values[sources[0]], f"nothing, because state is {state}")
    if state in ("exported", "imported"):
        archive = values.get("archive")
        if archive is None or not archive.endswith((".tar.gz", ".tar.zst")):
            checker.wrong("archive", archive, "the path of a .tar.gz or .tar.zst file")
        if values.get("images") and values.get("registry") is None:
            checker.wrong("registry", None, "the registry of the images, or images: false")
    digest = values.get("digest")
    if digest is not None and state != "imported":
        checker.wrong("digest", digest, f"nothing, because state is {state}")
    elif digest is not None and not IMAGE_DIGEST.match(digest):
        checker.wrong("digest", digest, "sha256: and 64 hexadecimal digits, as archive_digest of state=exported")
    if values.get("parameters") is not None and sources != ["stack"]:
        checker.wrong(
            "parameters", "without stack", "parameters only beside stack; a file and a definition have theirs"
        )
    registry = values.get("registry") or {}
    if registry.get("host") is not None and "/" in registry["host"]:
        checker.wrong("registry.host", registry["host"], "a host and port, such as registry.example.org:5000")
    if registry.get("url") is not None and not re.match(r"https?://[^/]+/?\Z", registry["url"]):
        checker.wrong("registry.url", registry["url"], "an address such as https://127.0.0.1:5000")
    findings = checker.findings
    findings += parameter_findings(values.get("parameters") or [], "parameters")
    if sources != ["definition"] or findings or state != "present":
        return None, findings
    return template_of(values["definition"], values["name"], values["version"], parse, "definition")


def template_of(
    given: Any, name: str, version: str, parse: Parse, where: str = ""
) -> tuple[Template | None, list[Finding]]:
    """Return the template that a definition (parameters, stack, description) makes, or None and the problems.

    A definition in a file may say its name and version too; they must be those of the task.
    """
    given = dict(given) if isinstance(given, dict) else given
    prefix = where + "." if where else ""
    findings: list[Finding] = []
    if isinstance(given, dict):
        for option, wanted in (("name", name), ("version", version)):
            found = given.pop(option, None)
            if found is not None and str(found) != wanted:
                findings.append(Finding(prefix + option, shown(found), f"{wanted}, the value in the task"))
    values, found_findings = check(TEMPLATE, given, where)
    findings += found_findings
    if findings:
        return None, findings
    parameters = [entry for entry in values["parameters"] or [] if entry]
    findings += parameter_findings(parameters, prefix + "parameters")
    secret = {entry["name"] for entry in parameters if entry["type"] == "secret"}
    known = {entry["name"] for entry in parameters}
    findings += reference_findings(values["stack"], prefix + "stack", known, secret)
    template = Template(
        name,
        version,
        values["description"] or "",
        tuple({key: value for key, value in entry.items() if value is not None} for entry in parameters),
        {key: value for key, value in values["stack"].items() if value is not None},
    )
    size = len(canonical(template.content()))
    if size > MAX_SIZE:
        findings.append(
            Finding(prefix + "stack", f"{size} bytes", f"at most {MAX_SIZE} bytes, the limit of a template")
        )
    if not findings:
        findings += _stack_findings(template, parse, prefix)
    return (None if findings else template), findings


def parameter_findings(parameters: list[dict[str, Any]], where: str) -> list[Finding]:
    """Return what is wrong with definitions of parameters, beyond their types."""
    checker = Checker(where)
    checker.where = where
    seen: set[str] = set()
    for number, entry in enumerate(parameters):
        if not entry or entry.get("name") is None or entry.get("type") is None:
            continue
        place = f"[{number}]"
        name, kind, default = entry["name"], entry["type"], entry.get("default")
        if not PARAMETER.match(name):
            checker.wrong(place + ".name", name, "lowercase letters, digits and _, a letter first")
        if name in seen:
            checker.wrong(place + ".name", name, "each parameter once")
        seen.add(name)
        if (kind == "choice") != bool(entry.get("choices")):
            wanted = "a list, because type is choice" if kind == "choice" else f"none, because type is {kind}"
            checker.wrong(place + ".choices", entry.get("choices"), wanted)
        if entry.get("generate") and kind != "secret":
            checker.wrong(place + ".generate", True, f"false, because type is {kind}: only secrets are generated")
        length = entry.get("length")
        if length is not None and not 8 <= length <= 1024:
            checker.wrong(place + ".length", length, "8 to 1024")
        if kind == "secret" and default is not None:
            checker.wrong(place + ".default", default, "none, because everybody could read it: use generate", True)
        elif default is not None:
            _value, wanted = typed(entry, default)
            if wanted:
                checker.wrong(place + ".default", default, wanted)
        ways = [default is not None, bool(entry.get("generate")), bool(entry.get("required"))]
        if sum(ways) != 1:
            ways_found = [way for way, there in zip(("default", "generate: true", "required: true"), ways) if there]
            checker.wrong(place, " and ".join(ways_found) or None, "one of default, generate: true and required: true")
    return checker.findings


def typed(parameter: Mapping[str, Any], value: Any) -> tuple[Any, str]:
    """Return the value in the type of a parameter, or what is wanted instead."""
    kind = parameter["type"]
    if kind == "bool":
        text = str(value).lower()
        if isinstance(value, (bool, int, str)) and text in TRUE + FALSE:
            return text in TRUE, ""
        return None, "true or false"
    if kind == "int":
        if not isinstance(value, bool) and re.match(r"[+-]?[0-9]+\Z", str(value).strip()):
            return int(value), ""
        return None, "a whole number"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None, "text"
    if kind == "choice" and str(value) not in (parameter.get("choices") or []):
        return None, "one of " + ", ".join(parameter.get("choices") or [])
    if kind == "secret" and str(value) == "":
        return None, "a text that is not empty"
    return str(value), ""


def complete(
    template: Template, parameters: Mapping[str, Any], secret_parameters: Mapping[str, Any], kept: Mapping[str, str]
) -> tuple[Values, list[Finding]]:
    """Return the value of each parameter: given, kept from an earlier run, generated, or the default."""
    checker = Checker("template")
    known = {entry["name"]: entry for entry in template.parameters}
    options = {"parameters": parameters, "secret_parameters": secret_parameters}
    for option, entries in options.items():
        for name in sorted(set(entries) - set(known)):
            wanted = "one of " + ", ".join(sorted(known)) if known else "none: the template has no parameters"
            checker.findings.append(Finding(f"template.{option}.{name}", "an unknown parameter", wanted))
    values: dict[str, Any] = {}
    hidden: list[str] = []
    generated: dict[str, str] = {}
    for name, entry in known.items():
        secret = entry["type"] == "secret"
        option, other = ("secret_parameters", "parameters") if secret else ("parameters", "secret_parameters")
        if options[other].get(name) is not None:
            checker.wrong(
                f"{other}.{name}", options[other][name], f"it in {option}, because its type is {entry['type']}", True
            )
        given = options[option].get(name)
        if given is not None:
            values[name], wanted = typed(entry, given)
            if wanted:
                checker.wrong(f"{option}.{name}", given, wanted, secret)
        elif entry.get("generate"):
            values[name] = kept.get(name) or generate(entry["length"])
            generated[name] = values[name]
        elif entry.get("required"):
            checker.wrong(f"{option}.{name}", None, entry.get("description") or "a value, because it is required")
        else:
            values[name] = typed(entry, entry.get("default"))[0]
        if secret and values.get(name):
            hidden.append(values[name])
    return Values(values, hidden, generated), checker.findings


def generate(length: int) -> str:
    return "".join(random.choice(LETTERS) for _number in range(length))


def substitute(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a value with every reference replaced."""
    if isinstance(value, dict):
        return {key: substitute(entry, values) for key, entry in value.items()}
    if isinstance(value, list):
        return [substitute(entry, values) for entry in value]
    if not isinstance(value, str):
        return value
    whole = re.match(r"\$\{([^}]*)\}\Z", value)
    if whole:
        return values[whole[1]]
    return REFERENCE.sub(lambda match: "${" if match[1] is None else _text(values[match[1]]), value)


def escape(value: Any) -> Any:
    """Return a value in which no text is taken for a reference."""
    if isinstance(value, dict):
        return {key: escape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [escape(entry) for entry in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def reference_findings(value: Any, where: str, known: set[str], secret: set[str]) -> list[Finding]:
    """Return the references to parameters that there are not, and to secret ones where outputs would show them."""
    if isinstance(value, dict):
        return [
            finding
            for key, entry in value.items()
            for finding in reference_findings(entry, f"{where}.{key}", known, secret) + _in_key(key, where)
        ]
    if isinstance(value, list):
        return [
            finding
            for number, entry in enumerate(value)
            for finding in reference_findings(entry, f"{where}[{number}]", known, secret)
        ]
    if not isinstance(value, str):
        return []
    findings = []
    for match in REFERENCE.finditer(value):
        if match[0] == "$${":
            continue
        if not match[0].endswith("}") or match[1] not in known:
            wanted = "one of " + ", ".join(sorted(known)) if known else "none, because there are no parameters"
            findings.append(Finding(where, f"the reference {match[0][:60]}", f"{wanted}; $${{ for the text ${{"))
        elif match[1] in secret and not HIDDEN.search(where):
            wanted = "secret parameters in secret_env, secret_files, credentials and tls.key only"
            findings.append(Finding(where, f"the secret parameter {match[1]}", wanted))
    return findings


def _in_key(key: str, where: str) -> list[Finding]:
    return [Finding(where, f"a reference in the name {key}", "references in values only")] if "${" in key else []


def _stack_findings(template: Template, parse: Parse, prefix: str) -> list[Finding]:
    """Check the stack with the defaults, and samples for parameters without one.

    Where a sample stands, a value that is refused may be right for another one, so that is left to the installation.
    """
    values: dict[str, Any] = {}
    sampled = []
    for entry in template.parameters:
        if entry.get("default") is not None:
            values[entry["name"]] = typed(entry, entry["default"])[0]
        else:
            values[entry["name"]] = (entry.get("choices") or [SAMPLES.get(entry["type"])])[0]
            sampled.append(entry["name"])
    _stack, findings = members(substitute(template.stack, values), "tenant", parse, prefix + "stack")
    places = _places(template.stack, prefix + "stack", set(sampled))
    return [finding for finding in findings if not any(place.startswith(finding.where) for place in places)]


def _places(value: Any, where: str, names: set[str]) -> list[str]:
    """Return where references to some parameters stand."""
    if isinstance(value, dict):
        return [place for key, entry in value.items() for place in _places(entry, f"{where}.{key}", names)]
    if isinstance(value, list):
        return [place for number, entry in enumerate(value) for place in _places(entry, f"{where}[{number}]", names)]
    if isinstance(value, str) and any(match[1] in names for match in REFERENCE.finditer(value)):
        return [where]
    return []


def _said(value: Any) -> Any:
    """Return a value without the options that say nothing."""
    if isinstance(value, dict):
        return {key: _said(entry) for key, entry in value.items() if entry not in (None, [], {})}
    return [_said(entry) for entry in value] if isinstance(value, list) else value


def from_stack(spec: Mapping[str, Any], defined: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the definition of a template of a running stack, from the spec in its record.

    Every value that no output may show becomes a parameter: APP_NAME for a variable, APP_file_N for a file,
    APP_TARGET_NAME for a credential. `defined` replaces the definition of one by its own, of the same name.
    """
    own = {entry["name"]: {key: value for key, value in entry.items() if value is not None} for entry in defined}
    parameters: dict[str, dict[str, Any]] = {}

    def taken(*parts: str) -> str:
        name = re.sub(r"[^a-z0-9_]", "_", "_".join(parts).lower())
        parameters[name] = own.pop(name, {"name": name, "type": "secret", "required": True})
        return f"${{{name}}}"

    stack: dict[str, Any] = escape(_said({key: value for key, value in spec.items() if key in STACK}))
    for app in stack.get("apps") or []:
        if "secret_env" in app:
            app["secret_env"] = {name: taken(app["name"], name) for name in app["secret_env"]}
        for number, entry in enumerate(app.get("secret_files") or []):
            entry["content"] = taken(app["name"], "file", str(number))
    for binding in stack.get("bindings") or []:
        if "credentials" in binding:
            given = binding["credentials"]
            binding["credentials"] = {name: taken(binding["app"], binding["target"], name) for name in given}
    for route in stack.get("routes") or []:
        tls = route.get("tls")
        if isinstance(tls, dict) and "key" in tls:
            tls["key"] = taken(route.get("name") or route.get("app") or "route", "tls_key")
    return {"parameters": [*parameters.values(), *own.values()], "stack": stack}
