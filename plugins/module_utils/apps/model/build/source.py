# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the source of a build is: a directory, an archive or a git repository, as a task names it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding

from ..options import Checker

MAX_URL = 2000
MAX_REF = 250
MAX_KEY = 65_536
MAX_TOKEN = 8192
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_HOST = r"(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}"
_PATH = r"[^\s\x00-\x1f\x7f\\]+"
_NETWORK = re.compile(rf"(?P<scheme>https?|ssh)://(?:(?P<user>{_USER})@)?{_HOST}(?::[0-9]{{1,5}})?/{_PATH}\Z")
# The short form of SSH: user@host:path.
_SHORT = re.compile(rf"(?P<user>{_USER})@(?P<host>{_HOST}):(?P<path>(?!:)(?!/){_PATH})\Z")
_LOCAL = re.compile(rf"(?:file://)?(?P<path>/{_PATH})\Z")
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/@]*:[^/]*@")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@#-]*\Z")
_BAD_REF = re.compile(r"\.\.|//|/\.|@\{|(?:\.|/|\.lock)\Z")
_KEY = re.compile(
    r"\s*-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----\n.*-----END (?:[A-Z0-9]+ )?PRIVATE KEY-----\s*\Z", re.S
)
_TOKEN = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True)
class Git:
    """A git repository. `url` has no password; `ref` is a branch, tag or whole commit id, "" for the default branch.

    key: a private key for SSH; token: a password for HTTPS; known_hosts: lines with the keys of SSH servers, "" for
    those of the user and of the controller.
    """

    url: str
    ref: str = ""
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    known_hosts: str = ""

    @property
    def scheme(self) -> str:
        """https, http, ssh or file."""
        return self.url.partition("://")[0]

    @property
    def user(self) -> str:
        """The user in the URL, "" without one."""
        found = _NETWORK.match(self.url)
        return (found["user"] or "") if found else ""


@dataclass(frozen=True)
class Source:
    """Exactly one of a directory, an archive and a git repository."""

    path: str = ""
    archive: str = ""
    git: Git | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(text for text in (self.git.key, self.git.token) if text) if self.git else ()

    def described(self) -> str:
        """Return the source as results and records show it."""
        if self.git is None:
            return self.path or self.archive
        return f"{self.git.url} {self.git.ref}".strip()


def parse_source(given: dict[str, Any] | None) -> tuple[Source, list[Finding]]:
    """Return the source that checked options make, and what is wrong with them."""
    checker = Checker("")
    said = [name for name in ("path", "archive", "git") if (given or {}).get(name) is not None]
    if given is None or len(said) != 1:
        wanted = "exactly one of path, archive and git"
        return Source(), [Finding("source", " and ".join(said) or "nothing", wanted)]
    if said == ["git"]:
        return Source(git=_git(checker, given["git"])), checker.findings
    [name] = said
    text = given[name]
    if not text.strip() or "\0" in text or "\n" in text:
        wanted = "the path of a directory" if name == "path" else "the path of an archive"
        checker.wrong(f"source.{name}", text, wanted)
    return Source(**{name: text}), checker.findings


def _git(checker: Checker, given: dict[str, Any]) -> Git:
    url = _url(checker, given.get("url") or "", bool(given.get("allow_path")))
    ref = given.get("ref") or ""
    if ref and (len(ref) > MAX_REF or not _REF.match(ref) or _BAD_REF.search(ref)):
        checker.wrong("source.git.ref", ref, "the name of a branch or tag, or a whole commit id")
    git = Git(url, ref, given.get("key") or "", given.get("token") or "", given.get("known_hosts") or "")
    if git.key and (len(git.key) > MAX_KEY or not _KEY.match(git.key)):
        checker.wrong("source.git.key", git.key, "a private key in PEM or OpenSSH format", secret=True)
    if git.token and (len(git.token) > MAX_TOKEN or not _TOKEN.match(git.token)):
        checker.wrong("source.git.token", git.token, "one word of printable characters", secret=True)
    if url and git.key and git.scheme != "ssh":
        checker.wrong("source.git.key", git.key, f"none, because {git.scheme} has no keys: an ssh URL, or token", True)
    if url and git.token and git.scheme != "https":
        wanted = "none, because it would be sent in clear text: https" if git.scheme == "http" else "none without https"
        checker.wrong("source.git.token", git.token, wanted, secret=True)
    if git.user and not git.token and git.scheme != "ssh":
        # Git servers accept a token as the user, and results and records contain the URL.
        wanted = "a URL without one, or source.git.token"
        checker.findings.append(Finding("source.git.url", "a user in it (not shown), which may be a token", wanted))
    if git.known_hosts and (url and git.scheme != "ssh"):
        checker.wrong("source.git.known_hosts", git.known_hosts, "none, because only ssh has them")
    return git


def _url(checker: Checker, url: str, allow_path: bool) -> str:
    """Return a URL in its long form, "" with a finding for one that git must not get."""
    forms = "https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH"
    if not url:
        return ""  # that it is missing is known already
    if len(url) > MAX_URL:
        checker.findings.append(Finding("source.git.url", f"{len(url)} characters", f"at most {MAX_URL}"))
        return ""
    if _PASSWORD.match(url):
        wanted = "a URL without one, and source.git.token"
        checker.findings.append(Finding("source.git.url", "a password in it (not shown)", wanted))
        return ""
    if _NETWORK.match(url):
        return url
    short = _SHORT.match(url)
    if short:
        return f"ssh://{short['user']}@{short['host']}/{short['path']}"
    local = _LOCAL.match(url)
    if local and allow_path:
        return f"file://{local['path']}"
    if local:
        checker.wrong("source.git.url", url, f"{forms}, or a path of this host with allow_path: true")
    else:
        checker.wrong("source.git.url", url, forms)
    return ""
