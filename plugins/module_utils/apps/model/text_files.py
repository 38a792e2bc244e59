# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read text files that others name: regular ones, of a bounded size, below directories that are allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding

MAX_BYTES = 1_000_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(OSError):
    """A file is not one to read; `found` and `wanted` say why."""

    def __init__(self, found: str, wanted: str) -> None:
        self.found, self.wanted = found, wanted
        super().__init__(f"found {found}, wanted {wanted}")


class Outside(Refused):
    """A file is not below an allowed directory."""


def read_below(path: str, directories: Iterable[str]) -> str:
    """Return the text of a file whose real path is below one of the directories.

    Refused says what is wrong with it; OSError that there is none, ValueError that it is no UTF-8. Symbolic links are
    followed once, before the path is judged. Then the file is opened from its directory on, part by part, and none may
    be a link any more: whoever changes the path meanwhile gets an error, and no other file.
    """
    allowed = [os.path.realpath(directory) for directory in directories]
    real = os.path.realpath(path)
    base = next((directory for directory in allowed if os.path.commonpath([directory, real]) == directory), None)
    if base is None:
        leads = f", which resolves to {real}" if real != os.path.abspath(path) else ""
        raise Outside(f"{path}{leads}", f"a file below {' or '.join(allowed)}" if allowed else "no file of this host")
    names = os.path.relpath(real, base).split(os.sep)
    place = os.open(base, _DIRECTORY)
    try:
        for name in names[:-1]:
            inner = os.open(name, _DIRECTORY, dir_fd=place)
            os.close(place)
            place = inner
        # To open a device may already do something, so it is not.
        _refuse_special(path, os.stat(names[-1], dir_fd=place, follow_symlinks=False))
        descriptor = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    with os.fdopen(descriptor, "rb") as stream:
        _refuse_special(path, os.fstat(stream.fileno()))
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Refused(f"{path}, which is larger than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes")
    return data.decode("utf-8")


def read_text(path: str) -> str:
    """Return the text of a file that the task itself names, wherever it is."""
    return read_below(path, [os.path.dirname(os.path.realpath(path))])


def unreadable(option: str, path: str, error: Exception, wanted: str) -> Finding:
    """Return the problem of a file that cannot be read; wanted says what it should be."""
    if isinstance(error, Outside):
        return Finding(option, error.found, f"{error.wanted}, or its directory in compose.allow_paths")
    if isinstance(error, Refused):
        return Finding(option, error.found, error.wanted)
    if isinstance(error, FileNotFoundError):
        return Finding(option, f"no file {path}", wanted)
    reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
    return Finding(option, f"{path}, which cannot be read: {reason}", wanted)


def _refuse_special(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path}, which is a {_KINDS.get(stat.S_IFMT(found.st_mode), 'special file')}", "a regular file")


_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "named pipe",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFSOCK: "socket",
    stat.S_IFLNK: "symbolic link",
}
