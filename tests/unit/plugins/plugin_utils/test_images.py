# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of Debian packages: what is taken out of root file systems, the layers, and the catalogue's base images."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.sources import cases, tree

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.containerfile import USER
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.detect import detect
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import APP, VERSION
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.settings import task_options
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.versions import Offered
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.catalogue import DEFAULT_CATALOGUE
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.debian import images

COMPONENTS = yaml.safe_load(Path(DEFAULT_CATALOGUE).read_text())["components"]
BASES = {name: entry["build"] for name, entry in COMPONENTS.items() if name.startswith("image-base-")}
# Those that the role builder offers.
LANGUAGES = ("go", "python", "static")
SHADOW = "root:*:20420:0:99999:7:::\ndaemon:*:20420:0:99999:7:::\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing owners needs root")


def status(packages: list[str]) -> str:
    """Return the list of installed packages as dpkg has it."""
    paragraphs = [
        f"Package: {name}\nStatus: install ok installed\nSource: other (9)\nVersion: 2:1.24.4~3-1+b2\n"
        "Description: first line\n Version: in the text\n"
        for name in packages
    ]
    return "\n".join(paragraphs)


def fill(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def host(root: Path, packages: list[str], **texts: str) -> None:
    """Make a root file system as it is after packages were installed on a host."""
    for name in ("dev", "proc", "sys", "run", "tmp", "etc/apt/sources.list.d"):
        (root / name).mkdir(parents=True, exist_ok=True)
    files = {
        "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
        "etc/passwd-": "older",
        "etc/group": "root:x:0:\n",
        "etc/shadow": SHADOW,
        "etc/gshadow": "root:*::\n",
        "etc/hostname": "controller-7\n",
        "etc/resolv.conf": "nameserver 10.1.2.3\n",
        "etc/apt/sources.list": "deb http://user:secret@mirror.test/debian trixie main\n",
        "run/lock": "",
        "usr/share/doc/apt/examples/debian.sources": "Suites: trixie trixie-updates\n",
        "var/cache/ldconfig/aux-cache": "noise",
        "var/lib/dpkg/status": status(packages),
        "var/lib/dpkg/status-old": "older",
        "var/log/bootstrap.log": "today",
        **{f"usr/bin/{name}": f"program {name}" for name in packages},
        **texts,
    }
    fill(root, files)


@needs_root
def test_nothing_of_the_host_and_of_the_day_stays(tmp_path: Path) -> None:
    host(tmp_path, ["sh"])
    images.make_portable(tmp_path)
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    gone = {"etc/hostname", "etc/resolv.conf", "etc/passwd-", "etc/apt/sources.list", "run/lock"}
    gone |= {"var/lib/dpkg/status-old", "var/log/bootstrap.log", "var/cache/ldconfig/aux-cache"}
    assert not gone & set(files)
    assert files["etc/apt/sources.list.d/debian.sources"] == "Suites: trixie trixie-updates\n"
    assert files["etc/shadow"].startswith("root:*::0:99999:7:::\ndaemon:*::0:99999:7:::\n")
    assert not [name for name, text in files.items() if "20420" in text or "secret" in text]


@needs_root
def test_the_user_and_the_directory_of_applications_are_those_of_containerfiles(tmp_path: Path) -> None:
    host(tmp_path, [])
    images.make_portable(tmp_path)
    *_others, line = (tmp_path / "etc/passwd").read_text().splitlines()
    assert line.split(":")[2:6] == [str(USER), str(USER), "", APP]
    assert all((tmp_path / "etc" / name).read_text().count("\napp:") == 1 for name in ("group", "shadow", "gshadow"))
    found = (tmp_path / APP[1:]).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (USER, USER, 0o755)


class Site:
    """A catalogue of images whose packages are installed without Debian's mirror."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.installed: list[list[str]] = []
        monkeypatch.setattr(images, "bootstrap", self._install)

    def _install(self, recipe: dict[str, Any], root: Path, _packages_dir: Path, _progress: object) -> None:
        self.installed.append(recipe["packages"])
        host(root, recipe["packages"], **{"usr/share/doc/sh/README": "text"})

    def make(self, cache: str, **builds: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any], list[list[str]]]]:
        """Return digest, configuration and the names in each layer by image."""
        common = {
            "kind": "rootfs-image",
            "function": f"{images.__name__}:debian",
            "suite": "trixie",
            "packages": ["sh", "catatonit"],
            "remove": ["usr/share/doc/*"],
            "entrypoint": ["/usr/bin/catatonit", "--"],
            "user": "0:0",
        }
        components = {
            f"image-{name}": {
                "version": "1.0",
                "files": {f"image-{name}": {"kind": "image"}},
                "build": {**common, **build},
            }
            for name, build in builds.items()
        }
        path = self.root / "catalogue.yml"
        path.write_text(yaml.safe_dump({"components": components}))
        settings = Settings(source="auto", cache_dir=str(self.root / cache), catalogue=str(path))
        return {name: self._read(artifact.path) for name, artifact in ensure(list(components), settings).items()}

    @staticmethod
    def _read(path: str) -> tuple[str, dict[str, Any], list[list[str]]]:
        with tarfile.open(path) as archive:

            def member(name: str) -> Any:
                return archive.extractfile(name)

            saved = json.load(member("manifest.json"))[0]
            layers = []
            for name in saved["Layers"]:
                with tarfile.open(fileobj=member(name), mode="r:gz") as layer:
                    layers.append(layer.getnames())
            return saved["Config"], json.load(member(saved["Config"])), layers


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


@needs_root
def test_images_share_the_lowest_layer_and_are_the_same_each_time(site: Site) -> None:
    wanted: dict[str, dict[str, Any]] = {
        "go": {
            "more_packages": ["golang-1.24-go"],
            "offers": {"go": ["1.24"]},
            "links": {"/usr/local/bin/python": "x"},
        },
        "plain": {},
        "small": {"keep": ["etc/passwd", "usr/bin/catatonit"]},
    }
    made = site.make("one", **wanted)
    assert sorted(site.installed) == [["sh", "catatonit"], ["sh", "catatonit", "golang-1.24-go"]]
    (_digest, config, (lowest, top, last)), (_other, _config, below), (_third, _its, [small]) = made.values()
    assert below == [lowest] and "usr/bin/sh" in lowest and "usr/share/doc" in lowest
    assert [name for name in top if not name.startswith("etc")] == ["usr/bin/golang-1.24-go", "var/lib/dpkg/status"]
    assert last[-1] == "usr/local/bin/python"
    assert small == ["etc", "etc/passwd", "usr", "usr/bin", "usr/bin/catatonit"]
    assert config["config"]["Labels"]["cloudbang.platform/go"] == "1.24.4"
    assert config["config"]["User"] == "0:0" and config["config"]["Entrypoint"][0] == "/usr/bin/catatonit"
    shutil.rmtree(site.root / "one")
    assert site.make("two", **wanted) == made


@needs_root
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            {"more_packages": ["golang-1.24-go"], "offers": {"go": ["1.2", "1.25"]}},
            "offers.go: found the versions 1.24.4 of .*; wanted one, of 1.2 or 1.25",
        ),
        ({"offers": {"python": ["3.13"]}}, "offers.python: found the versions none of python3; wanted one, of 3.13"),
        ({"keep": ["usr/bin/nothing"]}, "keep: found no usr/bin/nothing"),
    ],
)
def test_an_image_that_is_not_what_the_catalogue_says_is_not_made(
    build: dict[str, Any], message: str, site: Site
) -> None:
    with pytest.raises(ArtifactError, match=message):
        site.make("cache", wrong=build)


def test_versions_in_the_catalogue_are_those_of_plans() -> None:
    offered = [build.get(kind, {}) for build in BASES.values() for kind in ("offers", "tools")]
    values = [version for entry in offered for versions in entry.values() for version in versions]
    assert values and all(isinstance(version, str) and VERSION.match(version) for version in values)
    assert {language for build in BASES.values() for language in build.get("offers", {})} == set(images._LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_base_of_a_plan_is_in_the_catalogue(language: str) -> None:
    versions: dict[str, tuple[str, ...]] = {}
    for build in BASES.values():
        for entry in (build.get("offers", {}), build.get("tools", {})):
            versions.update({name: tuple(given) for name, given in entry.items()})
    planned = []
    for case in cases():
        if case.language != language:
            continue
        given = case.given
        options = task_options(given.get("options"), given.get("processes"), given.get("archive", False))
        try:
            planned.append(detect(tree(given["files"]), Offered(versions), options))
        except Invalid:
            continue
    own = [plan for plan in planned if plan.language in LANGUAGES]
    assert len(own) > 5
    names = {f"image-base-{name.replace('/', '-')}" for plan in own for name in plan.bases}
    assert names and names <= set(BASES)
