# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources on this host: whoever has written one, reading it is bounded, stays below its root, and is reproducible."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import socket
import stat
import subprocess
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import build_source
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions.build_source import (
    Prepared,
    SourceError,
    prepared,
    walk,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import cache
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.source import Git, Source
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError


def silent(_message: str) -> None:
    """Say nothing."""


def write(root: Path, files: dict[str, Any]) -> Path:
    """Write files: their texts, bytes, or {link: TARGET}."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            place.symlink_to(content["link"])
        else:
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def packed(source: Source, target: Path, **more: Any) -> tuple[int, str, list[tarfile.TarInfo]]:
    with prepared(source, silent, 60, **more) as (found, _scratch):
        size, digest = found.pack(str(target))
    with tarfile.open(target) as tar:
        return size, digest, tar.getmembers()


# Directories


def test_the_same_files_make_the_same_tar(tmp_path: Path) -> None:
    files = {"b/main.py": "x", "a": "1", "link": {"link": "a"}, ".git/config": "secret", "b/.git": "gitdir: x"}
    one, other = write(tmp_path / "one", files), write(tmp_path / "other", dict(reversed(list(files.items()))))
    os.utime(other / "a", (1, 1))
    (other / "b").chmod(0o700)
    (other / "a").chmod(0o600)
    first = packed(Source(path=str(one)), tmp_path / "one.tar")
    second = packed(Source(path=str(other)), tmp_path / "other.tar")
    assert first[:2] == second[:2]
    assert [(member.name, member.type, member.mode) for member in first[2]] == [
        ("a", tarfile.REGTYPE, 0o644),
        ("b/main.py", tarfile.REGTYPE, 0o644),
        ("link", tarfile.SYMTYPE, 0o777),
    ]
    assert {(one.uid, one.gid, one.mtime) for one in first[2]} == {(0, 0, build_source.MODIFIED)}
    (other / "a").chmod(0o755)
    assert packed(Source(path=str(other)), tmp_path / "other.tar")[1] != first[1]


def test_a_tree_reads_what_it_lists(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.txt": "hello", "l": {"link": "/etc/passwd"}, "d/e": b"\xff\0"})
    tree = Prepared(str(root), walk(str(root), "source.path")).tree
    assert tree.paths == ("a.txt", "d/e", "l") and tree.read("a.txt") == "hello"
    with pytest.raises(Invalid, match="l: found a symbolic link, wanted a regular file"):
        tree.read("l")
    assert tree.digest_of("a.txt").endswith("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
    before = cache.content(tree)
    (root / "d/e").write_bytes(b"\xff\1")
    assert cache.content(Prepared(str(root), walk(str(root), "source.path")).tree) != before


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret": "hunter2"})
    links = {"out": {"link": str(outside)}, "loop": {"link": "loop"}, "up": {"link": "../outside/secret"}}
    root = write(tmp_path / "tree", {"a": "1", **links, "d/round": {"link": ".."}})
    _size, _digest, members = packed(Source(path=str(root)), tmp_path / "x.tar")
    assert {member.name: member.linkname for member in members if member.issym()} == {
        "out": str(outside),
        "loop": "loop",
        "up": "../outside/secret",
        "d/round": "..",
    }
    assert b"hunter2" not in (tmp_path / "x.tar").read_bytes()


def test_a_file_that_becomes_a_link_is_not_read(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret": "hunter2"})
    root = write(tmp_path / "tree", {"a": "1234567"})
    found = Prepared(str(root), walk(str(root), "source.path"))
    (root / "a").unlink()
    (root / "a").symlink_to(outside / "secret")
    with pytest.raises(OSError):
        found.pack(str(tmp_path / "x.tar"))
    assert b"hunter2" not in (tmp_path / "x.tar").read_bytes()


@pytest.mark.parametrize("change", ["12", "1234", "124"])
def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path, change: str) -> None:
    root = write(tmp_path / "tree", {"a": "123"})
    found = Prepared(str(root), walk(str(root), "source.path"))
    (root / "a").write_text(change)
    with pytest.raises(SourceError, match=r"source: a: .*wanted: build again"):
        found.pack(str(tmp_path / "x.tar"))


def pipe(root: Path) -> None:
    os.mkfifo(root / "x")


def listener(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(os.path.relpath(root / "x"))


def device(root: Path) -> None:
    os.mknod(root / "x", 0o600 | stat.S_IFCHR, os.makedev(1, 5))


def newline(root: Path) -> None:
    (root / "a\nb").write_text("x")


def control(root: Path) -> None:
    (root / "a\x1bb").write_text("x")


def deep(root: Path) -> None:
    write(root, {"/".join(["d"] * 120) + "/x": "1"})


def large(root: Path) -> None:
    with (root / "x").open("wb") as stream:
        stream.truncate(1 << 33)


def many(root: Path) -> None:
    write(root, {f"f{number}": "" for number in range(30)})


def nothing(root: Path) -> None:
    """An empty directory."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipe, "source.path: x: found a named pipe, wanted regular files, directories and links"),
        (listener, "source.path: x: found a socket, wanted regular files, directories and links"),
        (newline, r"source.path: a\x0ab: found a name with a newline, wanted names on one line"),
        (control, r"source.path: a\x1bb: found a name with a control character, wanted names without them"),
        (deep, "found more than 100 directories in each other, wanted fewer"),
        (large, "source.path: found more than 1000 bytes, wanted at most 1000 bytes in all files"),
        (many, "source.path: found more than 20 files, wanted at most 20 files"),
        (nothing, "source.path: found no files, wanted the source of an app"),
    ],
)
def test_what_cannot_be_in_a_source_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "t"
    root.mkdir()
    make(root)
    with pytest.raises(Invalid) as caught, prepared(Source(path=str(root)), silent, 60, 1000, 20):
        pass
    assert message in str(caught.value)


