# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are replaced whole: whoever reads one, also after a crash, finds the old content or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def staged(path: str | os.PathLike[str], mode: int = 0o600, ids: tuple[int, int] | None = None) -> Iterator[str]:
    """Yield the path of an empty file beside `path`, readable by its owner alone, for the block to write.

    At the end of the block its content is brought to disk, and it takes the place of `path`. When the block raises it
    is removed, and `path` is as it was. The directory must exist.

    mode: permissions of the file.
    ids: numbers of its owner and group; those of the process when None.
    Raises OSError.
    """
    handle, temporary = tempfile.mkstemp(prefix=".cloudbang-", dir=os.path.dirname(os.path.abspath(path)))
    try:
        try:
            yield temporary
            # By number: whoever owns the directory can put a link in the place of the name.
            os.fsync(handle)
            if ids is not None:
                os.fchown(handle, *ids)
            os.fchmod(handle, mode)
        finally:
            # Before it is in its place: a program that is open for writing cannot be executed.
            os.close(handle)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def no_link(path: str, flags: int) -> int:
    """Open a file for the function open, as its opener. Raises OSError for a link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def write(
    path: str | os.PathLike[str], content: bytes | str, mode: int = 0o600, ids: tuple[int, int] | None = None
) -> None:
    """Write a file, text as UTF-8, as `staged` does."""
    data = content.encode() if isinstance(content, str) else content
    with staged(path, mode, ids) as temporary, open(temporary, "wb", opener=no_link) as stream:
        stream.write(data)
