# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images of Debian packages and applications from the Python package index."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import PREFIX

from ..artifacts import oci
from ..artifacts.errors import ArtifactError
from ..artifacts.recipes import Context
from . import layers as layer_files
from .rootfs import DebianError, bootstrap, digest, remove, run_contained

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_SPACE_B = 2 << 30
# Part of the key of the lowest layer: raise it when the code below changes the result of an unchanged recipe.
_REVISION = 1
USER, USER_ID, HOME = "app", 10001, "/app"
# Who makes images of one installs packages as root, and sets the user of applications at the end.
_DEFAULTS = {"entrypoint": ["/usr/bin/catatonit", "--"], "env": ["LANG=C.UTF-8"], "user": "0:0"}
# Patterns of the Debian package that has the program of a language.
_LANGUAGES = {"go": r"golang-[0-9.]+-go", "python": "python3"}
# What the host or the day of the build has left in a root file system, and caches.
_LEFTOVERS = (
    "etc/*-",
    "etc/.pwd.lock",
    "etc/hostname",
    "etc/resolv.conf",
    "var/cache/*/*",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "var/log/*",
)
_EMPTY = ("dev/*", "proc/*", "sys/*", "run/*", "tmp/*")
_PLACE = "usr/local/lib/python{python}/dist-packages"
_SCRIPT = """#!/usr/bin/python3
import sys
from {module} import {function}

sys.exit({function}())
"""


def debian(ctx: Context) -> dict[str, str]:
    """An image of a Debian root file system, from which images of applications are made, or in which they are built.

    It has the user `app` and its directory /app, and the package sources that Debian's apt documents: nothing in it is
    of this host, and the same packages give the same image.

    Options: suite, packages, remove (the lowest layer, see the module rootfs; recipes that have them in common share
    it); more_packages (the next layer); keep (instead of it: the image has these paths of the lowest layer only, with
    what is in them); offers ({language: [version]}, of which its Debian package must be; a label has the exact one);
    files ({path: text}), links ({path: target}), binaries ({artifact: path}); entrypoint (catatonit), cmd, env, user
    (root), port.
    """
    options = ctx.options
    base, top = _lowest_layer(ctx), Path(ctx.work, "top.tar")
    try:
        if options.get("keep"):
            layer_files.select(base, top, options["keep"])
            tars = [top]
        elif options.get("more_packages"):
            _write_layer(ctx, options["more_packages"], top, base)
            tars = [base, top]
        else:
            tars = [base]
        versions = _versions(tars[-1], options.get("offers", {}))
    except DebianError as error:
        raise _failed(ctx, error) from error
    layers: list[oci.Layer] = [oci.TarLayer(str(path)) for path in tars]
    programs = ctx.need(list(options.get("binaries", {})))
    entries = [
        *(oci.Entry(path, content=text.encode(), mode=0o644) for path, text in options.get("files", {}).items()),
        *(oci.Entry(path, link=target) for path, target in options.get("links", {}).items()),
        *(oci.Entry(path, source=programs[name].path) for name, path in options.get("binaries", {}).items()),
    ]
    if entries:
        layers.append(oci.FileLayer(entries))
    return _image(ctx, layers, {PREFIX + name: version for name, version in versions.items()})


def python_app(ctx: Context) -> dict[str, str]:
    """An image of two layers: Debian with its Python, and an application installed from wheels.

    Options: suite, packages, remove (the base, see the module rootfs); python ("3.13"); wheels and sdists
    ({"name==version": [sha256, ...]}; an sdist is built on this host, with the wheels in build_tools); scripts
    ({name: "module:function"}); entrypoint, cmd, env, user, port.
    """
    options = ctx.options
    root, layer = Path(ctx.work, "root"), Path(ctx.work, "app.tar")
    started = int(time.time())
    base = _lowest_layer(ctx)
    try:
        root.mkdir()
        ctx.run(["tar", "--extract", "--numeric-owner", f"--file={base}", f"--directory={root}"])
        place = root / _PLACE.format(python=options["python"])
        _install(ctx, place)
        _scripts(options.get("scripts", {}), root / "usr/local/bin")
        # The application cannot write its own byte code; that of this layer is complete and is never checked.
        compile_command = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        run_contained(["chroot", str(root), *compile_command, f"/{place.relative_to(root)}"], ctx.progress)
        layer_files.write(root, layer, started, base)
    except DebianError as error:
        raise _failed(ctx, error) from error
    shutil.rmtree(root)
    return _image(ctx, [oci.TarLayer(str(base)), oci.TarLayer(str(layer))])


