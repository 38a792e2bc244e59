# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source tree is safe to read, whatever its author has put into it."""

from __future__ import annotations

from typing import Any

import pytest
from support.sources import tree

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.tree import (
    MAX_FILES,
    MAX_TEXT,
    File,
    Tree,
    globbed,
    joined,
    plain,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid

FILES = {"a.txt": "top", "api/main.py": "x", "api/lib/y.py": "", "web/z": "", ".git/config": "", "sub/.git": ""}


def refusal(function: Any) -> str:
    with pytest.raises(Invalid) as caught:
        function()
    return "; ".join(map(str, caught.value.findings))


def unread(path: str, limit: int) -> bytes:
    raise AssertionError(f"{path} must not be read")


def test_what_a_tree_has() -> None:
    found = tree(FILES)
    assert found.paths == ("a.txt", "api/lib/y.py", "api/main.py", "web/z")
    assert found.names == ("a.txt",) and found.top == ("a.txt", "api/", "web/")
    assert found.has("api/main.py") and not found.has("api") and not found.has(".git/config")
    assert found.has_directory("api") and found.has_directory("api/lib") and not found.has_directory("ap")
    assert found.first(["b", "web/z", "a.txt"]) == "web/z" and found.first(["b"]) == ""
    assert found.directories(1) == ["api", "web"] and found.directories(2) == ["api", "web", "api/lib"]


def test_a_directory_of_a_tree() -> None:
    found = tree(FILES).below("api")
    assert found.paths == ("lib/y.py", "main.py") and found.read("main.py") == "x"
    assert found.place("main.py") == "api/main.py" and found.has_directory("lib") and not found.has("a.txt")
    inner = found.below("lib/.")
    assert [one.directory for one in inner.upward()] == ["api/lib", "api", "."]
    assert inner.from_root("api") == "lib" and inner.from_root(".") == "api/lib" and inner.from_root("api/lib") == "."


@pytest.mark.parametrize("path", ["..", "api/..", "/api", "api/../..", "a b", "-x", "a\nb", "$x", "a" * 2000])
def test_a_directory_elsewhere_is_refused(path: str) -> None:
    assert refusal(lambda: tree(FILES).below(path)).startswith("build.subdir: found")


@pytest.mark.parametrize("path", ["nothing", "a.txt", ".git", "api/main.py"])
def test_a_directory_that_is_none_is_refused(path: str) -> None:
    said = refusal(lambda: tree(FILES).below(path, "build.x"))
    assert said == f"build.x: found no directory {path}, wanted one that exists: api/, web/"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("../x", "a path with an empty part, ., .. or a zero byte"),
        ("/etc/passwd", "a path with an empty part"),
        ("a//b", "a path with an empty part"),
        ("./a", "a path with an empty part"),
        ("a/../b", "a path with an empty part"),
        ("", "a path with an empty part"),
        ("a\0b", "zero byte"),
        ("a/" * 101 + "b", "a path of 102 directories, of at most 100"),
        ("a" * 5000, "a path of 5000 characters, of at most 4096"),
    ],
)
def test_paths_that_no_tree_has_are_refused(path: str, found: str) -> None:
    said = refusal(lambda: Tree({path: File(1)}, unread))
    assert said.startswith("source tree: ") and found in said and "\0" not in said


def test_a_file_that_is_a_directory_too_is_refused() -> None:
    assert "a: found a file that is a directory too" in refusal(lambda: Tree({"a": File(1), "a/b": File(1)}, unread))


def test_too_many_files_are_refused() -> None:
    files = dict.fromkeys(map(str, range(MAX_FILES + 1)), File(1))
    assert refusal(lambda: Tree(files, unread)) == "source tree: found 500001 files, wanted at most 500000"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\udcff", "a b", "\u202e", '"', "$(x)", "-rf"])
def test_names_with_any_bytes_are_files(name: str) -> None:
    found = tree({name: "content"})
    assert found.has(name) and found.read(name) == "content" and not plain(name)
    assert all(ord(character) >= 32 for character in found.place(name))


