# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines: which run without a shell, and what a Procfile may have."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.commands import argv, procfile, words


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("gunicorn a:b --bind 0.0.0.0:$PORT", ["gunicorn", "a:b", "--bind", "0.0.0.0:8080"]),
        ("run ${PORT}x '$PORT' \"$PORT\"", ["run", "8080x", "$PORT", "8080"]),
        ("  a\t'b c' ''  ", ["a", "b c", ""]),
        ("exec a b", ["a", "b"]),
        ("a=b", None),
        ("A=1 b", None),
        ("a $PORTS", None),
        ("a $HOME", None),
        ("a && b", None),
        ("a; b", None),
        ("a | b", None),
        ("a > b", None),
        ("a *.js", None),
        ("a ~/b", None),
        ("a `b`", None),
        ("a \\\\b", None),
        ('a "\\x"', None),
        ("a 'b", None),
        ("cd x", None),
        ("'' x", None),
        ("", None),
    ],
)
def test_words_of_a_line(line: str, found: list[str] | None) -> None:
    assert words(line) == (tuple(found) if found is not None else None)
    assert argv(line) == (tuple(found) if found is not None else ("/bin/sh", "-c", line))


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_quoted_words_come_out_as_they_are(given_words: list[str]) -> None:
    found = words(shlex.join(["run", *given_words]))
    assert found is None or found == ("run", *given_words)


@pytest.mark.parametrize(
    "line", ["a 'b c' \"d\"e", "printf '%s' \"a b\"", "x a'b'c", "a ${PORT}1", "x \"$PORT\" 'y z'"]
)
def test_words_are_those_of_a_shell(line: str) -> None:
    script = f'PORT=8080; set -- {line}; for word; do printf "%s\\0" "$word"; done'
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True).stdout.decode()
    assert words(line) == tuple(shell.split("\0")[:-1])


def test_a_procfile() -> None:
    found, findings = procfile("web: a b: c\r\n# no\n\n  worker-1 :  d # e\n".replace("\r", ""), "Procfile")
    assert found == {"web": "a b: c", "worker-1": "d # e"} and findings == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web", 'Procfile line 1: found "web", wanted NAME: COMMAND'),
        ("web:", 'Procfile line 1: found "web:", wanted NAME: COMMAND'),
        ("web: a\nweb: b", "Procfile line 2: found a second web, wanted each process once"),
        ("Web_1: a", 'found the process "Web_1", wanted at most 40 lowercase letters, digits and -'),
        ("a" * 41 + ": b", "wanted at most 40 lowercase letters"),
        ("web: a\x1b[0m", 'found the command "a\\u001b[0m", wanted a command line of printable UTF-8 text'),
        ("web: " + "a" * 5000, "found a command of 5000 characters, wanted at most 4000"),
        ("web: a\u202eb", "wanted a command line of printable UTF-8 text"),
        ("\n".join(f"p{number}: a" for number in range(60)), "Procfile: found more than 50 processes, wanted fewer"),
    ],
)
def test_what_a_procfile_must_not_have(text: str, said: str) -> None:
    _found, findings = procfile(text, "Procfile")
    assert len(findings) == 1 and said in str(findings[0])


def test_a_procfile_of_nonsense_has_a_bounded_report() -> None:
    assert len(procfile("nonsense\n" * 100_000, "Procfile")[1]) == 50
