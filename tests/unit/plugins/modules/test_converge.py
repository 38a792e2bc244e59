# SPDX-License-Identifier: GPL-3.0-or-later
"""The module converge: what it changes, what it leaves, what it refuses, and how it knows what a unit runs with."""

from __future__ import annotations

import base64
import getpass
import grp
import hashlib
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError
from ansible_collections.cloudbang.platform.plugins.module_utils.host import files as host_files
from ansible_collections.cloudbang.platform.plugins.module_utils.host import services as host_services
from ansible_collections.cloudbang.platform.plugins.module_utils.host.certificates import Certificates, pair

OWNER, GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name


class Fake:
    """As much of AnsibleModule as the logic uses."""

    def __init__(self, check: bool = False, diff: bool = False) -> None:
        self.check_mode = check
        self._diff = diff
        self.units: dict[str, str] = {}
        self.calls: list[list[str]] = []

    def run_command(self, command: list[str], data: bytes | None = None, **_options: Any) -> tuple[int, str, str]:
        if command[0] not in ("systemctl", "journalctl"):
            assert data != b"", "AnsibleModule leaves a command without data its own standard input, a terminal maybe"
            done = subprocess.run(command, input=data, capture_output=True, check=False)
            return done.returncode, done.stdout.decode(), done.stderr.decode()
        if command[1] == "show":
            return 0, "".join(f"{key}={value}\n" for key, value in self.units.items()), ""
        if command[0] == "systemctl":
            self.calls.append(command[1:])
            if command[1] in ("restart", "reload"):
                self.units["ActiveState"] = "active"
        return 0, "", ""

    @property
    def verbs(self) -> list[str]:
        return [call[0] for call in self.calls if call[0] not in ("reset-failed", "daemon-reload")]


def entry(path: Path, content: str | None = None, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "path": str(path),
        "state": "file",
        "mode": "0644",
        "owner": OWNER,
        "group": GROUP,
        "validate": None,
        "secret": False,
    }
    if content is not None:
        data = content.encode()
        sealed = base64.b64encode(zlib.compress(data)).decode()
        plain["content"] = {"sha256": hashlib.sha256(data).hexdigest(), "data": sealed}
    return {**plain, **more}


