# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source tree as data: paths with size and mode, and the content of a file on demand. Pure.

Authors of trees are not trusted. A tree has bounds in number, length and depth of its paths, no path leads out of it,
only regular files of a bounded size are read, and no symbolic link is followed.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown, visible

from ..options import Invalid

# Returns at most so many bytes from the start of a file, of a symbolic link those of its target's path. The file is
# named by its path from the root; OSError says why it cannot be read.
Read = Callable[[str, int], bytes]

MAX_FILES = 500_000
MAX_PATH = 4096
MAX_DEPTH = 100
MAX_PATTERN = 300
MAX_TEXT = 1 << 20
MAX_LOCK = 8 << 20
# Of all files together, each of which costs about a second for every MiB to parse.
MAX_TOTAL = 16 << 20
# A file whose digest the source does not know.
MAX_CONTENT = 64 << 20
MAX_MANIFESTS = 10_000
MAX_MEMBERS = 500
_SHOWN = 20
# Names that have no meaning for a shell, a Containerfile, an option or a pattern.
_PLAIN = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_@+.][A-Za-z0-9_@+.-]{0,127}\Z")
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    # What git calls a commit: a submodule.
    0o160000: "a submodule",
}


@dataclass(frozen=True)
class File:
    """A file of a tree. The mode is that of stat. `digest` is of the content, any hash, or "" if the source has none
    and the file is small enough to be read."""

    size: int
    mode: int = 0o100644
    digest: str = ""


def plain(path: str) -> bool:
    """Return whether a relative path has only letters, digits and `_@+.-`, and no part that begins with a dash."""
    return len(path) <= 1024 and (path == "." or all(_PLAIN.match(part) for part in path.split("/")))


def joined(*parts: str) -> str:
    """Return the path of parts of which each may be "."."""
    return "/".join(part for part in parts if part not in (".", "")) or "."


def globbed(path: str, pattern: str) -> bool:
    """Return whether a pattern has a path: * stands for a part of one name, ** at its end for any number of names."""
    # The work of a match grows with the square of the brackets in a pattern.
    if len(pattern) > MAX_PATTERN:
        return False
    wanted = pattern.removeprefix("./").strip("/").split("/")
    parts = path.split("/")
    if wanted[-1] == "**":
        wanted, parts = wanted[:-1], parts[: len(wanted) - 1]
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


