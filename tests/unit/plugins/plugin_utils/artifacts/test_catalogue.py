# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, names, recipes, upstream
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.catalogue import (
    DEFAULT_CATALOGUE,
    Catalogue,
    Component,
    fill,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.errors import ArtifactError

SHIPPED = list(yaml.safe_load(Path(DEFAULT_CATALOGUE).read_text())["components"])
GO_KINDS = ("go-wrapper", "go-module")


def shipped(name: str, arch: str = "amd64", **versions: str) -> Component:
    return Catalogue(DEFAULT_CATALOGUE, versions, arch).component(name)


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_entries_are_complete(name: str, arch: str) -> None:
    component = shipped(name, arch)
    described = str(component.build) + str([component.upstream_of(file) for file in component.files])
    assert not re.search(r"\{(version|arch|uarch|name|major|minor|patch)\}", described)
    assert component.build is not None
    assert component.build["kind"] in recipes.RECIPES
    for file in component.files:
        entry = component.upstream_of(file)
        if entry is not None:
            assert entry["kind"] in upstream._KINDS
            assert "image" in entry or entry["url"].startswith("https://")
    if component.build["kind"] in GO_KINDS:
        assert component.build["sums"]
        assert all(file.options.get("package") for file in component.files.values())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_source_modules_have_a_checksum(name: str) -> None:
    build: Any = shipped(name).build
    if "module" in build:
        version = build.get("module_version") or build["module_versions"][shipped(name).version]
        assert f"{build['module']}@{version}" in build["sums"]
    for module, version in build.get("modules", {}).items():
        assert f"{module}@{version}" in build["sums"]


def test_a_version_reaches_every_place() -> None:
    component = shipped("kubernetes", kubernetes="v1.37.12")
    assert component.version == "1.37.12"
    assert component.build is not None
    assert component.build["modules"] == {"k8s.io/kubernetes": "v1.37.12"}
    assert component.build["staging"] == "v0.37.12"
    entry = component.upstream_of("kubelet")
    assert entry is not None
    assert entry["url"].endswith("/v1.37.12/bin/linux/amd64/kubelet")


def test_an_image_follows_the_version_of_its_program() -> None:
    assert shipped("image-coredns", coredns="1.99.0").version == "1.99.0"
    assert shipped("image-coredns").recipe != shipped("image-coredns", coredns="1.99.0").recipe


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"kubernetes": 1.36}, "1.36, which is no string; wanted a quoted string"),
        ({"kubernetes": None}, "None, which is no string"),
        ({"kubernetes": ""}, "found ''"),
        ({"kubernetes": "latest"}, "found 'latest'"),
        ({"kubernetes": "1.36.3; rm -rf /"}, "wanted a version"),
        ({"kubernetes": "../1"}, "wanted a version"),
        ({"kubernets": "1.36.3"}, "unknown component kubernets; wanted one of etcd, kubernetes"),
    ],
)
def test_bad_versions(versions: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        names(Settings(versions=versions))
    assert message in str(caught.value)
    assert "artifacts_versions" in str(caught.value)


def test_what_only_builds_need_is_fetched_by_who_builds() -> None:
    usual, everything = names(Settings()), names(Settings(), everything=True)
    assert {"etcd", "image-pause"} <= set(usual) < set(everything)
    assert {name for name in everything if name.startswith(("image-base-", "image-builder"))} == (
        set(everything) - set(usual)
    )


def test_unknown_names_are_reported_at_once_with_a_hint() -> None:
    with pytest.raises(ArtifactError, match=r"unknown kubelt \(did you mean kubelet\?\), nonsense"):
        Catalogue(DEFAULT_CATALOGUE, {}, "amd64").owners(["etcd", "kubelt", "nonsense"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no mapping named components"),
        ("components: {a: {version: '1', files: {x: {}}}, b: {version: '1', files: {x: {}}}}", "x in a and b"),
        ("components: {a: {version: '1', files: {x: {kind: binary}}}}", "kind binary of x"),
    ],
)
def test_bad_catalogues(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "catalogue.yml"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        Catalogue(str(path), {}, "amd64")


def test_a_missing_catalogue_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere\.yml"):
        Catalogue(str(tmp_path / "nowhere.yml"), {}, "amd64")


def test_placeholders_are_filled_everywhere_and_only_the_known_ones() -> None:
    value = {"a-{version}": ["{version}", {"b": "{other}"}], "n": 1}
    assert fill(value, {"version": "2"}) == {"a-2": ["2", {"b": "{other}"}], "n": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "internet"}, "artifacts_source: found 'internet'; wanted one of auto, upstream, mirror, build"),
        ({"source": "mirror"}, "artifacts_mirror: found nothing"),
        ({"arch": "riscv"}, "artifacts_arch: found 'riscv'"),
        ({"versions": ["kubernetes"]}, "artifacts_versions: found"),
    ],
)
def test_bad_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Settings(**changes)
    assert message in str(caught.value)


def test_settings_come_from_variables() -> None:
    variables = {"artifacts_source": "{{ x }}", "artifacts_arch": "x86_64", "artifacts_mirror": "", "other": 1}
    settings = Settings.from_vars(variables, lambda value: "build" if value == "{{ x }}" else value)
    assert (settings.source, settings.arch, settings.mirror, settings.versions) == ("build", "amd64", None, {})
    assert settings.cache_dir == str(Path("~/.cache/cloudbang").expanduser())