def files(tmp_path: Path, fake: Fake) -> host_files.Files:
    digests = host_files.Digests(str(tmp_path / "state" / "digests.json"))
    return host_files.Files(fake, digests, fake.check_mode)  # type: ignore[arg-type]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def kept(path: Path) -> tuple[int, ...]:
    """Return what a file keeps that is only read."""
    found = path.stat()
    return (
        found.st_ino,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def test_a_new_file_gets_parents_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.conf"
    run = files(tmp_path, Fake())
    run.converge(entry(path, "x\n", mode="0600"))
    assert (path.read_text(), mode(path), mode(path.parent)) == ("x\n", 0o600, 0o755)
    assert run.changed == [str(path)]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    files(tmp_path, Fake()).converge(entry(path, "x\n"))
    before = kept(path)
    run = files(tmp_path, Fake())
    run.converge(entry(path, "x\n"))
    assert run.changed == [] and kept(path) == before


@pytest.mark.parametrize(
    "wanted",
    [
        {"content": "new\n"},
        {"content": "old\n", "mode": "0600"},
        {"state": "absent"},
    ],
)
def test_check_mode_says_so_and_changes_nothing(tmp_path: Path, wanted: dict[str, Any]) -> None:
    path = tmp_path / "c.conf"
    files(tmp_path, Fake()).converge(entry(path, "old\n"))
    before = kept(path)
    run = files(tmp_path, Fake(check=True))
    run.converge(entry(path, **wanted))
    assert run.changed == [str(path)]
    assert kept(path) == before and path.read_text() == "old\n"


def test_only_the_mode_differs(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    files(tmp_path, Fake()).converge(entry(path, "x\n"))
    inode = path.stat().st_ino
    run = files(tmp_path, Fake())
    run.converge(entry(path, "x\n", mode="0600"))
    assert run.changed == [str(path)] and mode(path) == 0o600 and path.stat().st_ino == inode


def test_links_and_directories(tmp_path: Path) -> None:
    link, directory = tmp_path / "link", tmp_path / "one" / "two"
    for expected in ([str(link), str(directory)], []):
        run = files(tmp_path, Fake())
        run.converge(entry(link, state="link", link="/nowhere"))
        run.converge(entry(directory, state="directory", mode="0700"))
        assert run.changed == expected
    assert link.readlink() == Path("/nowhere") and mode(directory) == 0o700
    run = files(tmp_path, Fake())
    run.converge(entry(link, state="link", link="/elsewhere"))
    run.converge(entry(directory, state="absent"))
    assert link.readlink() == Path("/elsewhere") and not directory.exists()


def tree(path: Path, contents: dict[str, str], **more: Any) -> dict[str, Any]:
    inside = {name: entry(path, content)["content"] for name, content in contents.items()}
    return {**entry(path, state="tree", **more), "content": {"files": inside}}


def test_a_tree_has_its_files_and_no_others(tmp_path: Path) -> None:
    root = tmp_path / "lib" / "demo"
    old = {"__init__.py": "", "cni.py": "old\n", "gone/__init__.py": "", "same.py": "x\n"}
    files(tmp_path, Fake()).converge(tree(root, old))
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "cni.pyc").write_text("compiled")
    inode = (root / "same.py").stat().st_ino
    new = {"__init__.py": "", "cni/__init__.py": "", "cni/plugin.py": "new\n", "same.py": "x\n"}
    changed = ["cni", "cni/__init__.py", "cni/plugin.py", "cni.py", "gone"]
    checking = files(tmp_path, Fake(check=True))
    checking.converge(tree(root, new))
    assert sorted(checking.changed) == sorted(str(root / name) for name in changed)
    assert (root / "cni.py").read_text() == "old\n" and not (root / "cni").exists()
    run = files(tmp_path, Fake())
    run.converge(tree(root, new))
    assert run.changed == [str(root / name) for name in changed]
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert found == {*new, "__pycache__/cni.pyc"} and not (root / "gone").exists()
    assert (root / "same.py").stat().st_ino == inode
    assert [mode(root / name) for name in ("", "cni", "cni/plugin.py")] == [0o755, 0o755, 0o644]
    again = files(tmp_path, Fake())
    again.converge(tree(root, new))
    assert again.changed == []
    again.converge(tree(root, new, mode="0600"))
    assert len(again.changed) == 6 and [mode(root / name) for name in ("cni", "same.py")] == [0o700, 0o600]


def test_a_tree_changes_the_kind_of_what_it_has_and_writes_through_no_link(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    files(tmp_path, Fake()).converge(tree(root, {"a": "x\n", "b/c": "x\n", "d/e": "x\n"}))
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    shutil.rmtree(root / "d")
    (root / "d").symlink_to(elsewhere)
    new = tree(root, {"a/inside": "y\n", "b": "y\n", "d/e": "x\n"})
    checking = files(tmp_path, Fake(check=True))
    checking.converge(new)
    assert (root / "a").is_file() and (root / "b").is_dir() and (root / "d").is_symlink()
    run = files(tmp_path, Fake())
    run.converge(new)
    assert set(checking.changed) <= set(run.changed)
    assert (root / "a/inside").read_text() == (root / "b").read_text() == "y\n"
    assert not (root / "d").is_symlink() and sorted(path.name for path in elsewhere.iterdir()) == ["mine"]
    again = files(tmp_path, Fake())
    again.converge(new)
    assert again.changed == []


def test_what_stands_in_the_way_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "directory").mkdir()
    with pytest.raises(HostError, match="found a file, wanted a directory"):
        files(tmp_path, Fake()).converge(entry(tmp_path / "file", state="directory"))
    with pytest.raises(HostError, match="found a directory, wanted a file"):
        files(tmp_path, Fake()).converge(entry(tmp_path / "directory", "x"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_refused_version_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_text("old\n")
    with pytest.raises(HostError, match="the old one kept"):
        files(tmp_path, Fake()).converge(entry(path, "new\n", validate="grep -q fine %s"))
    assert path.read_text() == "old\n" and sorted(one.name for one in tmp_path.iterdir()) == ["c.conf"]
    files(tmp_path, Fake()).converge(entry(path, "fine\n", validate="grep -q fine %s"))
    assert path.read_text() == "fine\n"


def test_an_unknown_owner_is_named_except_in_check_mode(tmp_path: Path) -> None:
    wanted = entry(tmp_path / "c.conf", "x", owner="no-such-user")
    with pytest.raises(HostError, match="no-such-user"):
        files(tmp_path, Fake()).converge(wanted)
    run = files(tmp_path, Fake(check=True))
    run.converge(wanted)
    assert run.changed == [str(tmp_path / "c.conf")]


def test_large_files_are_asked_for_and_verified(tmp_path: Path) -> None:
    path, blob = tmp_path / "program", tmp_path / "blob"
    blob.write_bytes(b"program")
    wanted = entry(path, mode="0755") | {"content": {"sha256": hashlib.sha256(b"program").hexdigest()}}
    asking = files(tmp_path, Fake())
    asking.converge(wanted)
    assert asking.missing == [str(path)] and not path.exists()
    # What follows may be checked by the program that is still to come.
    asking.converge(entry(tmp_path / "c.conf", "x\n", validate=f"{path} --check %s"))
    assert not (tmp_path / "c.conf").exists()
    sent = files(tmp_path, Fake())
    sent.converge({**wanted, "content": {**wanted["content"], "blob": str(blob)}})
    assert path.read_bytes() == b"program" and mode(path) == 0o755 and sent.missing == []
    path.unlink()
    blob.write_bytes(b"damaged")
    with pytest.raises(HostError, match="arrived with sha256"):
        files(tmp_path, Fake()).converge({**wanted, "content": {**wanted["content"], "blob": str(blob)}})
    assert not path.exists()


@pytest.mark.parametrize(
    ("more", "shown"),
    [({}, True), ({"secret": True}, False), ({"mode": "0640"}, False), ({"mode": "0600"}, False)],
)
def test_a_diff_never_shows_secrets(tmp_path: Path, more: dict[str, Any], shown: bool) -> None:
    path = tmp_path / "c.conf"
    path.write_text("hidden-before\n")
    run = files(tmp_path, Fake(diff=True))
    run.converge(entry(path, "hidden-after\n", **more))
    assert ("hidden" in str(run.diff)) is shown and len(run.diff) == 1


def test_what_a_link_leads_to_is_neither_given_away_nor_shown(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "c.conf"
    other.write_text("hidden\n")
    other.chmod(0o640)
    for content in ("hidden\n", "new\n"):
        path.unlink(missing_ok=True)
        path.symlink_to(other)
        run = files(tmp_path, Fake(diff=True))
        run.converge(entry(path, content, mode="0600"))
        assert not path.is_symlink() and (path.read_text(), mode(path)) == (content, 0o600)
        assert "hidden" not in run.diff[0]["before"]
    assert other.read_text() == "hidden\n" and mode(other) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
def test_a_directory_is_moved_by_administrators_only(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "disk")
    files(tmp_path, Fake()).converge(entry(link, state="directory", mode="0700"))
    assert link.is_symlink() and mode(tmp_path / "disk") == 0o700
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(HostError, match="found a link that user 12345 made"):
        files(tmp_path, Fake()).converge(entry(link, state="directory", mode="0755"))
    assert mode(tmp_path / "disk") == 0o700


class Keys:
    """The key and certificate at a path."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "pki" / "server"
        self.key, self.certificate = root / "pki" / "server.key", root / "pki" / "server.crt"

    def find(self, check: bool = False) -> tuple[dict[str, str | None], list[str], list[str]]:
        """Return what the host has, and the changes of keys and those of certificates' files that are due."""
        fake = Fake(check)
        keys, others = files(self.root, fake), files(self.root, Fake(check=True))
        one = Certificates(fake, keys, others)  # type: ignore[arg-type]
        found = one.find(*pair(entry(self.path, certificate={})))
        return found, keys.changed, others.changed


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def test_a_key_is_made_once_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    host = Keys(tmp_path)
    assert host.find(check=True) == ({"public_key": None, "certificate": None}, [str(host.key)], [])
    assert not host.key.exists()
    found, changed, _due = host.find()
    assert changed == [str(host.key)] and mode(host.key) == 0o600
    assert found["public_key"] == openssl("pkey", "-in", str(host.key), "-pubout")
    assert "prime256v1" in openssl("pkey", "-in", str(host.key), "-noout", "-text")
    before = kept(host.key)
    assert host.find() == (found, [], []) and kept(host.key) == before
    for damaged in ("damaged", ""):
        host.key.write_text(damaged)
        assert host.find()[1] == [str(host.key)]


def test_permissions_of_keys_are_put_right_and_those_of_certificates_are_due(tmp_path: Path) -> None:
    host = Keys(tmp_path)
    host.find()
    host.key.chmod(0o644)
    host.certificate.write_text("certificate\n")
    host.certificate.chmod(0o600)
    found, changed, due = host.find(check=True)
    assert (found["certificate"], changed, due) == ("certificate\n", [str(host.key)], [str(host.certificate)])
    assert mode(host.key) == 0o644
    assert host.find()[1:] == ([str(host.key)], [str(host.certificate)])
    assert (mode(host.key), mode(host.certificate)) == (0o600, 0o600)


def test_a_key_or_certificate_behind_a_link_is_none(tmp_path: Path) -> None:
    host = Keys(tmp_path)
    host.find()
    other = host.key.rename(tmp_path / "other")
    other.chmod(0o640)
    for path in (host.key, host.certificate):
        path.symlink_to(other)
    found, changed, _due = host.find()
    assert found["certificate"] is None and changed == [str(host.key)] and not host.key.is_symlink()
    assert found["public_key"] != openssl("pkey", "-in", str(other), "-pubout") and mode(other) == 0o640


def test_digests_of_large_files_are_remembered_until_they_change(tmp_path: Path) -> None:
    path, store = tmp_path / "large", tmp_path / "state" / "digests.json"
    path.write_bytes(b"x" * (host_files.REMEMBER_ABOVE + 1))
    digests = host_files.Digests(str(store))
    digest = digests.of(str(path))
    digests.known[str(path)][4] = "remembered"
    assert digests.of(str(path)) == "remembered"
    path.write_bytes(b"y" * (host_files.REMEMBER_ABOVE + 1))
    assert digests.of(str(path)) not in ("remembered", digest)
    assert digests.of(str(tmp_path / "none")) is None and digests.of(str(tmp_path)) is None


def test_what_is_put_on_a_host_is_recorded(tmp_path: Path) -> None:
    store = str(tmp_path / "state" / "installed.json")
    (tmp_path / "etc").mkdir()
    directory, file, link = tmp_path / "lib/a/data", tmp_path / "etc/a.conf", tmp_path / "bin/a"
    wanted = [
        entry(directory, state="directory"),
        entry(file, "x"),
        entry(link, state="link"),
    ]
    host_files.record(wanted, store)
    assert host_files.installed(store) == {
        str(directory): "tree",
        str(tmp_path / "lib/a"): "parent",
        str(tmp_path / "lib"): "parent",
        str(file): "file",
        str(link): "file",
        str(tmp_path / "bin"): "parent",
    }
    assert mode(Path(store)) == 0o600
    # Another task adds to it, and takes out what it removes.
    host_files.record([entry(file, state="absent"), entry(tmp_path / "etc/b.conf", "x")], store)
    assert str(file) not in host_files.installed(store) and len(host_files.installed(store)) == 6
    # A tree is removed with all that it ever had.
    host_files.record([entry(tmp_path / "etc/old/a.py", "x")], store)
    host_files.record([tree(tmp_path / "etc/old", {"b.py": "x"})], store)
    known = host_files.installed(store)
    assert known[str(tmp_path / "etc/old")] == "tree" and len(known) == 7
    Path(store).write_text("[")
    with pytest.raises(HostError, match="found no JSON"):
        host_files.record(wanted, store)


class Units(host_services.Services):
    """Services whose drop-ins are in a temporary directory."""

    root: Path

    def _drop_in(self, unit: str) -> str:
        return str(self.root / f"{unit}.d" / "cloudbang.conf")


SERVICE: dict[str, Any] = {
    "name": "demo",
    "state": "started",
    "enabled": True,
    "uses": None,
    "reload": False,
    "rolling": False,
    "effect": None,
    "health": None,
    "health_timeout": 1,
}


class Host:
    """A unit with its file, its program and, when it runs, a process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fragment = root / "demo.service"
        self.used = root / "demo.conf"
        self.fragment.write_text("[Service]\n")
        self.used.write_text("one\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.state = {
            "LoadState": "loaded",
            "ActiveState": "inactive",
            "UnitFileState": "enabled",
            "MainPID": "0",
            "InvocationID": "first",
            "FragmentPath": str(self.fragment),
            "Type": "simple",
        }

    def converge(self, check: bool = False, changed: tuple[str, ...] = (), **more: Any) -> tuple[Units, list[str]]:
        fake = Fake(check)
        fake.units = self.state
        services = Units(fake, host_files.Digests(str(self.root / "none")), list(changed), check)  # type: ignore[arg-type]
        services.root = self.root
        wanted = [{**SERVICE, "uses": [str(self.used)], **more}]
        services.stop(wanted)
        assert fake.verbs == (["disable"] if services.changed and not check else [])
        services.converge(wanted, [])
        return services, fake.verbs

    def start(self) -> None:
        """Run a process with what the drop-in says now, as systemd would."""
        self.stop()
        mark = (self.root / "demo.service.d" / "cloudbang.conf").read_text().split("Environment=")[1].strip()
        name, digest = mark.split("=")
        self.process = subprocess.Popen(["sleep", "60"], env={**os.environ, name: digest})
        # The kernel shows it a moment after the program has begun.
        while name.encode() not in Path(f"/proc/{self.process.pid}/environ").read_bytes():
            assert self.process.poll() is None
        self.state.update(ActiveState="active", MainPID=str(self.process.pid))

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@pytest.fixture()
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(host_services, "RELOADED", str(tmp_path / "run"))
    one = Host(tmp_path)
    yield one
    one.stop()


def test_a_stopped_unit_is_started_and_then_left_alone(host: Host) -> None:
    services, verbs = host.converge()
    assert services.changed == ["demo"] and verbs == ["restart"]
    host.start()
    services, verbs = host.converge()
    assert services.changed == [] and verbs == []


@pytest.mark.parametrize(
    ("more", "verbs", "changed", "stale"),
    [
        ({}, ["restart"], ["demo"], []),
        ({"reload": True}, ["reload"], ["demo"], []),
        ({"rolling": True}, [], [], ["demo"]),
        ({"check": True}, [], ["demo"], []),
        ({"uses": []}, [], [], []),
    ],
)
def test_a_unit_that_runs_with_an_old_file(
    host: Host, more: dict[str, Any], verbs: list[str], changed: list[str], stale: list[str]
) -> None:
    host.converge(**{key: value for key, value in more.items() if key == "uses"})
    host.start()
    host.used.write_text("two\n")
    services, seen = host.converge(**more)
    assert (seen, services.changed, services.stale) == (verbs, changed, stale)


def test_a_mark_that_is_wrong_is_due(host: Host) -> None:
    assert host.converge(check=True)[0].due
    host.converge()
    host.start()
    assert not host.converge(check=True)[0].due
    (host.root / "demo.service.d" / "cloudbang.conf").unlink()
    services, _verbs = host.converge(check=True)
    assert services.due and services.changed == []


def test_a_unit_that_uses_a_directory_runs_with_all_files_in_it(host: Host) -> None:
    package = host.root / "package"
    (package / "inside" / "__pycache__").mkdir(parents=True)
    (package / "inside" / "one.py").write_text("1\n")
    uses = {"uses": [str(package)]}
    host.converge(**uses)
    host.start()
    (package / "inside" / "__pycache__" / "one.pyc").write_text("compiled")
    # Such as what a killed run left.
    (package / ".cloudbang-half").write_text("half")
    (package / ".hidden").mkdir()
    (package / ".hidden" / "file").write_text("x")
    assert host.converge(**uses)[1] == []
    changed = (str(package / "inside" / "one.py"),)
    assert host.converge(check=True, changed=changed, **uses)[0].changed == ["demo"]
    assert host.converge(check=True, changed=(str(host.root / "package.conf"),), **uses)[0].changed == []
    (package / "inside" / "two.py").write_text("2\n")
    assert host.converge(**uses)[1] == ["restart"]


@pytest.mark.parametrize(
    ("more", "verbs", "changed", "stale"),
    [
        ({}, ["restart"], ["demo"], []),
        # What a reload would keep is not there.
        ({"reload": True}, ["restart"], ["demo"], []),
        ({"rolling": True}, [], [], ["demo"]),
        ({"check": True}, [], ["demo"], []),
    ],
)
def test_a_unit_whose_effect_is_gone_is_stale(
    host: Host, more: dict[str, Any], verbs: list[str], changed: list[str], stale: list[str]
) -> None:
    made = host.root / "made"
    made.touch()
    effect = {"effect": f"test -e {made}"}
    host.converge(**effect)
    host.start()
    assert host.converge(**effect, **more)[1] == []
    made.unlink()
    services, seen = host.converge(**effect, **more, **({} if stale or "check" in more else {"health": "true"}))
    assert (seen, services.changed, services.stale) == (verbs, changed, stale)


def test_a_unit_that_has_no_effect_after_its_restart_says_so(host: Host) -> None:
    with pytest.raises(HostError, match=r"not healthy after 0 s: `test -e /no/such/place` says"):
        host.converge(effect="test -e /no/such/place", health_timeout=0)


def test_a_stopped_run_is_repaired_by_the_next(host: Host) -> None:
    host.converge()
    host.start()
    host.used.write_text("two\n")
    host.converge(rolling=True)  # the run ended here: the drop-in names the new file, the process runs with the old one
    services, verbs = host.converge()
    assert verbs == ["restart"] and services.changed == ["demo"]


def test_a_file_that_was_changed_by_hand_and_repaired_by_another_task(host: Host) -> None:
    host.converge()
    host.used.write_text("by hand\n")
    host.start()  # by hand too: with the mark of the content before
    repaired = host.root / "repaired"
    repaired.write_text("one\n")
    repaired.rename(host.used)
    assert host.converge(rolling=True)[0].stale == ["demo"]
    assert host.converge()[1] == ["restart"]
    host.start()
    assert host.converge()[1] == []


def test_a_reloaded_unit_is_known_by_its_invocation(host: Host) -> None:
    host.converge()
    host.start()
    host.used.write_text("two\n")
    assert host.converge(reload=True)[1] == ["reload"]
    assert host.converge(reload=True)[1] == []
    host.used.write_text("three\n")
    assert host.converge(reload=True)[1] == ["reload"]


@pytest.mark.parametrize(
    ("state", "more", "verbs"),
    [
        ({"UnitFileState": "disabled"}, {}, ["enable", "restart"]),
        ({"UnitFileState": "static"}, {}, ["restart"]),
        ({"UnitFileState": "enabled"}, {"enabled": False}, ["disable", "restart"]),
        ({"ActiveState": "active"}, {"state": "stopped"}, ["disable"]),
        ({"UnitFileState": "disabled"}, {"state": "stopped"}, []),
        ({"LoadState": "not-found", "FragmentPath": "", "UnitFileState": ""}, {"state": "stopped"}, []),
    ],
)
def test_states(host: Host, state: dict[str, str], more: dict[str, Any], verbs: list[str]) -> None:
    host.state.update(state)
    assert host.converge(**more)[1] == verbs


def test_a_unit_without_a_file_is_refused(host: Host) -> None:
    host.state.update(LoadState="not-found", FragmentPath="")
    with pytest.raises(HostError, match="there is no such unit"):
        host.converge()
    assert host.converge(check=True)[0].changed == ["demo"]


def test_a_unit_that_is_not_healthy_says_why(host: Host) -> None:
    with pytest.raises(HostError, match=r"not healthy after 0 s: `ls /no/such/place` says: .*No such file"):
        host.converge(health="ls /no/such/place", health_timeout=0)
    host.state.update(ActiveState="inactive")
    assert host.converge(health="true")[1] == ["restart"]
