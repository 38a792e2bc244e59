# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cache keys of a build: of layers, images and directories of downloads. Pure.

A key is made of named parts, so that a miss can name what has changed. Of credentials it has the names, never values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

from ..spec import canonical
from .plan import FORMAT, Plan, Step
from .tree import Tree

SOURCE = "./"


@dataclass(frozen=True)
class Key:
    """A cache key by its parts: what each is of, and a digest or a short text."""

    parts: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        return _digest(self.parts)

    def changed(self, other: Key) -> tuple[str, ...]:
        """Return the names of the parts that are not the same in another key."""
        # A manifest may have the name of another part.
        return tuple(sorted({name for name, _value in set(self.parts) ^ set(other.parts)}))

    def __str__(self) -> str:
        listed = " + ".join(f"{name} {visible(value)[:12] or '(none)'}" for name, value in self.parts)
        return f"{self.digest[:12]} = {listed}"


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def base(packages: Mapping[str, str], snapshot: str, versions: Mapping[str, str]) -> Key:
    """Return the key of a base image: Debian packages, the date of their snapshot, and versions of languages."""
    return Key(
        (
            ("packages", _digest(sorted(packages.items()))),
            ("snapshot", snapshot),
            *sorted(versions.items()),
        )
    )


def dependencies(
    tree: Tree, plan: Plan, bases: Mapping[str, str], architecture: str, credentials: Iterable[str] = ()
) -> Key:
    """Return the key of the layer that `plan.install` makes, with no parts for a Dockerfile.

    tree: that of the whole context. bases: the references of `plan.bases`. credentials: their names.
    """
    if plan.containerfile:
        return Key(())
    common = _layer(tree, plan, plan.build_base, plan.manifests, plan.install, bases, architecture, credentials)
    return Key((*common, ("apt", " ".join(plan.apt_build))))


def assets(tree: Tree, plan: Plan, bases: Mapping[str, str], architecture: str, credentials: Iterable[str] = ()) -> Key:
    """Return the key of the layer that the Node stage of another language installs, with no parts if there is none."""
    made = plan.assets
    if made is None:
        return Key(())
    return Key(_layer(tree, plan, made.base, made.manifests, made.install, bases, architecture, credentials))


def _layer(
    tree: Tree,
    plan: Plan,
    base_name: str,
    manifests: tuple[str, ...],
    steps: tuple[Step, ...],
    bases: Mapping[str, str],
    architecture: str,
    credentials: Iterable[str],
) -> tuple[tuple[str, str], ...]:
    root = tree.below(plan.root)
    return (
        ("toolchain", _identity(bases[base_name])),
        *((path if path != SOURCE else "source", _content(root, path)) for path in sorted(manifests)),
        ("commands", _digest([[*step.command, step.directory] for step in steps])),
        ("architecture", architecture),
        ("credentials", " ".join(sorted(set(credentials)))),
        ("format", str(FORMAT)),
    )


def image(tree: Tree, plan: Plan, bases: Mapping[str, str], arguments: Mapping[str, str]) -> Key:
    """Return the key of an image. tree: that of the whole context; arguments: all else that the build is given."""
    return Key(
        (
            ("source", content(tree)),
            ("plan", plan.digest),
            *((name, _identity(bases[name])) for name in sorted(plan.bases)),
            ("arguments", _digest(sorted(arguments.items()))),
        )
    )


def downloads(plan: Plan, architecture: str) -> str:
    """Return the name of the directory of downloads of a language and its tool, which builds of a tenant share."""
    major = next((version.value.partition(".")[0] for version in plan.versions if version.name == plan.tool), "0")
    return "-".join((plan.language, plan.tool, major, architecture))


def incremental(app: str, branch: str, plan: Plan, bases: Mapping[str, str]) -> Key:
    """Return the key of what a compiler keeps from the last build of a branch that succeeded."""
    return Key((("app", app), ("branch", branch), ("toolchain", _identity(bases.get(plan.build_base, "")))))


def content(tree: Tree) -> str:
    """Return the digest of all files of a tree: paths, modes and content, in no order."""
    return _digest([(path, tree.digest_of(path)) for path in tree.paths])


def _content(root: Tree, path: str) -> str:
    """Return the digest of a manifest, a directory or the whole source."""
    if path == SOURCE:
        return content(root)
    return content(root.below(path)) if path.endswith("/") else _digest(root.digest_of(path))


def _identity(image_name: str) -> str:
    """Return the digest of a base image, its name if that has none."""
    return image_name.rpartition("@sha256:")[2]