@pytest.mark.parametrize(
    ("mode", "found"),
    [(0o120777, "a symbolic link"), (0o160000, "a submodule"), (0o010644, "a special file"), (0o040755, "a directory")],
)
def test_only_regular_files_are_read(mode: int, found: str) -> None:
    hostile = Tree({"api/x": File(1, mode)}, unread)
    assert refusal(lambda: hostile.read("api/x")) == f"api/x: found {found}, wanted a regular file"
    assert hostile.head("api/x") == ""


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xff", "no UTF-8 at byte 0, wanted UTF-8 text"),
        (b"a\0", "a binary file, wanted UTF-8 text"),
        (b"a" * (MAX_TEXT + 1), f"{MAX_TEXT + 1} bytes, wanted at most {MAX_TEXT} bytes"),
    ],
    ids=["utf8", "binary", "huge"],
)
def test_files_that_are_no_text_are_refused(content: bytes, found: str) -> None:
    assert refusal(lambda: tree({"x": content}).read("x")) == f"x: found {found}"


def test_a_huge_file_is_not_read() -> None:
    hostile = Tree({"x": File(1 << 50)}, unread)
    assert "wanted at most 10 bytes" in refusal(lambda: hostile.read("x", 10))


def test_a_size_that_lies_helps_nobody() -> None:
    asked = []

    def read(path: str, limit: int) -> bytes:
        asked.append(limit)
        return b"x" * 1000

    assert "found 11 bytes, wanted at most 10 bytes" in refusal(lambda: Tree({"x": File(1)}, read).read("x", 10))
    assert asked == [11]


def test_a_file_that_cannot_be_read_is_named() -> None:
    def read(path: str, limit: int) -> bytes:
        raise OSError("\x1b[broken")

    said = refusal(lambda: Tree({"x": File(1)}, read).read("x"))
    assert said == "x: found a file that cannot be read: \\x1b[broken, wanted it readable"
    assert "no such file" in refusal(lambda: tree({}).read("x"))


def test_line_ends_and_marks_are_taken_away() -> None:
    assert tree({"x": b"\xef\xbb\xbfa\r\nb\rc"}).read("x") == "a\nb\nc"
    assert tree({"x": "abc"}).head("x", 2) == "ab"


def test_the_digest_of_a_file_has_its_mode_and_content() -> None:
    found = {
        Tree({"x": File(1, mode, digest)}, lambda path, limit: b"a").digest_of("x")
        for mode in (0o100644, 0o100755)
        for digest in ("", "given")
    }
    assert len(found) == 4 and "100644:given" in found
    assert "wanted at most" in refusal(lambda: Tree({"x": File(1 << 40)}, lambda path, limit: b"").digest_of("x"))


def test_the_digest_of_a_link_is_that_of_its_target_and_nothing_else_is_read() -> None:
    assert len({tree({"x": {"link": target}}).digest_of("x") for target in ("/etc/passwd", "y")}) == 2
    for mode in (0o010644, 0o020666, 0o140755, 0o160000):
        assert Tree({"x": File(1, mode)}, unread).digest_of("x") == f"{mode:o}:"


@pytest.mark.parametrize(
    ("path", "pattern", "has"),
    [
        ("packages/a", "packages/*", True),
        ("packages/a", "./packages/*/", True),
        ("packages/a/b", "packages/*", False),
        ("packages/a/b", "packages/**", True),
        ("packages/a", "packages/a", True),
        ("packages/ab", "packages/a", False),
        ("packages/ab", "packages/a*", True),
        ("packages/a/b", "packages/a*", False),
        ("packages/a/b/c", "packages/*/**", True),
        ("packages", "packages/**", True),
        ("other/a", "packages/**", False),
        ("packages/a", "packages/[", False),
        ("a" * 300, "a" * 300, True),
        ("a" * 301, "a" * 301, False),
    ],
)
def test_patterns_of_directories(path: str, pattern: str, has: bool) -> None:
    assert globbed(path, pattern) is has


def test_paths_are_joined() -> None:
    assert (
        joined(".", "a") == "a"
        and joined("a", ".") == "a"
        and joined("a", "b/c") == "a/b/c"
        and joined(".", ".") == "."
    )
