# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root file systems made of Debian packages, for machines that have a package mirror and no image registry.

A recipe is plain data:
    suite      release name, e.g. trixie
    packages   list of packages beside the minimal system
    mask       systemd units that are never to run
    disable    systemd units that are installed but not started at boot
    remove     glob patterns of paths below the root, deleted at the end
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError

Progress = Callable[[str], None]

# Part of every key: raise it when the code below changes the result of an unchanged recipe.
_REVISION = 1
_INTERVAL_S = 5.0
_STEPS = ("Retrieving", "Validating", "Extracting", "Unpacking", "Configuring")
_KEYS = {"suite", "packages", "mask", "disable", "remove"}
# Keys of Debian's archive, those of the administrator first: an older Ubuntu has none of newer releases.
KEYRINGS = tuple(
    Path(directory, "debian-archive-keyring" + ending)
    for directory in ("/etc/apt/keyrings", "/usr/share/keyrings")
    for ending in (".pgp", ".gpg")
)
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class DebianError(PlatformError):
    """A root file system could not be built. The message has the command and its result."""


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Raise when the recipe is not of the shape described above."""
    unknown = sorted(set(recipe) - _KEYS)
    if unknown:
        raise DebianError(f"recipe: unknown keys {', '.join(unknown)}; wanted: {', '.join(sorted(_KEYS))}")
    if not isinstance(recipe.get("suite"), str) or not recipe["suite"]:
        raise DebianError("recipe: suite is missing; wanted: the name of a Debian release, e.g. trixie")
    for key in sorted(_KEYS - {"suite"}):
        value = recipe.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise DebianError(f"recipe: {key} is {value!r}; wanted: a list of strings")


def digest(recipe: Mapping[str, Any], overlay: Path | None = None) -> str:
    """Return the hex digest of a recipe and its files, the same on every machine of one architecture."""
    seen = hashlib.sha256(json.dumps([_REVISION, os.uname().machine, recipe], sort_keys=True).encode())
    for path in sorted(overlay.rglob("*")) if overlay else []:
        if path.is_file():
            mode = "x" if os.access(path, os.X_OK) else "-"
            seen.update(f"{path.relative_to(overlay)} {mode} ".encode())  # type: ignore[arg-type]
            seen.update(hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()


def host_mirror() -> str:
    """Return the package mirror that this host itself uses for Debian, or ``""`` for debootstrap's own default."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)", "Created-By: Packages"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, env=_ENVIRONMENT, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    for line in answer.stdout.splitlines():
        origin, codename, uri = [*line.split("|"), "", ""][:3]
        if origin == "Debian" and "-" not in codename and uri.startswith(("http://", "https://", "file:")):
            return uri.rstrip("/")
    return ""


def keyring() -> Path:
    """Return the keys of Debian's archive, with which the list of all packages is signed."""
    found = next((path for path in KEYRINGS if path.is_file()), None)
    if found is None:
        raise DebianError(
            f"keys of Debian's archive: found none of {', '.join(map(str, KEYRINGS))}; wanted one: only packages that "
            "a signature covers are used, so install the package debian-archive-keyring"
        )
    return found


def bootstrap(
    recipe: Mapping[str, Any],
    root: Path,
    packages_dir: Path,
    progress: Progress,
    overlay: Path | None = None,
) -> None:
    """Make the recipe's root file system in the directory ``root``; ``packages_dir`` keeps downloaded packages.

    Packages that are kept there are checked again each time.
    """
    check_recipe(recipe)
    root.mkdir(parents=True, exist_ok=True)
    packages_dir.mkdir(parents=True, exist_ok=True)
    # The script of unstable serves every release, also one that this host's debootstrap is too old to know.
    command = [
        "debootstrap",
        "--variant=minbase",
        # Signature, list of packages and packages are checked in a chain, or nothing is made: without these two options
        # debootstrap only warns when there are no keys.
        "--force-check-gpg",
        f"--keyring={keyring()}",
        f"--include={','.join(recipe.get('packages', []))}",
        f"--cache-dir={packages_dir}",
        recipe["suite"],
        str(root),
        host_mirror(),
        "/usr/share/debootstrap/scripts/sid",
    ]
    run_contained(command, progress)
    _customize(recipe, root, overlay)


def run_contained(command: list[str], progress: Progress) -> None:
    """Run a command that mounts file systems, in namespaces of its own, so that killing it leaves nothing behind."""
    wrapped = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    said = time.monotonic()
    kept: list[str] = []
    try:
        process = subprocess.Popen(
            [*wrapped, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_ENVIRONMENT,
        )
    except OSError as error:
        raise DebianError(f"{command[0]}: {error}") from error
    with process:
        for line in process.stdout or ():
            text = line.strip().removeprefix("I: ")
            kept = [*kept[-9:], text]
            if time.monotonic() - said >= _INTERVAL_S and text.startswith(_STEPS):
                said = time.monotonic()
                progress(text.rstrip("."))
    if process.returncode:
        raise DebianError(f"{' '.join(command)}: exit status {process.returncode}: {' / '.join(filter(None, kept))}")


def remove(root: Path, patterns: Iterable[str]) -> None:
    """Remove the files and directories below ``root`` that a pattern matches."""
    for pattern in patterns:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def pack(root: Path, archive: Path, progress: Progress) -> None:
    """Write ``root`` as a tar archive compressed with zstd, its members in a fixed order."""
    progress("packing")
    command = [
        "tar",
        "--create",
        "--numeric-owner",
        "--sort=name",
        "--xattrs",
        "--use-compress-program=zstd -T0 -6",
        f"--file={archive}",
        f"--directory={root}",
        ".",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=_ENVIRONMENT)
    if answer.returncode:
        raise DebianError(f"{' '.join(command)}: exit status {answer.returncode}: {answer.stderr.strip()[-400:]}")


def _customize(recipe: Mapping[str, Any], root: Path, overlay: Path | None) -> None:
    units = root / "etc/systemd/system"
    for unit in recipe.get("disable", []):
        for directory in units.glob("*.wants"):
            # The link is broken as seen from outside, which Path.glob would skip.
            (directory / unit).unlink(missing_ok=True)
    for unit in recipe.get("mask", []):
        link = units / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    remove(root, recipe.get("remove", []))
    # An empty machine-id is filled at the first boot; a fixed one would be the same on every node.
    (root / "etc/machine-id").write_text("", encoding="ascii")
    if overlay:
        _copy_overlay(overlay, root)


def _copy_overlay(overlay: Path, root: Path) -> None:
    for path in sorted(overlay.rglob("*")):
        target = root / path.relative_to(overlay)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            shutil.copyfile(path, target)
            target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
            os.chown(target, 0, 0)