def _failed(ctx: Context, error: DebianError) -> ArtifactError:
    return ArtifactError(str(ctx.component), source="build", found=str(error), wanted="a root file system")


def _image(ctx: Context, layers: Sequence[oci.Layer], labels: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write the image of these layers with the component's configuration."""
    options = {**_DEFAULTS, **ctx.options}
    config: dict[str, Any] = {
        "Entrypoint": options["entrypoint"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *options["env"]],
        "Labels": {
            "org.opencontainers.image.title": ctx.component.name,
            "org.opencontainers.image.version": ctx.component.version,
            **(labels or {}),
        },
        "User": options["user"],
        "WorkingDir": "/",
    }
    if "port" in options:
        config["ExposedPorts"] = {f"{options['port']}/tcp": {}}
    if "cmd" in options:
        config["Cmd"] = options["cmd"]
    dest = os.path.join(ctx.work, ctx.only_file + ".tar")
    name = f"cloudbang.invalid/{ctx.component.name.removeprefix('image-')}:{ctx.component.version}"
    oci.write_image(layers, config, dest, arch=ctx.component.arch, name=name)
    return {ctx.only_file: dest}


def _lowest_layer(ctx: Context) -> Path:
    """The lowest layer as a tar, shared by every image with the same one."""

    def build(directory: str) -> str:
        archive = Path(directory, "layer.tar")
        _write_layer(ctx, (), archive)
        return str(archive)

    recipe = {key: ctx.options[key] for key in ("suite", "packages", "remove") if key in ctx.options}
    key = f"debian/{ctx.component.arch}-{digest({'revision': _REVISION, **recipe})}"
    try:
        return Path(ctx.store.get_or_create(key, build, progress=ctx.progress).path)
    except DebianError as error:
        raise _failed(ctx, error) from error


def _write_layer(ctx: Context, packages: Sequence[str], archive: Path, below: Path | None = None) -> None:
    """Make the root file system of the recipe and more packages, and write its layer above the one below."""
    ctx.store.require_space(_SPACE_B, str(ctx.component))
    root = archive.with_suffix(".root")
    started = int(time.time())

    def progress(text: str) -> None:
        ctx.progress(f"building {ctx.component}: {text}")

    recipe = {"suite": ctx.options["suite"], "packages": [*ctx.options["packages"], *packages]}
    bootstrap(recipe, root, Path(ctx.store.path("debian")), progress)
    make_portable(root)
    remove(root, ctx.options.get("remove", []))
    progress("packing")
    layer_files.write(root, archive, started, below)
    shutil.rmtree(root)


def make_portable(root: Path) -> None:
    """Take out of a root file system what is of this host or of the day, and add the user of applications."""
    sources = root / "usr/share/doc/apt/examples/debian.sources"
    target = root / "etc/apt/sources.list.d/debian.sources"
    shutil.copyfile(sources, target)
    target.chmod(0o644)
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    remove(root, (*_EMPTY, *_LEFTOVERS))
    shadow = root / "etc/shadow"
    # The third field is the day of the last change.
    fields = [line.split(":") for line in shadow.read_text(encoding="utf-8").splitlines()]
    shadow.write_text("".join(":".join([*line[:2], "", *line[3:]]) + "\n" for line in fields), encoding="utf-8")
    accounts = {
        "passwd": f"{USER}:x:{USER_ID}:{USER_ID}::{HOME}:/usr/sbin/nologin",
        "group": f"{USER}:x:{USER_ID}:",
        "shadow": f"{USER}:!:::::::",
        "gshadow": f"{USER}:!::",
    }
    for name, line in accounts.items():
        with (root / "etc" / name).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    home = root / HOME.lstrip("/")
    home.mkdir()
    home.chmod(0o755)
    os.chown(home, USER_ID, USER_ID)


def _versions(layer: Path, offers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the exact version of each language that an image offers; raise when it is none that is offered."""
    status = layer_files.read(layer, "var/lib/dpkg/status").decode() if offers else ""
    installed = dict(re.findall(r"^Package: (\S+)$(?:\n.+)*?\nVersion: (\S+)$", status, re.M))
    found = {}
    for language, versions in offers.items():
        pattern = _LANGUAGES[language]
        # The version of the project alone, without Debian's epoch and revision.
        there = [re.sub(r"\A\d+:|[-+~].*", "", installed[name]) for name in installed if re.fullmatch(pattern, name)]
        if len(there) != 1 or not any(f"{there[0]}.".startswith(f"{one}.") for one in versions):
            seen, wanted = ", ".join(there) or "none", " or ".join(versions)
            raise DebianError(f"offers.{language}: found the versions {seen} of {pattern}; wanted one, of {wanted}")
        found[language] = there[0]
    return found


def _install(ctx: Context, place: Path) -> None:
    """Download the pinned packages, build those without a wheel, install all into ``place``."""
    options = ctx.options
    machine = _MACHINES[ctx.component.arch]
    wheels, built, tools = Path(ctx.work, "wheels"), Path(ctx.work, "built"), Path(ctx.work, "tools")
    target = [f"--python-version={options['python']}", "--only-binary=:all:"]
    target += [f"--platform={tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    ctx.progress(f"building {ctx.component}: downloading Python packages")
    _pip(ctx, "download", ["--no-deps", f"--dest={wheels}", *target], options["wheels"])
    found = sorted(str(path) for path in wheels.iterdir())
    if options.get("sdists"):
        _pip(ctx, "install", ["--no-deps", f"--target={tools}", "--only-binary=:all:"], options["build_tools"])
        arguments = ["--no-deps", "--no-build-isolation", f"--wheel-dir={built}"]
        _pip(ctx, "wheel", arguments, options["sdists"], {"PYTHONPATH": str(tools)})
        found += sorted(str(path) for path in built.iterdir())
    ctx.progress(f"building {ctx.component}: installing Python packages")
    _pip(ctx, "install", ["--no-deps", "--no-index", "--no-compile", f"--target={place}", *target, *found])
    shutil.rmtree(place / "bin", ignore_errors=True)


def _pip(
    ctx: Context,
    command: str,
    arguments: Sequence[str],
    pinned: Mapping[str, Sequence[str]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run pip with the controller's own index settings; ``pinned`` becomes a requirements file with hashes."""
    full = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", command, *arguments]
    if pinned is not None:
        requirements = Path(ctx.work, f"{command}.txt")
        lines = [
            f"{name} {' '.join('--hash=sha256:' + value for value in values)}\n" for name, values in pinned.items()
        ]
        requirements.write_text("".join(lines), encoding="utf-8")
        full += ["--require-hashes", f"--requirement={requirements}"]
    ctx.run(full, environment={"PIP_ROOT_USER_ACTION": "ignore", **(environment or {})})


def _scripts(scripts: Mapping[str, str], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, target in scripts.items():
        module, _colon, function = target.partition(":")
        path = directory / name
        path.write_text(_SCRIPT.format(module=module, function=function), encoding="utf-8")
        path.chmod(0o755)
    python = directory / "python"
    python.unlink(missing_ok=True)
    python.symlink_to("/usr/bin/python3")
