# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The source of a build on this host: a directory, an archive that is unpacked, a git repository that is fetched.

Nobody who has written the source is trusted. Each file is opened by a path whose parts are no links, only regular files
and links are taken, and all is bounded. The same files make the same tar, whoever owns them and whenever they changed.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import re
import shlex
import signal
import stat
import subprocess
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast
from urllib.parse import urlsplit

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.source import COMMIT, Git, Source
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.tree import (
    MAX_DEPTH,
    MAX_FILES,
    MAX_PATH,
    File,
    Tree,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

MAX_BYTES = 1 << 30
MAX_HEADERS = 1 << 20
CHUNK = 1 << 20
# Of all files in the tar: late enough for formats that know no year before 1980.
MODIFIED = 1_000_000_000
_REGULAR, _EXECUTABLE, _LINK = 0o100644, 0o100755, 0o120000
_MAX_FINDINGS = 20
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_LFS = b"version https://git-lfs.github.com/spec/"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
}


class SourceError(PlatformError):
    """A source cannot be read."""


@dataclass(frozen=True)
class Prepared:
    """A source as files below a directory. `commit` is that of a git repository."""

    root: str
    files: dict[str, File]
    commit: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def tree(self) -> Tree:
        return Tree(self.files, self._read)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())

    def _read(self, path: str, limit: int) -> bytes:
        full = os.path.join(self.root, path)
        if self.files[path].mode == _LINK:
            return os.fsencode(os.readlink(full))[:limit]
        with _opened(full) as stream:
            return stream.read(limit)

    def pack(self, target: str) -> tuple[int, str]:
        """Write the tar of the files and return its size and its sha256. Raises SourceError if a file has changed."""
        with open(target, "wb") as out, tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for path, file in sorted(self.files.items()):
                info = tarfile.TarInfo(path)
                info.mode, info.mtime = stat.S_IMODE(file.mode), MODIFIED
                full = os.path.join(self.root, path)
                if file.mode == _LINK:
                    info.type, info.mode = tarfile.SYMTYPE, 0o777
                    info.linkname = os.readlink(full)
                    tar.addfile(info)
                    continue
                info.size = file.size
                with _opened(full) as stream:
                    counted = _Digesting(stream)
                    try:
                        tar.addfile(info, cast("IO[bytes]", counted))
                    except OSError as error:
                        raise SourceError(f"source: {visible(path)}: {error}, wanted: build again") from error
                    if counted.digest != file.digest or stream.read(1):
                        raise SourceError(f"source: {visible(path)}: found that it changes, wanted: build again")
        return os.path.getsize(target), _digest_of(target)


