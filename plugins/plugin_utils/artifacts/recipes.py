# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the components of the catalogue are built: one function per `build.kind`.

A recipe gets a Context and returns artifact name -> path of the finished file below ctx.work. Add one with

    @recipe("my-kind")
    def my_kind(ctx: Context) -> Dict[str, str]: ...

or, for an image that needs its own code, without touching this file: `kind: rootfs-image` names in `function` a
"module:function" with the same signature.
"""

from __future__ import annotations

import glob
import importlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from . import gobuild, oci
from .catalogue import Component
from .errors import ArtifactError, tail
from .progress import Progress, Ticker, duration
from .store import Store


class FilePath(Protocol):
    """Anything with a path: an Artifact."""

    @property
    def path(self) -> str: ...


@dataclass(frozen=True)
class Context:
    """What a recipe may use.

    component: what to build; component.build holds its options. work: an empty directory on the store's file system.
    need: makes sure of other artifacts and returns them by name. keep_open: pass these descriptors to long-running
    children.
    """

    component: Component
    work: str
    store: Store
    toolchain: Mapping[str, Any]
    need: Callable[[list[str]], Mapping[str, FilePath]]
    progress: Progress
    keep_open: Sequence[int] = ()

    @property
    def options(self) -> Mapping[str, Any]:
        return self.component.build or {}

    @property
    def only_file(self) -> str:
        """The artifact name of a component that has one."""
        (name,) = self.component.files
        return name

    def run(
        self, command: Sequence[str], *, cwd: str | None = None, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a command with progress reports and return its output; raise with its last lines when it fails."""
        process = subprocess.Popen(
            list(command),
            cwd=cwd or self.work,
            env=None if environment is None else dict(os.environ, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
            pass_fds=tuple(self.keep_open),
        )
        try:
            with Ticker(self.progress, lambda s: f"building {self.component}: {duration(s)}, in {command[0]}"):
                output, _none = process.communicate()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise ArtifactError(
                str(self.component),
                source="build",
                where=" ".join(command),
                found=f"exit code {process.returncode}: {tail(output)}",
                wanted="exit code 0",
            )
        return output


Recipe = Callable[[Context], dict[str, str]]
RECIPES: dict[str, Recipe] = {}


def recipe(kind: str) -> Callable[[Recipe], Recipe]:
    """Register a function as the recipe of a kind."""

    def register(function: Recipe) -> Recipe:
        RECIPES[kind] = function
        return function

    return register


def build(ctx: Context) -> dict[str, str]:
    """Build a component by its kind."""
    kind = ctx.options.get("kind", "")
    if kind not in RECIPES:
        raise ArtifactError(
            str(ctx.component), source="build", found=f"recipe kind {kind!r}", wanted="one of " + ", ".join(RECIPES)
        )
    made = RECIPES[kind](ctx)
    missing = sorted(set(ctx.component.files) - set(made))
    if missing:
        raise ArtifactError(
            str(ctx.component), source="build", found="recipe {} made no {}".format(kind, ", ".join(missing))
        )
    return made


@recipe("go-wrapper")
@recipe("go-module")
def go_programs(ctx: Context) -> dict[str, str]:
    return gobuild.build_programs(ctx.store, ctx.toolchain, ctx.component, ctx.work, ctx.progress, ctx.keep_open)


@recipe("module-files")
def module_files(ctx: Context) -> dict[str, str]:
    """Files that a Go module carries beside its code, joined into one YAML file."""
    go = gobuild.find_go(ctx.store, ctx.toolchain, ctx.component.arch, ctx.progress)
    paths = gobuild.module_files(go, ctx.component, ctx.work)
    if not paths:
        raise ArtifactError(
            str(ctx.component),
            source="build",
            where=str(ctx.options["module"]),
            found="no file",
            wanted=str(ctx.options["member"]),
        )
    dest = os.path.join(ctx.work, ctx.only_file)
    gobuild.concatenate(paths, dest)
    return {ctx.only_file: dest}


@recipe("image-binary")
def image_binary(ctx: Context) -> dict[str, str]:
    """An image of nothing but static programs, CA certificates and /tmp."""
    binaries: Mapping[str, str] = ctx.options["binaries"]
    programs = ctx.need(list(binaries))
    files = [oci.Entry(path, source=programs[name].path) for name, path in binaries.items()]
    return write_scratch_image(ctx, files)


@recipe("debian-binary-image")
def debian_binary_image(ctx: Context) -> dict[str, str]:
    """An image of one static program from a Debian or Ubuntu package."""
    package, binary = str(ctx.options["package"]), str(ctx.options["binary"])
    wanted = f"{package}:{ctx.component.arch}"
    try:
        # apt checks the package against the signed list, unless its configuration takes lists without a signature.
        authentic = [
            argument
            for name in ("APT::Get::AllowUnauthenticated", "Acquire::AllowInsecureRepositories")
            for argument in ("-o", name + "=false")
        ]
        ctx.run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *authentic, wanted])
        (archive,) = glob.glob(os.path.join(ctx.work, package + "_*.deb"))
        root = os.path.join(ctx.work, "root")
        ctx.run(["dpkg-deb", "-x", archive, root])
    except (OSError, ValueError) as error:
        raise ArtifactError(
            str(ctx.component),
            source="build",
            where="apt-get download " + wanted,
            found=str(error),
            wanted="the package",
            next_step="run this on Debian or Ubuntu after `apt-get update`, or use artifacts_source upstream or mirror",
        ) from error
    except ArtifactError as error:
        error.args = (str(error) + "\nRun `apt-get update` first, or use artifacts_source upstream or mirror",)
        raise
    program = oci.Entry(str(ctx.options["path"]), source=os.path.join(root, binary))
    return write_scratch_image(ctx, [program], extras=False)


