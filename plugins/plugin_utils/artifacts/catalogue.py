# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: which components exist, in which version, where they come from."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.common.yaml import yaml_load

from .errors import ArtifactError

DEFAULT_CATALOGUE = os.path.normpath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../roles/artifacts/files/catalogue.yml")
)
KINDS = ("executable", "data", "image")
# Part of every recipe's hash: raise it when the code changes the result of an unchanged catalogue entry.
RECIPE_FORMAT = 1
_VERSION = re.compile(r"^[0-9]+(\.[0-9]+)*([-+.][0-9A-Za-z.-]+)?$")
_UARCH = {"amd64": "x86_64", "arm64": "arm64"}

_parsed: dict[tuple[str, int, int], dict[str, Any]] = {}


@dataclass(frozen=True)
class File:
    """One file of a component, as the catalogue describes it."""

    name: str
    kind: str
    options: Mapping[str, Any]

    @property
    def executable(self) -> bool:
        return self.kind == "executable"


@dataclass(frozen=True)
class Component:
    """A component in one version for one architecture, all placeholders filled in."""

    name: str
    version: str
    arch: str
    files: Mapping[str, File]
    upstream: Mapping[str, Any] | None
    build: Mapping[str, Any] | None
    is_default_version: bool = True
    needs: tuple[str, ...] = ()
    recipe: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def upstream_of(self, name: str) -> Mapping[str, Any] | None:
        """Where the project publishes this file: the file's own entry, else the component's with {name} filled in."""
        own = self.files[name].options.get("upstream")
        entry = own if own is not None else self.upstream
        if entry is None:
            return None
        filled = fill(entry, {"name": name})
        if "checksum" in filled:
            filled = dict(filled, checksum=fill(filled["checksum"], {"url": filled["url"]}))
        member = self.files[name].options.get("member")
        if member is not None and own is None:
            filled = dict(filled, member=member)
        result: Mapping[str, Any] = filled
        return result


def fill(value: Any, placeholders: Mapping[str, str]) -> Any:
    """Replace {name} placeholders in every string of a nested value; unknown ones stay."""
    if isinstance(value, str):
        for key, text in placeholders.items():
            value = value.replace("{" + key + "}", text)
        return value
    if isinstance(value, dict):
        return {fill(key, placeholders): fill(item, placeholders) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, placeholders) for item in value]
    return value


def placeholders_of(version: str, arch: str) -> dict[str, str]:
    numbers = re.split(r"[-+.]", version)
    return {
        "version": version,
        "major": numbers[0],
        "minor": numbers[1] if len(numbers) > 1 else "0",
        "patch": numbers[2] if len(numbers) > 2 else "0",
        "arch": arch,
        "uarch": _UARCH.get(arch, arch),
    }


def check_version(component: str, value: Any) -> str:
    """A version as the catalogue writes it: text, without a leading v."""
    if not isinstance(value, str):
        raise ArtifactError(
            f"artifacts_versions[{component}]",
            found=f"{value!r}, which is no string",
            wanted="a quoted string such as '1.36.3' (unquoted, YAML reads 1.30 as the number 1.3)",
        )
    version = value.removeprefix("v")
    if not _VERSION.match(version):
        raise ArtifactError(f"artifacts_versions[{component}]", found=repr(value), wanted="a version such as '1.36.3'")
    return version


