# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of app_build: what is accepted, and what each bad one says."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"
APP = {"name": "shop", "tenant": "acme"}
HTTPS = "https://git.example.org/acme/shop.git"
SSH = "ssh://git@git.example.org/acme/shop.git"


def git(url: str = HTTPS, **more: Any) -> dict[str, Any]:
    return {"git": {"url": url, **more}}


@pytest.mark.parametrize(
    ("given", "url", "scheme", "user"),
    [
        (HTTPS, HTTPS, "https", ""),
        ("http://git.example.org/shop", "http://git.example.org/shop", "http", ""),
        (SSH, SSH, "ssh", "git"),
        ("git@git.example.org:acme/shop.git", SSH, "ssh", "git"),
        ("ssh://git@[2001:db8::1]:2222/shop", "ssh://git@[2001:db8::1]:2222/shop", "ssh", "git"),
    ],
)
def test_urls_that_git_gets(given: str, url: str, scheme: str, user: str) -> None:
    found = parse("app_build", {**APP, "source": git(given)}).source.git
    assert (found.url, found.scheme, found.user) == (url, scheme, user)


def test_a_user_in_a_url_goes_with_its_token() -> None:
    url = "https://deploy@git.example.org:8443/shop"
    assert parse("app_build", {**APP, "source": git(url, token="hunter2")}).source.git.user == "deploy"


def test_a_path_is_a_repository_only_if_it_is_allowed() -> None:
    found = parse("app_build", {**APP, "source": git("/srv/shop.git", allow_path=True)}).source.git
    assert (found.url, found.scheme) == ("file:///srv/shop.git", "file")


FORMS = "https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH"
REF = "the name of a branch or tag, or a whole commit id"
BAD: list[tuple[dict[str, Any], str, str]] = [
    # options, the option that is named, the end of its message
    ({"source": {}}, "source", "found nothing, wanted exactly one of path, archive and git"),
    ({"source": {"path": ".", "archive": "a.tar"}}, "source", "found path and archive, wanted exactly one of path"),
    ({"source": {"path": ""}}, "source.path", "wanted the path of a directory"),
    ({"source": {"path": "a\nb"}}, "source.path", "wanted the path of a directory"),
    ({"source": {"archive": " "}}, "source.archive", "wanted the path of an archive"),
    ({"source": {"archive": "a\0b"}}, "source.archive", "wanted the path of an archive"),
    ({"source": {"url": HTTPS}}, "source.url", "found an unknown option, wanted one of archive, git, path"),
    ({"source": {"git": {}}}, "source.git.url", "found nothing, wanted text"),
    ({"source": git("ext::sh -c touch% /tmp/x")}, "source.git.url", FORMS),
    ({"source": git("git@host::command")}, "source.git.url", FORMS),
    ({"source": git("--upload-pack=touch /tmp/x")}, "source.git.url", FORMS),
    ({"source": git("-oProxyCommand=x@host:y")}, "source.git.url", FORMS),
    ({"source": git("ssh://-oProxyCommand=x/y")}, "source.git.url", FORMS),
    ({"source": git("git://git.example.org/shop")}, "source.git.url", FORMS),
    ({"source": git("ftp://git.example.org/shop")}, "source.git.url", FORMS),
    ({"source": git("https://git.example.org")}, "source.git.url", FORMS),
    ({"source": git("https://git.example.org/a b")}, "source.git.url", FORMS),
    ({"source": git("https://git.example.org/a\nb")}, "source.git.url", FORMS),
    ({"source": git("shop.git")}, "source.git.url", FORMS),
    ({"source": git("/srv/shop.git")}, "source.git.url", FORMS + ", or a path of this host with allow_path: true"),
    ({"source": git("file:///srv/shop.git")}, "source.git.url", "or a path of this host with allow_path: true"),
    ({"source": git("../shop.git", allow_path=True)}, "source.git.url", FORMS),
    ({"source": git("https://me:hunter2@x.org/a")}, "source.git.url", "wanted a URL without one, and source.git.token"),
    (
        {"source": git("https://ghp_hunter2@x.org/a")},
        "source.git.url",
        "a user in it (not shown), which may be a token",
    ),
    ({"source": git("https://x.org/" + "a" * 2000)}, "source.git.url", "found 2014 characters, wanted at most 2000"),
    ({"source": git(ref="--exec=x")}, "source.git.ref", REF),
    ({"source": git(ref="a..b")}, "source.git.ref", REF),
    ({"source": git(ref="main@{1}")}, "source.git.ref", REF),
    ({"source": git(ref="main:other")}, "source.git.ref", REF),
    ({"source": git(ref="+main")}, "source.git.ref", REF),
    ({"source": git(ref="refs/heads/*")}, "source.git.ref", REF),
    ({"source": git(ref="a.lock")}, "source.git.ref", REF),
    ({"source": git(ref="a/")}, "source.git.ref", REF),
    ({"source": git(ref="a b")}, "source.git.ref", REF),
    ({"source": git(ref="a" * 251)}, "source.git.ref", REF),
    ({"source": git(SSH, key="hunter2")}, "source.git.key", "wanted a private key in PEM or OpenSSH format"),
    ({"source": git(SSH, key=KEY.replace("PRIVATE", "PUBLIC"))}, "source.git.key", "a private key in PEM or OpenSSH"),
    ({"source": git(HTTPS, key=KEY)}, "source.git.key", "none, because https has no keys: an ssh URL, or token"),
    ({"source": git(SSH, token="hunter2")}, "source.git.token", "wanted none without https"),
    ({"source": git("http://x.org/a", token="hunter2")}, "source.git.token", "it would be sent in clear text: https"),
    ({"source": git(token="hunter2\n")}, "source.git.token", "wanted one word of printable characters"),
    ({"source": git(known_hosts="x ssh-ed25519 AAAA")}, "source.git.known_hosts", "because only ssh has them"),
    ({"source": {"path": "."}, "keep": 0}, "keep", "found 0, wanted 1 to 1000"),
    ({"source": {"path": "."}, "timeout": 0}, "timeout", "found 0, wanted 1 to 86400"),
    ({"source": {"path": "."}, "name": "Shop"}, "name", "a letter first (RFC 1123 label)"),
    ({"source": {"path": "."}, "tenant": "kube-system"}, "tenant", "a namespace that is not the cluster's own"),
    ({"source": {"path": "."}, "build": {"language": "cobol"}}, "build.language", "wanted one of bun, deno"),
    ({"source": {"path": "."}, "build": {"subdir": "../x"}}, "build.subdir", "letters, digits and _@+.-, without .."),
    ({"source": {"path": "."}, "processes": {"Web!": "x"}}, "processes.Web!", "wanted"),
    ({"source": {"path": "."}, "processes": {"web": 3}}, "processes.web", "a command line, or a list of words"),
]


