# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rust: packages and workspaces of Cargo, and the binaries that they make. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .compiled import BINARIES, Program, image, included, one_program, warn_of_data
from .documents import part, text_at, texts_at
from .libraries import native
from .plan import Output, Plan, Process, Step, Version
from .project import Project, Wish
from .tree import MAX_LOCK, globbed, joined, plain
from .versions import ANY, Range, exactly, or_newer

MAX_PATTERNS = 100
MAX_TARGETS = 200
_BINARY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\Z")
_TARGET = re.compile(r"(?:\A|/)(src/(?:lib|main)\.rs|src/bin/[^/]+\.rs|src/bin/[^/]+/main\.rs|build\.rs)\Z")
_TOUCH = ("/bin/sh", "-ec", 'for file; do mkdir -p "${file%/*}"; : > "$file"; done', "touch")
_COPY = ("/bin/sh", "-ec", 'mkdir -p /out/bin; for name; do cp "target/release/$name" /out/bin/; done', "copy")


@dataclass(frozen=True)
class Package:
    """A package of Cargo: its directory from the root, its name, its binaries by their files, and the default one."""

    directory: str
    name: str
    binaries: dict[str, str]
    default: str


def match(project: Project) -> str:
    """Return the file that makes a tree one of Rust, "" without one."""
    return project.tree.first(("Cargo.toml",))


def plan(project: Project) -> Plan:
    """Return the plan of a project of Rust."""
    if not match(project):
        project.wrong("Cargo.toml", "no such file", "the package of Cargo: run cargo init")
    root = _root(project)
    packages = list(_packages(root))
    mine = [one for one in packages if one.directory == project.tree.from_root(root.tree.directory)]
    chosen = mine if mine and (mine[0].binaries or root is not project) else packages
    binaries = {name: joined(one.directory, file) for one in chosen for name, file in one.binaries.items()}
    defaults = [one.default for one in chosen if one.default in binaries]
    asked = project.options.bin or (defaults[0] if len(defaults) == 1 else "")
    program = one_program(project, binaries, asked, "bin")
    version = _version(project, root)
    locked = root.toml("Cargo.lock", MAX_LOCK)
    if not root.tree.has("Cargo.lock"):
        root.wrong("Cargo.lock", "no such file", "the lock of the crates: run cargo generate-lockfile, and commit it")
    names = _crates(locked)
    native(project, "rust", names)
    processes = project.processes(lambda: _web(program))
    warn_of_data(project)
    manifests, touched = _manifests(root, packages)
    return Plan(
        "rust",
        "cargo",
        (version,),
        root=root.tree.directory,
        build_base="build/rust",
        run_base=image(project, processes),
        manifests=manifests,
        install=(*touched, Step(("cargo", "fetch", "--locked"), network=True)),
        build=_build(chosen, binaries, packages),
        outputs=(Output("/out/bin/", f"{BINARIES}/"), *included(project, root.tree.directory)),
        environment=(("PATH", f"{BINARIES}:/usr/local/bin:/usr/bin:/bin"), *(_ROCKET if "rocket" in names else ())),
        processes=processes,
    )


_ROCKET = (("ROCKET_ADDRESS", "0.0.0.0"), ("ROCKET_PORT", "8080"))


def _web(program: Program | None) -> Process | None:
    return Process("web", program.name, program.source) if program else None


def _root(project: Project) -> Project:
    """Return the project of the workspace around this one, itself without one."""
    for tree in list(project.tree.upward())[1:]:
        if tree.has("Cargo.toml"):
            around = project.at(tree)
            patterns = texts_at(around.toml("Cargo.toml"), "workspace", "members")[:MAX_PATTERNS]
            if any(globbed(project.tree.from_root(tree.directory), pattern) for pattern in patterns):
                return around
    return project


def _packages(root: Project) -> Iterator[Package]:
    """Yield the package of the root and those of its workspace."""
    manifest = root.toml("Cargo.toml")
    patterns = texts_at(manifest, "workspace", "members")[:MAX_PATTERNS]
    excluded = texts_at(manifest, "workspace", "exclude")
    members = root.members("Cargo.toml", patterns)
    for directory in (["."] if part(manifest, "package") else []) + members:
        if directory not in excluded:
            yield _package(root, directory)