@recipe("rootfs-image")
def rootfs_image(ctx: Context) -> dict[str, str]:
    """An image (or any file) made by a function of the collection: `function: package.module:name`."""
    module, _colon, name = str(ctx.options["function"]).partition(":")
    function: Recipe = getattr(importlib.import_module(module), name)
    return function(ctx)


def write_scratch_image(ctx: Context, files: list[oci.Entry], *, extras: bool = True) -> dict[str, str]:
    """Write the component's image from files; options: entrypoint, cmd, env, user, writable (directories of user)."""
    user = str(ctx.options.get("user", "65532:65532"))
    uid, _colon, gid = user.partition(":")
    entries = list(files)
    if extras:
        entries.append(oci.Entry("/tmp", mode=0o1777))
        entries.append(
            oci.Entry("/etc/ssl/certs/ca-certificates.crt", content=_ca_certificates(ctx.component), mode=0o644)
        )
        accounts = f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{uid}:{gid or uid}:nonroot:/:/sbin/nologin\n"
        entries.append(oci.Entry("/etc/passwd", content=accounts.encode(), mode=0o644))
    for directory in ctx.options.get("writable", []):
        entries.append(oci.Entry(directory, mode=0o755, uid=int(uid), gid=int(gid or uid)))
    config = {
        "Entrypoint": ctx.options["entrypoint"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *ctx.options.get("env", [])],
        "Labels": {
            "org.opencontainers.image.title": ctx.component.name,
            "org.opencontainers.image.version": ctx.component.version,
        },
        "User": user,
        "WorkingDir": "/",
    }
    if "cmd" in ctx.options:
        config["Cmd"] = ctx.options["cmd"]
    dest = os.path.join(ctx.work, ctx.only_file + ".tar")
    repository = ctx.component.name.removeprefix("image-")
    oci.write_image(
        [oci.FileLayer(entries)],
        config,
        dest,
        arch=ctx.component.arch,
        name=f"cloudbang.invalid/{repository}:{ctx.component.version}",
    )
    return {ctx.only_file: dest}


def _ca_certificates(component: Component) -> bytes:
    """The certificate bundle of the locked Python environment (the same on every controller), else the host's."""
    places = []
    try:
        import certifi

        places.append(certifi.where())
    except ImportError:
        pass
    places += ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
    for place in places:
        if os.path.exists(place):
            with open(place, "rb") as stream:
                return stream.read()
    raise ArtifactError(
        str(component),
        source="build",
        found="no CA certificates in " + ", ".join(places),
        wanted="a bundle for the image",
        next_step="install the package ca-certificates",
    )