class Catalogue:
    """Read access to a catalogue file with the caller's versions laid over it."""

    def __init__(self, path: str, versions: Mapping[str, Any], arch: str) -> None:
        self.path = path
        self.arch = arch
        self._data = _read(path)
        self._components: dict[str, Any] = self._data["components"]
        unknown = sorted(set(versions) - set(self._components))
        if unknown:
            raise ArtifactError(
                "artifacts_versions",
                found="unknown component " + ", ".join(unknown),
                wanted="one of " + ", ".join(self._components),
            )
        self._versions = {name: check_version(name, value) for name, value in versions.items()}
        self._owner: dict[str, str] = {}
        for component, spec in self._components.items():
            for name in spec["files"]:
                self._owner[name] = component
        self._resolved: dict[str, Component] = {}

    @property
    def toolchain(self) -> Mapping[str, Any]:
        value: Mapping[str, Any] = self._data.get("toolchain", {})
        return value

    @property
    def names(self) -> list[str]:
        """Every artifact name, in the order of the file."""
        return list(self._owner)

    @property
    def usual(self) -> list[str]:
        """The artifact names without those that are fetched only when a role needs them."""
        return [name for name, owner in self._owner.items() if not self._components[owner].get("on_demand")]

    def owners(self, names: list[str]) -> dict[str, list[str]]:
        """Component -> wanted file names. All unknown names are reported at once."""
        unknown = [name for name in names if name not in self._owner]
        if unknown:
            hints = []
            for name in unknown:
                close = difflib.get_close_matches(name, self._owner, n=1)
                hints.append(name + (f" (did you mean {close[0]}?)" if close else ""))
            raise ArtifactError(
                "artifact names",
                found="unknown " + ", ".join(hints),
                wanted="names from the catalogue: " + ", ".join(self._owner),
            )
        result: dict[str, list[str]] = {}
        for name in names:
            wanted = result.setdefault(self._owner[name], [])
            if name not in wanted:
                wanted.append(name)
        return result

    def version(self, component: str) -> str:
        spec = self._components[component]
        if component in self._versions:
            return self._versions[component]
        if "version_of" in spec:
            return self.version(spec["version_of"])
        return check_version(component, spec["version"])

    def component(self, name: str) -> Component:
        if name not in self._resolved:
            self._resolved[name] = self._resolve(name)
        return self._resolved[name]

    def _resolve(self, name: str) -> Component:
        spec = self._components[name]
        version = self.version(name)
        default = self._components[spec["version_of"]]["version"] if "version_of" in spec else spec["version"]
        values = placeholders_of(version, self.arch)
        files: dict[str, File] = {}
        for file_name, options in spec["files"].items():
            filled = fill(options or {}, values)
            files[file_name] = File(file_name, filled.get("kind", "executable"), filled)
        build = fill(spec["build"], values) if "build" in spec else None
        needs: tuple[str, ...] = tuple(build.get("binaries", {})) + tuple(build.get("needs", ())) if build else ()
        inner = [self.component(owner).recipe for owner in self.owners(list(needs))]
        packages = {file.name: dict(file.options, upstream=None) for file in files.values()}
        recipe = json.dumps([RECIPE_FORMAT, name, version, self.arch, packages, build, inner], sort_keys=True)
        return Component(
            name=name,
            version=version,
            arch=self.arch,
            files=files,
            upstream=fill(spec["upstream"], values) if "upstream" in spec else None,
            build=build,
            is_default_version=version == default,
            needs=needs,
            recipe=hashlib.sha256(recipe.encode()).hexdigest(),
        )


def _read(path: str) -> dict[str, Any]:
    try:
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in _parsed:
            with open(path, "rb") as stream:
                _parsed[key] = _checked(path, yaml_load(stream))
        return _parsed[key]
    except OSError as error:
        raise ArtifactError(
            "catalogue " + path, found=str(error), wanted="the collection's roles/artifacts/files/catalogue.yml"
        ) from error


def _checked(path: str, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict) or not isinstance(data.get("components"), dict):
        raise ArtifactError("catalogue " + path, found="no mapping named components", wanted="components: {...}")
    seen: dict[str, str] = {}
    for component, spec in data["components"].items():
        for name, options in spec["files"].items():
            if name in seen:
                raise ArtifactError("catalogue " + path, found=f"{name} in {seen[name]} and {component}")
            seen[name] = component
            kind = (options or {}).get("kind", "executable")
            if kind not in KINDS:
                raise ArtifactError("catalogue " + path, found=f"kind {kind} of {name}", wanted=", ".join(KINDS))
    return data
