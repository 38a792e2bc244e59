# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project: the source tree of an app, the options of its build, and what its detection finds on the way. Pure.

Problems are collected, so that one run names all of them; what cannot be read counts as empty from then on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from xml.etree import ElementTree

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown, visible

from ..options import Invalid
from .commands import procfile
from .documents import json_value, jsonc_value, toml_value, xml_value, yaml_value
from .plan import Process, Rejected, Version
from .settings import Options
from .tree import MAX_TEXT, Tree, joined
from .versions import ANY, Offered, Range, npm

Found = TypeVar("Found")
PROCFILE = "Procfile"
# Other names of languages in `.tool-versions`.
TOOL_NAMES = {"go": ("golang", "go"), "node": ("nodejs", "node"), "dotnet": ("dotnet", "dotnet-core")}
MAX_FINDINGS = 100
MAX_VERSION = 200
_LONGEST = 300
# Of a text before it is shortened.
_READ = 4000
_EMPTY = ElementTree.Element("nothing")
# The user of an address, and one that is more than a name: of SSH the name says nothing.
_USER = re.compile(r"//[^/\s@\"']{1,500}@")
_PASSWORD = re.compile(r"https?://[^/\s@\"'$]{1,500}@|//[^/\s@:\"']{0,200}:[^/\s@\"'$][^/\s@\"']{0,500}@")


def sentence(text: str, longest: int = _LONGEST) -> str:
    """Return a text as plans and messages have it: shortened, visible, and without the users of addresses."""
    return visible(_USER.sub("//...@", text[:_READ])[:longest])


def has_password(text: str) -> bool:
    """Return whether a text has an address with a password."""
    return bool(_PASSWORD.search(text))


@dataclass(frozen=True)
class Wish:
    """A version that a file asks for: the file (and its key), the text, and the function that makes a range of it."""

    source: str
    text: str
    range: Callable[[str], Range]