@pytest.mark.parametrize(("options", "where", "end"), BAD)
def test_a_bad_option_is_named_with_what_is_wanted(options: dict[str, Any], where: str, end: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse("app_build", {**APP, **options})
    assert [finding.where for finding in caught.value.findings] == [where]
    assert end in str(caught.value)
    assert "hunter2" not in str(caught.value) and "c2VjcmV0" not in str(caught.value)


def test_secrets_are_known_and_not_shown() -> None:
    request = parse("app_build", {**APP, "source": git(SSH, key=KEY)})
    assert request.source.secrets == (KEY,) and "c2VjcmV0" not in repr(request)
    request = parse("app_build", {**APP, "source": git(token="hunter2")})
    assert request.source.secrets == ("hunter2",) and "hunter2" not in repr(request)


def test_all_that_is_wrong_is_told_at_once() -> None:
    options = {**APP, "source": git("x", ref="-"), "build": {"subdir": "../x"}, "processes": {"web": ""}, "keep": 0}
    with pytest.raises(Invalid) as caught:
        parse("app_build", options)
    named = {finding.where for finding in caught.value.findings}
    assert named >= {"source.git.url", "source.git.ref", "build.subdir", "keep"}


@pytest.mark.parametrize("build", [3, "3", {"number": 3, "image": "x"}])
def test_an_app_takes_a_build_by_number_or_result(build: Any) -> None:
    [app] = parse("app", {**APP, "build": build}).apps
    assert app.build is not None and app.build.number == 3


@pytest.mark.parametrize(
    ("options", "where", "end"),
    [
        ({"build": 0}, "build", "wanted the number of a build, or the result `build` of app_build"),
        ({"build": "latest"}, "build", "wanted the number of a build"),
        ({"build": True}, "build", "wanted the number of a build"),
        ({"build": {"image": "x/y:1"}}, "build", "wanted the number of a build"),
        ({"build": 10**9}, "build", "wanted the number of a build"),
        ({"build": 3, "image": "x/y:1"}, "image", "wanted either image or build"),
        ({"build": 3, "domains": ["UPPER"]}, "domains[0]", "a lowercase host name"),
    ],
)
def test_a_bad_build_of_an_app(options: dict[str, Any], where: str, end: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse("app", {**APP, **options})
    assert where in [finding.where for finding in caught.value.findings]
    assert end in str(caught.value)


def test_each_app_of_a_list_has_a_build_of_its_own() -> None:
    with pytest.raises(Invalid) as caught:
        parse("app", {"tenant": "acme", "apps": [{"name": "a", "build": 1}, {"name": "b", "build": "x"}]})
    assert [finding.where for finding in caught.value.findings] == ["apps[1].build"]