def test_devices_are_not_opened(tmp_path: Path) -> None:
    try:
        device(tmp_path)
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(Invalid, match=r"source.path: x: found a device"):
        walk(str(tmp_path), "source.path")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "none, no such directory, wanted a directory"), ("file", "file, a file, wanted a dir")],
)
def test_a_path_must_be_a_directory(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Invalid) as caught, prepared(Source(path=str(tmp_path / name)), silent, 60):
        pass
    assert message in str(caught.value)


# Archives

Entry = tuple[str, Any]


def tar_of(*entries: Entry) -> bytes:
    """Return a tar: contents by name, or TarInfo types with their link names."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755 if name.endswith(".sh") else 0o600
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(*entries: Entry) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            mode, data = content if isinstance(content, tuple) else (stat.S_IFREG | 0o644, content)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, data)
    return out.getvalue()


def unpacked(tmp_path: Path, data: bytes, name: str = "a.bin", **more: Any) -> dict[str, str]:
    (tmp_path / name).write_bytes(data)
    with prepared(Source(archive=str(tmp_path / name)), silent, 60, **more) as (found, _scratch):
        return {
            path: os.readlink(os.path.join(found.root, path)) if file.mode == 0o120000 else f"{file.mode:o}:{file.size}"
            for path, file in found.files.items()
        }


GOOD = tar_of(("d/", (tarfile.DIRTYPE, "")), ("./d/a", b"12"), ("run.sh", b"x"), ("l", (tarfile.SYMTYPE, "/etc")))
FOUND = {"d/a": "100644:2", "run.sh": "100755:1", "l": "/etc"}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["tar", "gz", "xz"])
def test_archives_are_known_by_their_content(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert unpacked(tmp_path, pack(GOOD)) == FOUND


def test_a_zip(tmp_path: Path) -> None:
    link = (stat.S_IFLNK | 0o777, b"/etc")
    data = zip_of(("d/", b""), ("d/a", b"12"), ("run.sh", (stat.S_IFREG | 0o755, b"x")), ("l", link))
    assert unpacked(tmp_path, data) == FOUND


def test_a_jar_is_the_app_itself(tmp_path: Path) -> None:
    data = zip_of(("META-INF/MANIFEST.MF", b"Main-Class: A\n"))
    assert unpacked(tmp_path, data, "app.jar") == {"app.jar": f"100644:{len(data)}"}


def test_hard_links_are_files(tmp_path: Path) -> None:
    data = tar_of(("a", b"12"), ("b", (tarfile.LNKTYPE, "a")), ("c", (tarfile.LNKTYPE, "./b")))
    assert unpacked(tmp_path, data) == {"a": "100644:2", "b": "100644:2", "c": "100644:2"}


def bomb() -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as stream:
        info = tarfile.TarInfo("zeros")
        info.size = 64 << 20
        stream.write(info.tobuf())
        for _count in range(64):
            stream.write(bytes(1 << 20))
    return out.getvalue()


def lying_zip() -> bytes:
    """Return a zip whose member is larger than it says."""
    data = bytearray(zip_of(("zeros", bytes(1 << 20))))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = (10).to_bytes(4, "little")
    return bytes(data)


def header_bomb() -> bytes:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "a" * (3 << 20)}
    return gzip.compress(info.tobuf(tarfile.PAX_FORMAT))


def encrypted() -> bytes:
    data = bytearray(zip_of(("a", b"12")))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    return bytes(data)


BAD_ARCHIVES: list[tuple[str, bytes, str]] = [
    ("absolute", tar_of(("/etc/x", b"1")), "/etc/x: found a path that leads out of the archive"),
    ("up", tar_of(("a/../../x", b"1")), "a/../../x: found a path that leads out of the archive"),
    ("zip up", zip_of(("../x", b"1")), "../x: found a path that leads out of the archive"),
    ("backslash", tar_of(("..\\x", b"1")), "found a path that leads out of the archive"),
    ("through a link", tar_of(("l", (tarfile.SYMTYPE, "/tmp")), ("l/x", b"1")), "l: found a link in place of a dir"),
    ("link after", tar_of(("l/x", b"1"), ("l", (tarfile.SYMTYPE, "/tmp"))), "l: found a path that is there twice"),
    ("twice", tar_of(("a", b"1"), ("./a", b"2")), "a: found a path that is there twice, wanted each path once"),
    ("below a file", tar_of(("a", b"1"), ("a/b", b"2")), "a/b: found a path below a file"),
    ("directory", tar_of(("a", b"1"), ("a", (tarfile.DIRTYPE, ""))), "a: found a directory in place of a file"),
    ("device", tar_of(("x", (tarfile.CHRTYPE, ""))), "x: found a device or special file, wanted regular files"),
    ("pipe", tar_of(("x", (tarfile.FIFOTYPE, ""))), "x: found a named pipe, wanted regular files"),
    ("zip pipe", zip_of(("x", (stat.S_IFIFO | 0o600, b""))), "x: found a named pipe, wanted regular files"),
    ("hard link out", tar_of(("x", (tarfile.LNKTYPE, "../etc/passwd"))), "found a path that leads out of the archive"),
    ("hard link to none", tar_of(("x", (tarfile.LNKTYPE, "y"))), "x: found a hard link to y, wanted one to a file"),
    ("newline", tar_of(("a\nb", b"1")), r"a\x0ab: found a name with a newline, wanted names on one line"),
    ("bomb", bomb(), "found more than 1000000 bytes, wanted at most 1000000 bytes when unpacked"),
    ("header", header_bomb(), "found a header of more than 1048576 bytes"),
    ("lying zip", lying_zip(), "found"),
    ("many", tar_of(*((f"f{number}", b"") for number in range(30))), "found more than 20 files, wanted at most 20"),
    ("directories", tar_of(*((f"d{one}/", (tarfile.DIRTYPE, "")) for one in range(30))), "found more than 20 files"),
    ("encrypted", encrypted(), "a: found an encrypted file, wanted files without password"),
    ("broken gzip", gzip.compress(GOOD)[:-30], "found a damaged archive"),
    ("broken tar", GOOD[:700], "found a damaged archive"),
    ("broken zip", zip_of(("a", b"1"))[:-10], "found a damaged archive"),
    ("zstd", b"\x28\xb5\x2f\xfd" + bytes(600), "found a zstd archive, wanted a tar, .tar.gz, .tar.xz or .zip"),
    ("text", b"hello", "found no archive, wanted a tar, .tar.gz, .tar.xz or .zip"),
    ("nothing", b"", "found no archive"),
    ("empty", tar_of(), "found no files, wanted the source of an app"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD_ARCHIVES, ids=[row[0] for row in BAD_ARCHIVES])
def test_a_bad_archive_writes_nothing_outside(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    before = set(tmp_path.parent.iterdir())
    tracemalloc.start()
    try:
        with pytest.raises(PlatformError) as caught:
            unpacked(tmp_path, data, most=1_000_000, files=20)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
    assert message in str(caught.value)
    assert set(tmp_path.parent.iterdir()) == before and not Path("/tmp/x").exists()


def test_a_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="none: found no such file, wanted a tar"):
        build_source.unpack(str(tmp_path / "none"), str(tmp_path))


# Git


def git(directory: Path, *words: str) -> str:
    environment = {
        **os.environ,
        "HOME": str(directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    done = subprocess.run(["git", "-C", str(directory), *words], env=environment, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = write(tmp_path / "repository", {"a": "1", "d/b": "2", "l": {"link": "a"}})
    (root / "d/b").chmod(0o755)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=one")
    git(root, "tag", "v1")
    (root / "a").write_text("changed")
    git(root, "commit", "--quiet", "--all", "--message=two")
    git(root, "branch", "feature/x")
    return root


@pytest.mark.parametrize(("most", "files", "found"), [(100, 2, "more than 2 files"), (5, 100, "more than 5 bytes")])
def test_a_tree_is_measured_before_it_is_checked_out(
    repository: Path, tmp_path: Path, most: int, files: int, found: str
) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    with pytest.raises(Invalid, match=found):
        build_source.fetch(Git(f"file://{repository}"), str(root), str(tmp_path), silent, 60, most, files)
    assert list(root.iterdir()) == []


def fetched(repository: Path, ref: str = "", **more: Any) -> tuple[str, dict[str, int], list[str]]:
    source = Source(git=Git(f"file://{repository}", ref, **more))
    with prepared(source, silent, 60) as (found, _scratch):
        return found.commit, {path: file.size for path, file in found.files.items()}, found.warnings


@pytest.mark.parametrize(("ref", "size"), [("", 7), ("main", 7), ("feature/x", 7), ("v1", 1), ("refs/tags/v1", 1)])
def test_branches_and_tags(repository: Path, ref: str, size: int) -> None:
    commit, files, warnings = fetched(repository, ref)
    assert commit == git(repository, "rev-parse", f"{ref or 'HEAD'}^{{commit}}") and warnings == []
    assert files == {"a": size, "d/b": 1, "l": 1}


def test_a_commit_that_no_branch_ends_with(repository: Path) -> None:
    commit = git(repository, "rev-parse", "v1^{commit}")
    git(repository, "tag", "--delete", "v1")
    assert fetched(repository, commit)[:2] == (commit, {"a": 1, "d/b": 1, "l": 1})


def test_git_and_directory_are_the_same_source(repository: Path, tmp_path: Path) -> None:
    cloned = packed(Source(git=Git(f"file://{repository}")), tmp_path / "a.tar")
    assert cloned[1] == packed(Source(path=str(repository)), tmp_path / "b.tar")[1]


@pytest.mark.parametrize("ref", ["none", "0" * 40, "a" * 7])
def test_a_ref_that_does_not_exist(repository: Path, ref: str) -> None:
    with pytest.raises(SourceError) as caught:
        fetched(repository, ref)
    assert f"source.git.ref: found no {ref} in file://" in str(caught.value)
    assert "wanted a branch or tag that exists, or the whole id of a commit in one" in str(caught.value)


def test_a_repository_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="wanted a repository that exists and may be read"):
        fetched(tmp_path / "none")


def test_pointers_to_lfs_are_refused_by_name(repository: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1\n"
    write(repository, {"data/model.bin": pointer})
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=lfs")
    with pytest.raises(Invalid, match=r"data/model.bin: found a pointer to a file in LFS, wanted its content"):
        fetched(repository)


def test_submodules_are_named_and_not_fetched(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},vendor/lib")
    git(repository, "commit", "--quiet", "--message=submodule")
    assert fetched(repository)[2] == ["source.git: the submodule vendor/lib is not fetched"]


def test_nothing_of_a_repository_or_of_the_user_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ran"
    evil = f"touch {program}"
    home = write(
        tmp_path / "home",
        {".gitconfig": f'[filter "x"]\n smudge = {evil}\n[core]\n fsmonitor = {evil}\n hooksPath = {tmp_path}/hooks\n'},
    )
    hook = write(tmp_path / "hooks", {"post-checkout": f"#!/bin/sh\n{evil}\n"}) / "post-checkout"
    hook.chmod(0o755)
    write(repository, {".gitattributes": "* filter=x\n"})
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=filter")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_SSH_COMMAND", evil)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", evil)
    assert ".gitattributes" in fetched(repository)[1]
    assert not program.exists()


@pytest.mark.parametrize(
    "wanted",
    [
        Git("ssh://git@h/x", key="-----BEGIN hunter2", known_hosts="h ssh-ed25519 A"),
        Git("https://h/x", token="hunter2"),
    ],
)
def test_credentials_are_in_no_argument_and_in_private_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Git
) -> None:
    made: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], env: dict[str, str], **_options: Any) -> Any:
        made.append((command, env))
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "Popen", run)
    with pytest.raises(SourceError, match="found no program git"):
        build_source.fetch(wanted, str(tmp_path / "tree"), str(tmp_path), silent, 60)
    [(command, environment)] = made
    assert "hunter2" not in " ".join(command)
    named = {name for name, value in environment.items() if "hunter2" in value}
    assert named == ({"CLOUDBANG_GIT_TOKEN"} if wanted.token else set())
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
    # A token is never sent in clear text, also not after a redirect.
    assert environment["GIT_ALLOW_PROTOCOL"] == ("https" if wanted.token else "http:https:ssh")
    home = Path(environment["HOME"])
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in home.iterdir()} == {0}
    if wanted.key:
        words = environment["GIT_SSH_COMMAND"]
        assert "BatchMode=yes" in words and "StrictHostKeyChecking=yes" in words and str(home / "key") in words
    else:
        assert "hunter2" not in Path(environment["GIT_ASKPASS"]).read_text()


def test_git_asks_for_the_token_and_shows_it_to_nobody(tmp_path: Path, repository: Path) -> None:
    run = build_source._Git(Git("https://deploy@h/x", token="hunter2"), str(tmp_path), 60)
    asked = [
        subprocess.run(
            [run._environment["GIT_ASKPASS"], question],
            env=run._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for question in ("Username for 'https://h': ", "Password for 'https://deploy@h': ")
    ]
    assert [one.stdout for one in asked] == ["deploy\n", "hunter2\n"]
    for other in ("Password for 'http://me@proxy:3128': ", "Password for 'https://deploy@h.evil.org': ", "Username: "):
        refused = subprocess.run(
            [run._environment["GIT_ASKPASS"], other],
            env=run._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (refused.returncode, refused.stdout) == (1, "")
    assert run._told("fatal: hunter2\nremote: x") == "fatal: ******** | remote: x"
