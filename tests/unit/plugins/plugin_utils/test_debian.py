# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of root file systems: what is refused, what changes their name, what customizing does to a tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.debian import rootfs

RECIPE = {"suite": "trixie", "packages": ["systemd"], "mask": [], "disable": [], "remove": []}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"suite": ""}, "suite is missing"),
        ({"suite": 13}, "suite is missing"),
        ({"packages": "systemd"}, "packages is 'systemd'"),
        ({"mask": [1]}, "mask is [1]"),
        ({"packges": []}, "unknown keys packges"),
    ],
)
def test_recipes_are_refused(change: dict[str, object], found: str) -> None:
    with pytest.raises(rootfs.DebianError) as error:
        rootfs.check_recipe({**RECIPE, **change})
    assert found in str(error.value)
    assert "wanted" in str(error.value)


def test_digest_follows_recipe_and_overlay(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/motd"
    file.write_text("one")
    seen = {rootfs.digest(RECIPE), rootfs.digest(RECIPE, tmp_path), rootfs.digest({**RECIPE, "suite": "forky"})}
    file.write_text("two")
    seen.add(rootfs.digest(RECIPE, tmp_path))
    file.chmod(0o755)
    seen.add(rootfs.digest(RECIPE, tmp_path))
    assert len(seen) == 5
    assert rootfs.digest(RECIPE, tmp_path) == rootfs.digest(dict(reversed(RECIPE.items())), tmp_path)


@pytest.mark.parametrize(
    ("lines", "mirror"),
    [
        (
            "Debian|trixie-updates|http://one.test/debian/\nDebian|trixie|http://two.test/debian/\n",
            "http://two.test/debian",
        ),
        ("Ubuntu|noble|http://one.test/ubuntu/\n", ""),
        ("Debian|trixie|cdrom://disc/\n", ""),
        ("", ""),
    ],
)
def test_mirror_of_the_host(lines: str, mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess([], 0, lines, "")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_kwargs: answer)
    assert rootfs.host_mirror() == mirror


def ordered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Return the commands that making a root file system would run."""
    commands: list[list[str]] = []
    monkeypatch.setattr(rootfs, "host_mirror", lambda: "http://mirror.test/debian")
    monkeypatch.setattr(rootfs, "run_contained", lambda command, _progress: commands.append(command))
    monkeypatch.setattr(rootfs, "_customize", lambda *_arguments: None)
    rootfs.bootstrap(RECIPE, tmp_path / "root", tmp_path / "packages", lambda _message: None)
    return commands


def test_packages_are_used_only_with_a_signature(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own, other = tmp_path / "own.gpg", tmp_path / "other.gpg"
    other.write_bytes(b"keys")
    monkeypatch.setattr(rootfs, "KEYRINGS", (own, other))
    [command] = ordered(monkeypatch, tmp_path)
    assert command[0] == "debootstrap" and "--force-check-gpg" in command and f"--keyring={other}" in command
    own.write_bytes(b"keys")
    assert f"--keyring={own}" in ordered(monkeypatch, tmp_path)[0]


def test_without_keys_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rootfs, "KEYRINGS", (tmp_path / "none.gpg",))
    monkeypatch.setattr(rootfs, "run_contained", lambda *_arguments: pytest.fail("it ran"))
    with pytest.raises(rootfs.DebianError, match=r"none\.gpg; wanted one.*install the package debian-archive-keyring"):
        rootfs.bootstrap(RECIPE, tmp_path / "root", tmp_path / "packages", lambda _message: None)


def test_customizing_masks_disables_and_removes(tmp_path: Path) -> None:
    root, overlay = tmp_path / "root", tmp_path / "overlay"
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    # Broken as seen from outside the root, as every enabled unit is.
    (wants / "haproxy.service").symlink_to("/usr/lib/systemd/system/haproxy.service")
    for path in ("usr/share/doc/a/b", "usr/share/keep"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    (overlay / "sbin").mkdir(parents=True)
    (overlay / "sbin/start").write_text("#!/bin/sh\n")
    (overlay / "sbin/start").chmod(0o755)
    recipe = {"suite": "x", "mask": ["u.service"], "disable": ["haproxy.service"], "remove": ["usr/share/doc/*"]}
    try:
        rootfs._customize(recipe, root, overlay)
    except PermissionError:
        pytest.skip("changing owners needs root")
    assert not list(wants.iterdir())
    assert (root / "etc/systemd/system/u.service").readlink() == Path("/dev/null")
    assert not list((root / "usr/share/doc").iterdir())
    assert (root / "usr/share/keep").exists()
    assert (root / "etc/machine-id").read_text() == ""
    assert (root / "sbin/start").stat().st_mode & 0o777 == 0o755