class Tree:
    """The files below one directory, by their paths from there. `.git` is not among them."""

    def __init__(self, files: Mapping[str, File], read: Read) -> None:
        """Take the files by path from the root. Raises Invalid with each path that cannot be in a tree."""
        self._files = {path: file for path, file in files.items() if ".git" not in path.split("/")}
        self._source = read
        self._texts: dict[str, str] = {}
        self.directory = "."
        self._directories = _directories(self._files)

    @property
    def _prefix(self) -> str:
        return "" if self.directory == "." else self.directory + "/"

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """All files, sorted."""
        prefix = self._prefix
        return tuple(sorted(path[len(prefix) :] for path in self._files if path.startswith(prefix)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The files of the directory itself, sorted."""
        return tuple(sorted(self._directories.get(self.directory, ())))

    @cached_property
    def top(self) -> tuple[str, ...]:
        """Files and directories (with a slash) of the directory itself, sorted."""
        return tuple(sorted((*self.names, *(f"{path}/" for path in self.directories(1)))))

    def directories(self, depth: int) -> list[str]:
        """Return the directories of plain names below this one down to a depth, the higher ones first."""
        prefix = self._prefix
        found = (path[len(prefix) :] for path in self._directories if path.startswith(prefix) and path != ".")
        return sorted(
            (path for path in found if path.count("/") < depth and plain(path)),
            key=lambda path: (path.count("/"), path),
        )

    def from_root(self, root: str) -> str:
        """Return the path of this directory from one around it."""
        return self.directory if root == "." else self.directory[len(root) + 1 :] or "."

    def place(self, path: str) -> str:
        """Return the path from the root, as messages name it."""
        return visible(joined(self.directory, path)[:300])

    def has(self, path: str) -> bool:
        """Return whether there is a file of this path, of any kind."""
        return self._prefix + path in self._files

    def has_directory(self, path: str) -> bool:
        return joined(self.directory, path) in self._directories

    def first(self, names: Iterable[str]) -> str:
        """Return the first of these files that exists, or ""."""
        return next((name for name in names if self.has(name)), "")

    def file(self, path: str) -> File:
        """Return a regular file. Raises Invalid if it is something else."""
        file = self._files.get(self._prefix + path)
        if file is None:
            raise Invalid([Finding(self.place(path), "no such file", "it to exist")])
        kind = stat.S_IFMT(file.mode)
        if kind != stat.S_IFREG:
            raise Invalid([Finding(self.place(path), _KINDS.get(kind, "a special file"), "a regular file")])
        return file

    def read(self, path: str, limit: int = MAX_TEXT) -> str:
        """Return the text of a regular file with newlines as line ends. Raises Invalid that names file and reason."""
        if self._prefix + path not in self._texts:
            place = self.place(path)
            self.file(path)
            data = self._bounded(path, limit)
            if len(data) + sum(map(len, self._texts.values())) > MAX_TOTAL:
                wanted = f"at most {MAX_TOTAL} bytes in all files that decide how the source is built"
                raise Invalid([Finding(place, f"{len(data)} bytes beside those of others", wanted)])
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise Invalid([Finding(place, f"no UTF-8 at byte {error.start}", "UTF-8 text")]) from error
            if "\0" in text:
                raise Invalid([Finding(place, "a binary file", "UTF-8 text")])
            self._texts[self._prefix + path] = text.replace("\r\n", "\n").replace("\r", "\n")
        return self._texts[self._prefix + path]

    def head(self, path: str, limit: int = 16 << 10) -> str:
        """Return the first bytes of a file as text, "" if it is none that can be read."""
        try:
            self.file(path)
            return self._bytes(path, limit).decode("utf-8", "replace").replace("\0", "\ufffd")
        except Invalid:
            return ""

    def _bytes(self, path: str, limit: int) -> bytes:
        try:
            return self._source(self._prefix + path, limit)[:limit]
        except (OSError, ValueError) as error:
            reason = visible(str(error)[:200])
            raise Invalid(
                [Finding(self.place(path), f"a file that cannot be read: {reason}", "it readable")]
            ) from error

    def _bounded(self, path: str, limit: int) -> bytes:
        """Return the content of a file. Raises Invalid if it is larger than the limit, whatever its size says."""
        size = self._files[self._prefix + path].size
        data = self._bytes(path, limit + 1) if size <= limit else b""
        if max(size, len(data)) > limit:
            raise Invalid([Finding(self.place(path), f"{max(size, len(data))} bytes", f"at most {limit} bytes")])
        return data

    def members(self, manifest: str, patterns: Iterable[str]) -> list[str]:
        """Return the directories below this one that match a pattern and have this manifest: those of a workspace.

        Raises Invalid if there are too many.
        """
        found = [path[: -len(manifest) - 1] for path in self.paths if path.endswith("/" + manifest)]
        found = [path for path in found if plain(path) and "node_modules" not in path.split("/")]
        if len(found) > MAX_MANIFESTS:
            wanted = f"at most {MAX_MANIFESTS} in a workspace"
            raise Invalid([Finding(self.place(manifest), f"{len(found)} files of this name", wanted)])
        listed = list(patterns)
        found = [path for path in found if any(globbed(path, pattern) for pattern in listed)]
        if len(found) > MAX_MEMBERS:
            wanted = f"at most {MAX_MEMBERS}: build.subdir with a part of it"
            raise Invalid([Finding(self.place(manifest), f"a workspace of {len(found)} members", wanted)])
        return found

    def below(self, path: str, option: str = "build.subdir") -> Tree:
        """Return the tree of a directory. Raises Invalid that names the option if there is none of this name."""
        outside = path.startswith("/")
        path = joined(*path.split("/"))
        if outside or not plain(path):
            wanted = "a directory below the root: letters, digits and _@+.- in its names"
            raise Invalid([Finding(option, shown(path), wanted)])
        if not self.has_directory(path):
            names = ", ".join(name for name in self.top if name.endswith("/")) or "no directories"
            raise Invalid([Finding(option, f"no directory {path}", f"one that exists: {visible(names[:300])}")])
        return self._at(joined(self.directory, path))

    def upward(self) -> Iterator[Tree]:
        """Return this tree, then those of the directories above it up to the root."""
        directory = self.directory
        yield self
        while directory != ".":
            directory = directory.rpartition("/")[0] or "."
            yield self._at(directory)

    def _at(self, directory: str) -> Tree:
        found = Tree.__new__(Tree)
        found._files, found._directories, found._source = self._files, self._directories, self._source
        found._texts, found.directory = self._texts, directory
        return found

    def digest_of(self, path: str) -> str:
        """Return a digest of what a path is: mode and content. Raises Invalid if the file is too large to read."""
        file = self._files[self._prefix + path]
        content = file.digest
        # Others have no content, and may never end.
        if not content and stat.S_IFMT(file.mode) in (stat.S_IFREG, stat.S_IFLNK):
            content = hashlib.sha256(self._bounded(path, MAX_CONTENT)).hexdigest()
        return f"{file.mode:o}:{content}"


def _directories(files: Mapping[str, File]) -> dict[str, list[str]]:
    """Return the names of files by directory. Raises Invalid with each path that cannot be in a tree."""
    if len(files) > MAX_FILES:
        raise Invalid([Finding("source tree", f"{len(files)} files", f"at most {MAX_FILES}")])
    findings = [
        Finding(f"source tree: {visible(path[:300])}", fault, "a path below the root")
        for path in files
        for fault in [_fault(path)]
        if fault
    ]
    known: dict[str, list[str]] = {".": []}
    for path in files if not findings else ():
        directory, _slash, name = path.rpartition("/")
        known.setdefault(directory or ".", []).append(name)
        while directory:
            directory = directory.rpartition("/")[0]
            if directory in known:
                break
            known[directory or "."] = known.get(directory or ".", [])
    for path in sorted(set(known).intersection(files)):
        findings.append(Finding(f"source tree: {visible(path[:300])}", "a file that is a directory too", "one of both"))
    if findings:
        raise Invalid(sorted(findings, key=str)[:_SHOWN])
    return known


def _fault(path: str) -> str:
    """Return what is wrong with a path, or ""."""
    parts = path.split("/")
    if len(path) > MAX_PATH:
        return f"a path of {len(path)} characters, of at most {MAX_PATH}"
    if len(parts) > MAX_DEPTH:
        return f"a path of {len(parts)} directories, of at most {MAX_DEPTH}"
    if any(part in ("", ".", "..") for part in parts) or "\0" in path:
        return "a path with an empty part, ., .. or a zero byte"
    return ""