class Project:
    """What is known of an app's source. `findings` are problems, `reasons` and `warnings` sentences for its author."""

    def __init__(self, tree: Tree, options: Options, offered: Offered) -> None:
        self.tree, self.options, self.offered = tree, options, offered
        self.findings: list[Finding] = []
        self.reasons: list[str] = []
        self.warnings: list[str] = []
        self.rejected: list[Rejected] = []
        self.apt_build = set(options.apt_build)
        self.apt_run = set(options.apt_run)
        self._documents: dict[tuple[str, str], Any] = {}

    def wrong(self, path: str, found: str, wanted: str) -> None:
        """Note a problem of a file; the path may have a key or a line after the name."""
        self.option_wrong(self.tree.place(path), found, wanted)

    def option_wrong(self, option: str, found: str, wanted: str) -> None:
        self.findings.append(Finding(option, found[:_READ], sentence(wanted, 1000)))

    def reason(self, text: str) -> None:
        self.reasons.append(sentence(text))

    def warn(self, text: str) -> None:
        self.warnings.append(sentence(text))

    def reject(self, language: str, why: str) -> None:
        self.rejected.append(Rejected(language, sentence(why)))

    def check(self) -> None:
        """Raise Invalid if there is a problem, with all of them."""
        if self.findings:
            found = [replace(finding, found=sentence(finding.found)) for finding in dict.fromkeys(self.findings)]
            raise Invalid(found[:MAX_FINDINGS])

    def tried(self, function: Callable[[], Found], otherwise: Found) -> Found:
        """Return what a function returns; if it raises Invalid, note its problems and return the other value."""
        try:
            return function()
        except Invalid as error:
            self.findings += error.findings
            return otherwise

    def text(self, path: str, limit: int = MAX_TEXT) -> str:
        """Return the text of a file, "" if there is none; other problems are noted."""
        return self.tried(lambda: self.tree.read(path, limit), "") if self.tree.has(path) else ""

    def members(self, manifest: str, patterns: list[str]) -> list[str]:
        """Return the directories of a workspace by its patterns: those that have this manifest."""
        return self.tried(lambda: self.tree.members(manifest, patterns), []) if patterns else []

    def _document(self, path: str, limit: int, parse: Callable[[str, str], Any], otherwise: Any) -> Any:
        key = joined(self.tree.directory, path), parse.__name__
        if key not in self._documents:
            text = self.text(path, limit)
            place = self.tree.place(path)
            self._documents[key] = self.tried(lambda: parse(text, place), otherwise) if text else otherwise
        return self._documents[key]

    def _mapping(self, path: str, limit: int, parse: Callable[[str, str], Any]) -> dict[str, Any]:
        found = self._document(path, limit, parse, {})
        if isinstance(found, dict):
            return found
        self.wrong(path, shown(found), "a mapping")
        return {}

    def json(self, path: str, limit: int = MAX_TEXT) -> dict[str, Any]:
        """Return the mapping in a JSON file, an empty one if there is none."""
        return self._mapping(path, limit, json_value)

    def jsonc(self, path: str, limit: int = MAX_TEXT) -> dict[str, Any]:
        return self._mapping(path, limit, jsonc_value)

    def toml(self, path: str, limit: int = MAX_TEXT) -> dict[str, Any]:
        return self._mapping(path, limit, toml_value)

    def yaml(self, path: str) -> dict[str, Any]:
        return self._mapping(path, MAX_TEXT, yaml_value)

    def xml(self, path: str) -> ElementTree.Element:
        """Return the root of an XML file, an element without content if there is none."""
        found: ElementTree.Element = self._document(path, MAX_TEXT, xml_value, _EMPTY)
        return found

    def below(self, directory: str) -> Project:
        """Return the project of another directory, which notes its problems and sentences here."""
        found = Project(self.tree.below(directory), self.options, self.offered)
        found.findings, found.reasons, found.warnings = self.findings, self.reasons, self.warnings
        found.apt_build, found.apt_run = self.apt_build, self.apt_run
        found._documents = self._documents
        return found

    def at(self, tree: Tree) -> Project:
        """Return the project of a directory around this one, which notes its problems and sentences here."""
        found = self.below(".")
        found.tree = tree
        return found

    # Versions

    def wishes(self, name: str, *files: Wish) -> list[Wish]:
        """Return who asks for a version of a language: options, `.tool-versions`, then the files, in this order."""
        said = Wish(self.options.version_source, self.options.version, npm)
        line = next(
            (
                words[1]
                for words in map(str.split, self.text(".tool-versions").split("\n"))
                if len(words) > 1 and words[0] in TOOL_NAMES.get(name, (name,))
            ),
            "",
        )
        return [wish for wish in (said, Wish(".tool-versions", line, npm), *files) if wish.text.strip()]

    def version(self, name: str, wishes: Iterable[Wish]) -> Version:
        """Return the version of a language that the first wish leads to, else the platform's default."""
        asked = list(wishes)
        if not asked:
            return self.tool(name)
        first, place = asked[0], self._place(asked[0])
        try:
            wanted = _ranged(first)
        except ValueError:
            example = self.offered.default(name) or "1.2"
            self.option_wrong(place, f"{name} {shown(first.text)}", f"a version such as {example}")
            return Version(name, "", first.source)
        value = self.offered.newest(name, wanted)
        if not value:
            offered = self.offered.listed(name)
            self.option_wrong(place, f"{name} {first.text.strip()}", f"an offered version: {offered}")
        elif wanted.finer(value):
            self.warn(f"{place} asks for {name} {first.text.strip()}, the image has the newest {value}")
        for other in asked[1:] if value else ():
            if not _accepts(other, value):
                self.warn(f"{self._place(other)} asks for {name} {other.text.strip()}, {place} decides on {value}")
        return Version(name, value, sentence(f"{place} {shown(first.text.strip())}"))

    def _place(self, wish: Wish) -> str:
        return wish.source if wish.source == self.options.version_source else self.tree.place(wish.source)

    def tool(self, name: str, wanted: Range = ANY, source: str = "platform") -> Version:
        """Return the version of a tool: the platform's default if the range has it, else the newest in the range."""
        value = self.offered.default(name)
        if not value or not wanted.accepts(value):
            value = self.offered.newest(name, wanted)
        if not value:
            offered = self.offered.listed(name)
            self.option_wrong(name, f"no offered version (offered: {offered})", "one that the platform's bases have")
        return Version(name, value, sentence(source))

    # Processes

    def processes(self, rule: Callable[[], Process | None]) -> tuple[Process, ...]:
        """Return the processes of task, `.cloudbang.yml` and Procfile, and that of a rule if none of them has web."""
        found = {process.name: process for process in self.options.processes}
        for name, command in self._procfile().items():
            found.setdefault(name, Process(name, command, PROCFILE))
        if "web" not in found:
            made = rule()
            if made is not None:
                found.setdefault(made.name, made)
            elif not found and not self.findings:
                self.wrong(
                    PROCFILE,
                    "no process, and no file that starts one",
                    "web: COMMAND in it, or processes.web of the task",
                )
        for process in found.values():
            if has_password(process.command):
                self.warn(
                    f"the command of {process.name} has a password, which is in the image: read it from a variable"
                )
        return tuple(found[name] for name in sorted(found, key=lambda name: (name != "web", name)))

    def _procfile(self) -> dict[str, str]:
        found, findings = procfile(self.text(PROCFILE), self.tree.place(PROCFILE))
        self.findings += findings
        return {} if findings else found

    @property
    def said_processes(self) -> set[str]:
        """The names of the processes that the task or a file of the tree names."""
        lines = procfile(self.text(PROCFILE), PROCFILE)[0]
        return {process.name for process in self.options.processes} | set(lines)


def _ranged(wish: Wish) -> Range:
    """Return the range of a wish. Raises ValueError."""
    if len(wish.text) > MAX_VERSION:
        raise ValueError("too long")
    return wish.range(wish.text.strip())


def _accepts(wish: Wish, version: str) -> bool:
    try:
        return _ranged(wish).accepts(version)
    except ValueError:
        return True