class _Digesting:
    """A stream that knows the sha256 of what was read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _opened(path: str) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def _digest_of(path: str) -> str:
    found = hashlib.sha256()
    with _opened(path) as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            found.update(chunk)
    return found.hexdigest()


@contextlib.contextmanager
def prepared(
    source: Source, progress: Callable[[str], None], seconds: float, most: int = MAX_BYTES, files: int = MAX_FILES
) -> Iterator[tuple[Prepared, str]]:
    """Give the source as files, and a private directory for more, both until the end.

    Raises Invalid with all that is wrong with its files, and SourceError if it cannot be had. seconds: for git.
    """
    with tempfile.TemporaryDirectory(prefix="cloudbang-build-") as scratch:
        root = os.path.join(scratch, "tree")
        os.mkdir(root)
        commit = ""
        warnings: list[str] = []
        try:
            if source.git is not None:
                commit, warnings = fetch(source.git, root, scratch, progress, seconds, most, files)
                option = "source.git"
            elif source.archive:
                unpack(source.archive, root, most, files)
                option = "source.archive"
            else:
                root, option = os.path.abspath(source.path), "source.path"
                if not os.path.isdir(root):
                    found = "a file" if os.path.exists(root) else "no such directory"
                    raise Invalid([Finding(option, f"{visible(root)}, {found}", "a directory")])
            made = Prepared(root, walk(root, option, most, files), commit, warnings)
        except OSError as error:
            where = visible(str(error.filename)) if error.filename else "source"
            raise SourceError(f"{where}: {error.strerror or error}, wanted: a source that can be read") from error
        yield made, scratch


def walk(root: str, option: str, most: int = MAX_BYTES, count: int = MAX_FILES) -> dict[str, File]:
    """Return the files below a directory by their paths. Raises Invalid with what cannot be in a tree.

    `.git` is left out, and links are kept as such: where they lead to is nobody's concern.
    """
    found: dict[str, File] = {}
    findings: list[Finding] = []
    size = 0
    stack = [""]
    while stack:
        directory = stack.pop()
        with os.scandir(os.path.join(root, directory)) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            path = f"{directory}/{entry.name}" if directory else entry.name
            if entry.name == ".git":
                continue
            fault = _name_fault(path)
            if fault:
                findings.append(Finding(f"{option}: {visible(path[:300])}", *fault))
            elif entry.is_symlink():
                target = os.fsencode(os.readlink(entry.path))
                found[path] = File(len(target), _LINK, hashlib.sha256(target).hexdigest())
            elif entry.is_dir(follow_symlinks=False):
                stack.append(path)
            else:
                file = _regular(entry, path, option, findings, most - size)
                if file is not None:
                    found[path] = file
                    size += file.size
            if size > most:
                raise Invalid([Finding(option, f"more than {most} bytes", f"at most {most} bytes in all files")])
            if len(found) > count:
                raise Invalid([Finding(option, f"more than {count} files", f"at most {count} files")])
            if len(findings) >= _MAX_FINDINGS:
                raise Invalid(findings)
    if findings:
        raise Invalid(findings)
    if not found:
        raise Invalid([Finding(option, "no files", "the source of an app")])
    return found


def _regular(entry: os.DirEntry[str], path: str, option: str, findings: list[Finding], left: int) -> File | None:
    """Return a file that is no link and no directory; None with a finding if it is not a regular one."""
    where = f"{option}: {visible(path)}"
    kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    if kind != stat.S_IFREG:
        findings.append(Finding(where, _KINDS.get(kind, "a special file"), "regular files, directories and links"))
        return None
    digest, size = hashlib.sha256(), 0
    try:
        with _opened(entry.path) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "it is no regular file any more")
            # What is larger is not read: whoever asks learns at once.
            while size <= left and status.st_size - size <= left:
                chunk = stream.read(CHUNK)
                if not chunk:
                    break
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        findings.append(Finding(where, f"that it cannot be read: {error.strerror or error}", "it readable"))
        return None
    mode = _EXECUTABLE if status.st_mode & stat.S_IXUSR else _REGULAR
    return File(max(size, status.st_size), mode, digest.hexdigest())


def _name_fault(path: str) -> tuple[str, str] | None:
    name = path.rpartition("/")[2]
    if "\n" in name:
        return "a name with a newline", "names on one line"
    if _CONTROL.search(name):
        return "a name with a control character", "names without them"
    if len(path) > MAX_PATH or len(os.fsencode(name)) > 255:
        return f"a path of {len(path)} characters", f"at most {MAX_PATH}"
    if path.count("/") >= MAX_DEPTH:
        return f"more than {MAX_DEPTH} directories in each other", "fewer"
    return None


# Archives


def unpack(archive: str, root: str, most: int = MAX_BYTES, count: int = MAX_FILES) -> None:
    """Unpack an archive, known by its content, into an empty directory. Raises Invalid and SourceError."""
    where = f"source.archive: {visible(archive)}"
    if not os.path.isfile(archive):
        found = "a directory" if os.path.isdir(archive) else "no such file"
        raise Invalid([Finding(where, found, "a tar, .tar.gz, .tar.xz or .zip")])
    with open(archive, "rb") as stream:
        start = stream.read(512)
        stream.seek(0)
        target = _Target(where, root, most, count)
        try:
            if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                if archive.endswith((".jar", ".war")):
                    # It is not unpacked: it is the app.
                    target.file(os.path.basename(archive), stream, os.path.getsize(archive), False)
                else:
                    _unpack_zip(where, stream, target)
            else:
                _unpack_tar(where, _plain(where, stream, start), target)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise SourceError(
                f"{where}: found a damaged archive: {visible(str(error)[:200])}, wanted a whole one"
            ) from error
        except NotImplementedError as error:
            raise SourceError(f"{where}: found a zip with {visible(str(error)[:200])}, wanted deflate") from error
        target.finish()


def _plain(where: str, stream: IO[bytes], start: bytes) -> IO[bytes]:
    """Return the stream of the tar in a file."""
    if start.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if start.startswith(b"\xfd7zXZ\x00"):
        return cast("IO[bytes]", lzma.LZMAFile(stream))
    if start[257:262] == b"ustar" or (len(start) == 512 and not any(start)):
        return stream
    found = next((name for magic, name in _FOREIGN.items() if start.startswith(magic)), "no archive")
    raise Invalid([Finding(where, found, "a tar, .tar.gz, .tar.xz or .zip")])


class _Target:
    """A directory that an archive is unpacked into. Nothing is written through a link: links are made last."""

    def __init__(self, where: str, root: str, most: int, count: int) -> None:
        self._where, self._root, self._most, self._count = where, root, most, count
        self._size = self._files = 0
        self._links: dict[str, str] = {}

    def _wrong(self, path: str, found: str, wanted: str) -> Invalid:
        return Invalid([Finding(f"{self._where}: {visible(path[:300])}", found, wanted)])

    def path(self, name: str) -> str:
        """Return the path of a member without a meaning outside of the directory. Raises Invalid."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise self._wrong(name, "a path that leads out of the archive", "paths below its root")
        path = "/".join(parts)
        fault = _name_fault(path)
        if fault:
            raise self._wrong(name, *fault)
        return path

    def _place(self, path: str) -> str:
        self._files += 1
        if self._files > self._count:
            raise Invalid([Finding(self._where, f"more than {self._count} files", f"at most {self._count} files")])
        full = os.path.join(self._root, path)
        if path in self._links or os.path.lexists(full):
            raise self._wrong(path, "a path that is there twice", "each path once")
        try:
            os.makedirs(os.path.dirname(full), exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._wrong(path, "a path below a file", "directories for it") from error
        return full

    def grow(self, size: int) -> None:
        """Count bytes. Raises Invalid if there are too many."""
        self._size += size
        if self._size > self._most:
            wanted = f"at most {self._most} bytes when unpacked"
            raise Invalid([Finding(self._where, f"more than {self._most} bytes", wanted)])

    def file(self, name: str, stream: IO[bytes], size: int, executable: bool) -> None:
        path = self.path(name)
        if not path or ".git" in path.split("/"):
            return
        if self._size + size > self._most:
            self.grow(size)
        full = self._place(path)
        with open(full, "xb") as out:
            for chunk in iter(lambda: stream.read(CHUNK), b""):
                self.grow(len(chunk))
                out.write(chunk)
        if executable:
            os.chmod(full, 0o755)

    def directory(self, name: str) -> None:
        path = self.path(name)
        self._files += 1
        if self._files > self._count:
            raise Invalid([Finding(self._where, f"more than {self._count} files", f"at most {self._count} files")])
        if path and ".git" not in path.split("/"):
            try:
                os.makedirs(os.path.join(self._root, path), exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise self._wrong(path, "a directory in place of a file", "one of both") from error

    def link(self, name: str, target: str) -> None:
        path = self.path(name)
        if ".git" in path.split("/"):
            return
        if not target or "\0" in target or len(target) > MAX_PATH:
            raise self._wrong(name, "a link to nowhere", "a link with a target")
        self._place(path)
        self._links[path] = target

    def hard_link(self, name: str, target: str) -> None:
        path, other = self.path(name), self.path(target)
        if ".git" in path.split("/"):
            return
        existing = os.path.join(self._root, other)
        if other in self._links or not os.path.isfile(existing):
            raise self._wrong(name, f"a hard link to {visible(target[:200])}", "one to a file before it")
        self.grow(os.path.getsize(existing))
        os.link(existing, self._place(path))

    def refuse(self, name: str, kind: str) -> None:
        raise self._wrong(name, kind, "regular files, directories and links")

    def finish(self) -> None:
        for path, target in self._links.items():
            full = os.path.join(self._root, path)
            if os.path.lexists(full):
                raise self._wrong(path, "a link in place of a directory", "one of both")
            os.symlink(target, full)


class _Bounded:
    """A stream that ends with an error when more comes than was allowed: headers are kept in memory."""

    def __init__(self, where: str, stream: IO[bytes]) -> None:
        self._where, self._stream, self._left = where, stream, MAX_HEADERS
        self._end = b""

    @property
    def ended(self) -> bool:
        """Whether what was read ends as a tar does: with zero bytes."""
        return bool(self._end) and not any(self._end)

    def allow(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        self._end = (data or self._end)[-512:]
        if self._left < 0:
            raise SourceError(f"{self._where}: found a header of more than {MAX_HEADERS} bytes, wanted a small one")
        return data


def _unpack_tar(where: str, stream: IO[bytes], target: _Target) -> None:
    source = _Bounded(where, stream)
    with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|", errorlevel=1) as tar:
        while True:
            source.allow(MAX_HEADERS)
            member = tar.next()
            if member is None:
                break
            # It keeps all of them.
            tar.members = []  # type: ignore[attr-defined]
            source.allow(MAX_HEADERS + max(member.size, 0))
            if member.isreg():
                content = tar.extractfile(member)
                if content is None:
                    raise AssertionError("a regular member has content")
                target.file(member.name, content, member.size, bool(member.mode & 0o100))
            elif member.isdir():
                target.directory(member.name)
            elif member.issym():
                target.link(member.name, member.linkname)
            elif member.islnk():
                target.hard_link(member.name, member.linkname)
            else:
                target.refuse(member.name, "a named pipe" if member.isfifo() else "a device or special file")
    # The rest is read, so that damage there is found too.
    source.allow(MAX_HEADERS)
    while source.read(CHUNK):
        pass
    if not source.ended:
        raise tarfile.ReadError("it breaks off")


def _unpack_zip(where: str, stream: IO[bytes], target: _Target) -> None:
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if member.flag_bits & 1:
                raise Invalid(
                    [Finding(f"{where}: {visible(member.filename)}", "an encrypted file", "files without password")]
                )
            if member.is_dir():
                target.directory(member.filename)
                continue
            if kind not in (0, stat.S_IFREG, stat.S_IFLNK):
                target.refuse(member.filename, _KINDS.get(kind, "a special file"))
            with archive.open(member) as content:
                if kind == stat.S_IFLNK:
                    target.link(member.filename, os.fsdecode(content.read(MAX_PATH + 1)))
                else:
                    target.file(member.filename, content, member.file_size, bool(mode & 0o100))


# Git

_TRANSPORTS = "http:https:ssh"
# A proxy or a server that the first one leads to may ask as well, and gets nothing.
_ASKPASS = """#!/bin/sh
case "$1" in
  "Username for 'https://$CLOUDBANG_GIT_HOST'"*) printf '%s\\n' "$CLOUDBANG_GIT_USER" ;;
  "Password for 'https://"*"@$CLOUDBANG_GIT_HOST'"*) printf '%s\\n' "$CLOUDBANG_GIT_TOKEN" ;;
  *) exit 1 ;;
esac
"""
# Of the environment, what git and ssh need to reach a server.
_KEPT = re.compile(
    r"(PATH|LANG|TMPDIR|(https?|no|all)_proxy|GIT_SSL_CAINFO|GIT_SSL_CAPATH|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE)\Z", re.I
)
_MISSING_REF = re.compile(r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref", re.I)
# What git says, and what to do.
_ADVICE = (
    (
        re.compile(r"Host key verification failed", re.I),
        "the key of the server in source.git.known_hosts, from a source that you trust",
    ),
    (
        re.compile(r"Permission denied|Authentication failed|could not read (Username|Password)|403|401", re.I),
        "source.git.key or source.git.token that may read it",
    ),
    (re.compile(r"not found|does not (exist|appear)", re.I), "a repository that exists and may be read"),
    (re.compile(r"transport .* not allowed", re.I), "a URL of https or ssh, also after redirects"),
    (
        re.compile(r"invalid format|error in libcrypto|incorrect passphrase", re.I),
        "source.git.key as a private key without password",
    ),
)


def fetch(
    git: Git,
    root: str,
    scratch: str,
    progress: Callable[[str], None],
    seconds: float,
    most: int = MAX_BYTES,
    files: int = MAX_FILES,
) -> tuple[str, list[str]]:
    """Check out a repository into an empty directory; return the id of the commit, and warnings.

    git runs without configuration, hooks, filters and prompts, and submodules are not fetched.
    """
    run = _Git(git, scratch, seconds)
    run("init", "--quiet", "--bare", "--template=", run.directory)
    progress(f"fetching {git.url}")
    options = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-commit-graph")
    try:
        run(*options, "--depth=1", "--", git.url, git.ref or "HEAD")
        wanted = "FETCH_HEAD"
    except _Failed as error:
        missing = bool(_MISSING_REF.search(error.text))
        if not missing or not COMMIT.match(git.ref):
            raise _unfetched(git, error.text, missing) from error
        # Not every server gives single commits.
        progress("fetching all branches, as the server gives no single commit")
        try:
            run(*options, "--", git.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        except _Failed as failed:
            raise _unfetched(git, failed.text, False) from failed
        wanted = git.ref
    try:
        commit = run("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}").decode("ascii", "replace").strip()
    except _Failed as error:
        raise _unfetched(git, "", True) from error
    try:
        submodules = _submodules(run.entries(commit), most, files)
        run("--work-tree=" + root, "checkout", "--quiet", "--force", "--detach", commit, "--")
    except _Failed as error:
        raise SourceError(
            f"source.git: found a commit that cannot be checked out: {error.text}, wanted another"
        ) from error
    _refuse_pointers(root)
    return commit, [
        f"source.git: the submodule {visible(os.fsdecode(path))[:200]} is not fetched" for path in submodules[:10]
    ]


def _submodules(entries: Iterable[bytes], most: int, files: int) -> list[bytes]:
    """Return the submodules among the entries of a tree. Raises Invalid for a tree that is too large to be checked out:
    a few objects of git may have any number of files.
    """
    found = []
    size = 0
    for number, entry in enumerate(entries, 1):
        head, _tab, path = entry.partition(b"\t")
        mode, _kind, _id, length = head.split()
        size += int(length) if length.isdigit() else 0
        if number > files or size > most:
            seen = f"more than {files} files" if number > files else f"more than {most} bytes"
            raise Invalid([Finding("source.git", seen, f"at most {files} files with {most} bytes")])
        if mode == b"160000":
            found.append(path)
    return found


def _unfetched(git: Git, text: str, missing: bool) -> SourceError:
    if missing:
        wanted = "a branch or tag that exists, or the whole id of a commit in one"
        return SourceError(f"source.git.ref: found no {visible(git.ref or 'HEAD')} in {git.url}, wanted {wanted}")
    advice = next((advice for pattern, advice in _ADVICE if pattern.search(text)), "a repository that can be fetched")
    return SourceError(f"source.git.url: {git.url}: found that it cannot be fetched ({text}), wanted {advice}")


class _Failed(Exception):
    """A command of git has failed."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


class _Git:
    """Runs git with a home of its own. Credentials are in files and variables that only it gets."""

    def __init__(self, git: Git, scratch: str, seconds: float) -> None:
        self.directory = os.path.join(scratch, "git")
        self._git, self._end = git, time.monotonic() + seconds
        home = os.path.join(scratch, "home")
        os.mkdir(home, 0o700)
        self._home = home
        self._environment = {
            **{name: value for name, value in os.environ.items() if _KEPT.match(name)},
            "HOME": home,
            "XDG_CONFIG_HOME": home,
            "LC_ALL": "C",
            "GIT_DIR": self.directory,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file" if git.scheme == "file" else "https" if git.token else _TRANSPORTS,
            "GIT_LFS_SKIP_SMUDGE": "1",
            "SSH_ASKPASS_REQUIRE": "never",
            "GIT_ASKPASS": os.devnull,
        }
        if git.token:
            self._environment["GIT_ASKPASS"] = _private(home, "askpass", _ASKPASS, 0o700)
            self._environment["CLOUDBANG_GIT_HOST"] = urlsplit(git.url).netloc.rpartition("@")[2]
            self._environment["CLOUDBANG_GIT_USER"] = git.user or "oauth2"
            self._environment["CLOUDBANG_GIT_TOKEN"] = git.token
        if git.scheme == "ssh":
            self._environment["GIT_SSH_COMMAND"] = self._ssh()

    def _ssh(self) -> str:
        words = ["ssh", "-F", os.devnull, "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
        words += ["-o", "StrictHostKeyChecking=yes", "-o", "ForwardAgent=no", "-o", "PermitLocalCommand=no"]
        if self._git.known_hosts:
            known = _private(self._home, "known_hosts", self._git.known_hosts.rstrip("\n") + "\n")
            words += ["-o", f"UserKnownHostsFile={known}", "-o", f"GlobalKnownHostsFile={os.devnull}"]
        if self._git.key:
            key = _private(self._home, "key", self._git.key.strip() + "\n")
            words += ["-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        # Without known hosts those of the user count: ssh takes the home of the user from the system, not from HOME.
        return shlex.join(words)

    def _start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.autocrlf=false"]
        command += ["-c", "protocol.version=2", "-c", "gc.auto=0", "-c", "advice.detachedHead=false", *arguments]
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": stderr}
        try:
            return subprocess.Popen(command, env=self._environment, start_new_session=True, **options)
        except FileNotFoundError as error:
            raise SourceError("source.git: found no program git, wanted it on the controller (package git)") from error

    def entries(self, commit: str) -> Iterator[bytes]:
        """Return the entries of a commit's tree, each with mode, kind, id, size and path, as they are read."""
        process = self._start("ls-tree", "-r", "-l", "-z", commit, stderr=subprocess.DEVNULL)
        output = process.stdout
        if output is None:
            raise AssertionError("its output is a pipe")
        try:
            left = b""
            for chunk in iter(lambda: output.read(CHUNK), b""):
                *whole, left = (left + chunk).split(b"\0")
                yield from whole
                if len(left) > MAX_HEADERS or time.monotonic() > self._end:
                    raise SourceError(
                        f"source.git.url: {self._git.url}: found no end of its tree, wanted a smaller one"
                    )
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output.close()
            process.wait()

    def __call__(self, *arguments: str) -> bytes:
        process = self._start(*arguments)
        try:
            out, said = process.communicate(timeout=max(1.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise SourceError(
                f"source.git.url: {self._git.url}: found no end in time, wanted a longer timeout"
            ) from error
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            raise _Failed(self._told(said.decode("utf-8", "replace")))
        done: bytes = out
        return done

    def _told(self, text: str) -> str:
        """Return the end of what git says, without secrets and paths of this run."""
        for secret in (self._git.token, self._git.key):
            text = text.replace(secret, "********") if secret else text
        lines = [line.strip() for line in text.replace(self._home, "~").splitlines() if line.strip()]
        return visible(" | ".join(lines)[-600:])


def _private(directory: str, name: str, text: str, mode: int = 0o600) -> str:
    """Write a file that only this user can read, and return its path."""
    path = os.path.join(directory, name)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        stream.write(text)
    return path


def _refuse_pointers(root: str) -> None:
    """Raise Invalid for files that are pointers to the content in LFS."""
    found: list[str] = []
    for directory, _names, files in os.walk(root):
        for name in files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size < 1024:
                with _opened(path) as stream:
                    if stream.read(len(_LFS)) == _LFS:
                        found.append(os.path.relpath(path, root))
    if found:
        wanted = "its content: LFS is not supported, so commit the file itself, or use source.archive"
        raise Invalid(
            Finding(f"source.git: {visible(path)[:300]}", "a pointer to a file in LFS", wanted)
            for path in sorted(found)[:_MAX_FINDINGS]
        )
