# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Source trees for tests, and a reader of Containerfiles that knows nothing of the writer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import Plan
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.tree import File, Tree
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.versions import Offered

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "apps"
OFFERED = Offered(
    versions={
        "python": ("3.11", "3.13"),
        "gunicorn": ("23.0.0",),
        "uvicorn": ("0.32.0",),
        "uv": ("0.13.8",),
        "poetry": ("2.5.1",),
        "pdm": ("2.29.0",),
        "pipenv": ("2026.10.1",),
        "node": ("18.20.8", "20.19.2", "22.11.0", "24.3.0", "25.1.0"),
        "pnpm": ("7.33.7", "8.15.9", "9.15.9", "10.4.1"),
        "yarn": ("1.22.22", "4.18.0"),
        "bun": ("1.3.9", "1.4.4"),
        "deno": ("2.9.6",),
        "go": ("1.24.4", "1.26.0"),
        "java": ("17", "21", "25"),
        "maven": ("3.9.9",),
        "php": ("8.2", "8.4"),
        "ruby": ("3.1", "3.3"),
        "rust": ("1.85",),
        "dotnet": ("8.0", "9.0", "10.0"),
    },
    defaults={"node": "24.3.0", "java": "21"},
)
LINK = 0o120000


def tree(files: Mapping[str, Any]) -> Tree:
    """Return the tree of files: their texts or bytes, or {link: TARGET}."""
    contents = {}
    for path, content in files.items():
        data = content["link"] if isinstance(content, dict) else content
        contents[path] = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
    entries = {
        path: File(len(data), LINK if isinstance(files[path], dict) else 0o100644) for path, data in contents.items()
    }
    return Tree(entries, lambda path, limit: contents[path][:limit])


class Case(NamedTuple):
    """A fixture: files and options, and the part of the plan or the errors that are expected."""

    language: str
    name: str
    given: dict[str, Any]


def cases() -> list[Case]:
    """Return the fixtures of all languages."""
    return [
        Case(path.stem, name, given)
        for path in sorted(FIXTURES.glob("*.yml"))
        for name, given in yaml.safe_load(path.read_text("utf-8")).items()
    ]


def bases(plan: Plan) -> dict[str, str]:
    return {name: f"registry:5000/base/{name.replace('/', '-')}@sha256:{'0' * 64}" for name in plan.bases}


class Instruction(NamedTuple):
    """An instruction of a Containerfile: its name, its options, and its words (or its text, if they are not JSON)."""

    name: str
    flags: tuple[str, ...]
    words: tuple[str, ...]


def parsed(text: str) -> list[Instruction]:
    """Return the instructions as builders see them: lines, continuations, here-documents, options, words."""
    found = []
    lines = text.split("\n")
    assert lines.pop() == "" and re.match(r"# (?!\s*(syntax|escape|check)\s*=)", lines[0])
    for line in lines:
        assert len(line.encode()) < 65_536 and not line.endswith("\\") and "\r" not in line
        if line.startswith("#"):
            continue
        name, _space, rest = line.partition(" ")
        assert re.fullmatch(r"[A-Z]+", name)
        flags = []
        while rest.startswith("--"):
            flag, _space, rest = rest.partition(" ")
            flags.append(flag)
        words = [rest]
        if name in ("RUN", "COPY", "CMD", "ENTRYPOINT"):
            words = json.loads(rest)
            assert "<<" not in rest and all(isinstance(word, str) for word in words)
        found.append(Instruction(name, tuple(flags), tuple(words)))
    return found
