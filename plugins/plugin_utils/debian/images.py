# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images of Debian packages and applications from the Python package index."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..artifacts import oci
from ..artifacts.errors import ArtifactError
from ..artifacts.recipes import Context
from .rootfs import DebianError, bootstrap, digest, run_contained

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_SPACE_B = 2 << 30
_PLACE = "usr/local/lib/python{python}/dist-packages"
_SCRIPT = """#!/usr/bin/python3
import sys
from {module} import {function}

sys.exit({function}())
"""


def python_app(ctx: Context) -> dict[str, str]:
    """An image of two layers: Debian with its Python, and an application installed from wheels.

    Options: suite, packages, remove (the base, see the module rootfs); python ("3.13"); wheels and sdists
    ({"name==version": [sha256, ...]}; an sdist is built on this host, with the wheels in build_tools); scripts
    ({name: "module:function"}); entrypoint, cmd, env, user, port.
    """
    options = ctx.options
    root = Path(ctx.work, "root")
    try:
        base = _base(ctx)
        root.mkdir()
        ctx.run(["tar", "--extract", "--numeric-owner", f"--file={base}", f"--directory={root}"])
        place = root / _PLACE.format(python=options["python"])
        _install(ctx, place)
        _scripts(options.get("scripts", {}), root / "usr/local/bin")
        # The application cannot write its own byte code; that of this layer is complete and is never checked.
        compile_command = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        run_contained(["chroot", str(root), *compile_command, f"/{place.relative_to(root)}"], ctx.progress)
    except DebianError as error:
        raise ArtifactError(str(ctx.component), source="build", found=str(error), wanted="exit status 0") from error
    layer = Path(ctx.work, "app.tar")
    _tar(ctx, root, layer, ["usr/local/bin", str(place.relative_to(root))])
    config = {
        "Entrypoint": options["entrypoint"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *options.get("env", [])],
        "ExposedPorts": {f"{options['port']}/tcp": {}},
        "Labels": {
            "org.opencontainers.image.title": ctx.component.name,
            "org.opencontainers.image.version": ctx.component.version,
        },
        "User": options["user"],
        "WorkingDir": "/",
    }
    if "cmd" in options:
        config["Cmd"] = options["cmd"]
    dest = os.path.join(ctx.work, ctx.only_file + ".tar")
    name = f"cloudbang.invalid/{ctx.component.name.removeprefix('image-')}:{ctx.component.version}"
    layers = [oci.TarLayer(str(base)), oci.TarLayer(str(layer))]
    oci.write_image(layers, config, dest, arch=ctx.component.arch, name=name)
    shutil.rmtree(root)
    return {ctx.only_file: dest}


def _base(ctx: Context) -> Path:
    """The base layer as a tar, shared by every image of the same recipe."""
    recipe = {key: ctx.options[key] for key in ("suite", "packages", "remove") if key in ctx.options}

    def build(directory: str) -> str:
        ctx.store.require_space(_SPACE_B, str(ctx.component))
        root, archive = Path(directory, "root"), Path(directory, "base.tar")

        def progress(text: str) -> None:
            ctx.progress(f"building {ctx.component}: {text}")

        bootstrap(recipe, root, Path(ctx.store.path("debian")), progress)
        # A container gets its own.
        for name in ("dev", "proc", "sys", "run", "tmp"):
            for path in (root / name).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        _tar(ctx, root, archive, ["."])
        return str(archive)

    key = f"debian/{ctx.component.arch}-{digest(recipe)}"
    return Path(ctx.store.get_or_create(key, build, progress=ctx.progress).path)


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


def _tar(ctx: Context, root: Path, archive: Path, members: Sequence[str]) -> None:
    command = ["tar", "--create", "--numeric-owner", "--sort=name", "--format=posix"]
    ctx.run([*command, f"--file={archive}", f"--directory={root}", *members])