def _package(root: Project, directory: str) -> Package:
    path = joined(directory, "Cargo.toml")
    manifest = root.toml(path)
    name = text_at(manifest, "package", "name")
    if not _BINARY.match(name):
        root.wrong(f"{path}: package.name", shown(name), "letters, digits, _ and -")
        name = "app"
    binaries = {}
    entries = manifest.get("bin")
    for entry in entries if isinstance(entries, list) else []:
        binary = text_at(entry, "name")
        if _BINARY.match(binary):
            binaries[binary] = text_at(entry, "path") or f"src/bin/{binary}.rs"
        else:
            root.wrong(f"{path}: bin", shown(binary), "letters, digits, _ and -")
    if part(manifest, "package").get("autobins") is not False:
        binaries.update(_found(root, directory, name, set(binaries.values())))
    return Package(directory, name, binaries, text_at(manifest, "package", "default-run"))


def _found(root: Project, directory: str, name: str, known: set[str]) -> dict[str, str]:
    """Return the binaries that Cargo finds by the places of files."""
    found = {}
    if root.tree.has(joined(directory, "src/main.rs")) and "src/main.rs" not in known:
        found[name] = "src/main.rs"
    prefix = joined(directory, "src/bin") + "/"
    for path in root.tree.paths:
        rest = path[len(prefix) :] if path.startswith(prefix) else ""
        binary = rest[:-8] if rest.endswith("/main.rs") else rest[:-3] if rest.endswith(".rs") else ""
        file = f"src/bin/{rest}"
        if "/" not in binary and _BINARY.match(binary) and file not in known:
            found[binary] = file
    return found


def _version(project: Project, root: Project) -> Version:
    text = root.text("rust-toolchain").strip()
    legacy = "" if "[" in text or "=" in text else text
    documents = ["rust-toolchain.toml"] if root.tree.has("rust-toolchain.toml") else []
    documents += ["rust-toolchain"] if text and not legacy else []
    channel = next((text_at(root.toml(path), "toolchain", "channel") for path in documents), legacy)
    manifest = root.toml("Cargo.toml")
    asked = part(manifest, "package").get("rust-version")
    shared = text_at(manifest, "workspace", "package", "rust-version")
    return project.version(
        "rust",
        project.wishes(
            "rust",
            Wish("rust-toolchain.toml: toolchain.channel" if documents else "rust-toolchain", channel, _channel),
            Wish("Cargo.toml: rust-version", asked if isinstance(asked, str) else shared, or_newer),
        ),
    )


def _channel(text: str) -> Range:
    """Return the range of a channel of rustup. Raises ValueError."""
    return ANY if text == "stable" else exactly(text)


def _crates(lock: dict[str, Any]) -> set[str]:
    packages = lock.get("package")
    return {text_at(entry, "name") for entry in (packages if isinstance(packages, list) else [])}


def _manifests(root: Project, packages: list[Package]) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    """Return the manifests, and the step that makes empty files of the targets, without which Cargo reads none."""
    files = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml"]
    files += [joined(one.directory, "Cargo.toml") for one in packages]
    directories = {one.directory for one in packages}
    matches = [(path, match) for path in root.tree.paths for match in [_TARGET.search(path)] if match]
    targets = [path for path, match in matches if (path[: match.start(1)].rstrip("/") or ".") in directories]
    local = any(_elsewhere(root, one.directory, directories) for one in packages)
    if local or len(targets) > MAX_TARGETS or not all(map(plain, targets)):
        return ("./",), ()
    touched = (Step((*_TOUCH, *(f"./{path}" for path in dict.fromkeys(targets)))),) if targets else ()
    return tuple(path for path in dict.fromkeys(files) if root.tree.has(path)), touched


def _elsewhere(root: Project, directory: str, known: set[str]) -> bool:
    """Return whether a package depends on a directory that is no package of the workspace."""
    manifest = root.toml(joined(directory, "Cargo.toml"))
    kinds = [part(manifest, kind) for kind in ("dependencies", "dev-dependencies", "build-dependencies")]
    kinds.append(part(root.toml("Cargo.toml"), "workspace", "dependencies"))
    paths = [text_at(entry, "path") for kind in kinds for entry in kind.values()]
    return any(path and posixpath.normpath(posixpath.join(directory, path)) not in known for path in paths)


def _build(chosen: list[Package], binaries: dict[str, str], packages: list[Package]) -> tuple[Step, ...]:
    if not binaries:
        return ()
    which = tuple(f"--package={one.name}" for one in chosen if one.binaries) if len(packages) > 1 else ()
    build = ("cargo", "build", "--release", "--locked", "--offline", "--bins", *which)
    return Step(build), Step((*_COPY, *sorted(binaries)))
