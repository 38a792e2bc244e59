# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of the platform are named by the digest of their artifact, and nodes get no credentials that push."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError

from ansible_collections.cloudbang.platform.plugins.lookup import image_digest
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, mirror, oci, plan

ROLES = Path(__file__).resolve().parents[3] / "roles"
COLLECTIONS = next(path for path in sys.path if path.endswith("build/collections"))
ANSIBLE_PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
IMAGES = ["image-pause", "image-coredns", "image-metrics-server", "image-calico-kube-controllers"]
REGISTRY = "registry.cloudbang.internal:5000"
UNKNOWN = "sha256:" + "0" * 64
# Where each image of the platform is named.
NAMED = {
    "container_runtime/templates/config.toml.j2": "image-pause",
    "coredns/templates/coredns.yaml.j2": "image-coredns",
    "metrics_server/templates/metrics-server.yaml.j2": "image-metrics-server",
    "calico/templates/kube-controllers.yaml.j2": "image-calico-kube-controllers",
}
VARIABLES = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "cloudbang_cluster_name": "unit",
    "cloudbang_management": [{"name": "one", "address": "10.0.0.1"}],
    "cloudbang_storage": [{"name": "store", "address": "10.0.0.4"}],
    "container_runtime_systemd_cgroup": True,
}


def site(root: Path, text: str) -> dict[str, str]:
    """Write a mirror with images that contain a text, and one program. Return the images' digests by artifact."""
    digests, files = {}, []
    for item in plan([*IMAGES, "kubelet"], Settings(source="build", cache_dir=str(root / "none"))).values():
        path = root / item.name
        path.write_bytes(b"program")
        if item.name in IMAGES:
            layer = oci.FileLayer([oci.Entry("/text", content=f"{item.name} {text}".encode())])
            digests[item.name] = oci.write_image([layer], {}, str(path)).digest
        files.append({"name": item.name, "component": item.component, "version": item.version, "path": str(path)})
        files[-1].update(sha256=mirror.sha256_file(str(path)), size=path.stat().st_size, made="build")
        files[-1].update(kind="image" if item.name in IMAGES else "executable")
    mirror.write_mirror(str(root / "mirror"), files, "amd64", lambda message: None)
    return digests


def play(
    root: Path, tasks: list[dict[str, Any]], *arguments: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run tasks on this machine with the variables that all roles share, and a mirror for the artifacts."""
    own = {
        **VARIABLES,
        "artifacts_source": "mirror",
        "artifacts_mirror": str(root / "mirror"),
        "artifacts_cache_dir": str(root / "cache"),
        "cloudbang_state_dir": str(root / "state"),
        **variables,
    }
    playbook = {
        "hosts": "store",
        "gather_facts": False,
        "roles": ["cloudbang.platform.cluster"],
        "vars_files": [str(ROLES / role / part / "main.yml") for role in ("registry", "container_runtime", "coredns")
                       for part in ("defaults", "vars") if (ROLES / role / part).is_dir()],
        "tasks": tasks,
    }  # fmt: skip
    (root / "play.yml").write_text(yaml.safe_dump([playbook]))
    (root / "variables.json").write_text(json.dumps(own))
    (root / "hosts.yml").write_text(yaml.safe_dump({"storage": {"hosts": {"store": {}}}}))
    (root / "ansible.cfg").write_text("")
    environment = {"ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, "ANSIBLE_CONFIG": str(root / "ansible.cfg")}
    return subprocess.run(
        [ANSIBLE_PLAYBOOK, "-i", str(root / "hosts.yml"), "-e", "@variables.json", str(root / "play.yml"), *arguments],
        env={**os.environ, **environment, "HOME": str(root), "ANSIBLE_NOCOLOR": "true"},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(root: Path, *templates: str, **variables: Any) -> dict[str, str]:
    """Return the text of templates by their name, with the secrets of a cluster in the state directory."""
    tasks = yaml.safe_load((ROLES / "pki/tasks/main.yml").read_text("utf-8"))
    tasks[0]["vars"] = {"pki_dir": "{{ cloudbang_pki_dir }}"}
    users = next(one for one in yaml.safe_load((ROLES / "registry/tasks/main.yml").read_text("utf-8")) if "when" in one)
    for ending in ("crt", "key"):
        stand_in = {"dest": "{{ cloudbang_pki_dir }}/metrics-server." + ending, "content": ending, "mode": "0600"}
        tasks.append({"name": "The metrics server's certificate", "ansible.builtin.copy": stand_in})
    results = {name: root / "rendered" / name for name in templates}
    for name, path in results.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        tasks.append(
            {
                "name": name,
                "ansible.builtin.template": {"src": str(ROLES / name), "dest": str(path), "mode": "0600"},
            }
        )
    done = play(root, [tasks[0], users, *tasks[1:]], **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: path.read_text() for name, path in results.items()}


def test_the_platforms_images_are_named_by_digest_and_follow_their_artifacts(tmp_path: Path) -> None:
    seen = []
    for text in ("first", "second"):
        place = tmp_path / text
        place.mkdir()
        digests = site(place, text)
        texts = rendered(place, *NAMED)
        for template, artifact in NAMED.items():
            wanted = f"{REGISTRY}/{artifact.removeprefix('image-')}@{digests[artifact]}"
            assert re.findall(rf'"({REGISTRY}/[^"]*)"', texts[template]) == [wanted]
        seen.append(texts)
    assert [name for name in NAMED if seen[0][name] == seen[1][name]] == []


def test_no_template_of_a_role_names_an_image_by_a_tag() -> None:
    lines = [line for path in ROLES.glob("*/templates/*.j2") for line in path.read_text("utf-8").splitlines()]
    images = [line for line in lines if "cloudbang_registry }}/" in line or "cloudbang_registry ~ '/" in line]
    images = [line for line in images if "certs.d" not in line]
    assert len(images) == len(NAMED)
    assert [line for line in images if "image_digest" not in line] == []


def digest_of(root: Path, name: str, check_mode: bool = False) -> str:
    """Return what the lookup says of an artifact from the mirror."""
    lookup = image_digest.LookupModule(templar=SimpleNamespace(template=lambda value: value))
    variables = {"artifacts_source": "mirror", "artifacts_mirror": str(root / "mirror")}
    variables["artifacts_cache_dir"] = str(root / "cache")
    [digest] = lookup.run([name], {**variables, "ansible_check_mode": check_mode})
    return digest


def test_check_mode_gets_no_artifact_and_says_so(tmp_path: Path) -> None:
    digests = site(tmp_path, "x")
    assert digest_of(tmp_path, "image-coredns", check_mode=True) == UNKNOWN
    assert not (tmp_path / "cache").exists()
    assert digest_of(tmp_path, "image-coredns") == digests["image-coredns"]
    assert digest_of(tmp_path, "image-coredns", check_mode=True) == digests["image-coredns"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kubelet", "kubelet: found an artifact of kind executable; wanted an image"),
        ("image-corends", "unknown image-corends"),
        ("image-pause", "wanted an archive of one image"),
    ],
)
def test_what_has_no_digest_is_refused(tmp_path: Path, name: str, message: str) -> None:
    """The last is an archive whose content a disk, or somebody, changed in the cache."""
    site(tmp_path, "x")
    digest_of(tmp_path, "image-pause")
    [ref] = [path for path in (tmp_path / "cache" / "refs").rglob("*.json") if "image-pause" in path.name]
    blob = tmp_path / "cache" / "blobs" / "sha256" / json.loads(ref.read_text())["sha256"]
    status = blob.stat()
    blob.write_bytes(b"x" * status.st_size)
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(AnsibleError, match=message):
        digest_of(tmp_path, name)


PULL = ["registry/templates/pull-config.yml.j2", "registry/templates/registry-pull.service.j2"]
PUSH, BUILD = (
    [f"registry/templates/{name}.j2" for name in (f"{kind}-config.yml", f"{unit}.service", f"{kind}.nft")]
    for kind, unit in (("push", "registry"), ("build", "registry-build"))
)
COMPUTE = [{"name": "two", "address": "10.0.0.3"}, {"name": "one", "address": "10.0.0.2"}]
CLIENTS = ["registry/templates/htpasswd.j2", "registry/templates/docker-config.json.j2"]
HOSTS = "container_runtime/templates/hosts.toml.j2"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """What a registry with two users and its nodes get, and where the state of the cluster is."""
    place = tmp_path_factory.mktemp("cluster")
    users = [{"name": "ci"}, {"name": "acme.build"}]
    templates = [HOSTS, *CLIENTS, *PULL, *PUSH, *BUILD]
    return place, rendered(place, *templates, registry_users=users, cloudbang_compute=COMPUTE)


def test_nodes_have_no_credentials_that_push(cluster: tuple[Path, dict[str, str]]) -> None:
    place, texts = cluster
    pki = place / "state" / "pki"
    push, pull = ((pki / f"registry-{one}.password").read_text().strip() for one in ("push", "pull"))
    assert push != pull
    [header] = re.findall(r'authorization = "Basic (.*)"', texts[HOSTS])
    assert base64.b64decode(header).decode() == f"node:{pull}"
    assert (pki / "node.htpasswd").read_text().startswith("node:$2b$")
    assert json.loads(texts[CLIENTS[1]])["auths"].keys() == {"127.0.0.1:5001"}
    for name in (HOSTS, *PULL):
        assert push not in texts[name] and base64.b64encode(f"cloudbang:{push}".encode()).decode() not in texts[name]


def test_nodes_look_for_images_nowhere_else(cluster: tuple[Path, dict[str, str]]) -> None:
    """A missing image is known at once: without a server of its own, containerd asks for the name's in DNS."""
    text = cluster[1][HOSTS]
    servers = re.findall(r'^(?:server = |\[host\.)"(https://[^"]+)"\]?$', text, re.M)
    assert text.startswith("server = ") and servers == ["https://10.0.0.4:5000"]


def test_users_that_push_are_those_of_the_list(cluster: tuple[Path, dict[str, str]]) -> None:
    place, texts = cluster
    first = texts[CLIENTS[0]].splitlines()
    assert [line.split(":")[0] for line in first] == ["cloudbang", "ci", "acme.build"]
    passwords = [*(place / "state" / "pki" / "registry-users").glob("*.password")]
    assert sorted(path.stem for path in passwords) == ["acme.build", "ci"]
    assert [path for path in passwords if path.stat().st_mode & 0o077] == []
    after = rendered(place, CLIENTS[0], registry_users=[{"name": "acme.build"}])[CLIENTS[0]]
    assert after.splitlines() == [first[0], first[2]]


def test_what_nodes_reach_is_read_only(cluster: tuple[Path, dict[str, str]]) -> None:
    _place, texts = cluster
    config = yaml.safe_load(texts[PULL[0]])
    assert config["http"]["addr"] == "0.0.0.0:5000"
    # Nodes know the password. What signs the state of uploads is made up at each start, and there are none.
    assert "secret" not in config["http"]
    assert config["auth"]["htpasswd"]["path"] == "/etc/cloudbang-registry/pull/htpasswd"
    assert config["storage"]["delete"] == {"enabled": False}
    assert config["storage"]["maintenance"] == {"uploadpurging": {"enabled": False}, "readonly": {"enabled": True}}
    assert "cache" not in config["storage"]
    unit = texts[PULL[1]].splitlines()
    assert {"User=registry-pull", "ProtectSystem=strict", "ReadOnlyPaths=/var/lib/cloudbang/registry"} <= set(unit)
    assert [line for line in unit if line.startswith(("ReadWritePaths", "BindPaths"))] == []


def listening(
    texts: dict[str, str], templates: list[str] = PUSH, rules: str = "push.nft"
) -> tuple[str, list[str], list[str], bool]:
    """Return the address of the port that takes images, the filter of packets, whom systemd lets in, and whether the
    port stays closed when the filter cannot be set."""
    unit = texts[templates[1]].splitlines()
    [start] = [line.removeprefix("ExecStartPre=") for line in unit if line.startswith("ExecStartPre=")]
    assert start.lstrip("+-") == f"/usr/sbin/nft --file /etc/cloudbang-registry/{rules}"
    return (
        yaml.safe_load(texts[templates[0]])["http"]["addr"],
        re.findall(r"tcp dport .*", texts[templates[2]]),
        [line for line in unit if line.startswith("IPAddress")],
        not start.startswith("+-"),
    )


def test_the_port_that_takes_images_is_open_to_named_networks_only(
    cluster: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    assert listening(cluster[1]) == ("127.0.0.1:5001", [], ["IPAddressDeny=any", "IPAddressAllow=localhost"], False)
    assert listening(rendered(tmp_path, *PUSH, registry_push_networks=["10.0.0.0/24", "192.0.2.7/32"])) == (
        "0.0.0.0:5001",
        [
            "tcp dport 5001 ip saddr { 10.0.0.0/24, 192.0.2.7/32 } accept",
            'tcp dport 5001 drop comment "IPv6 too, which 0.0.0.0 does not exclude"',
        ],
        ["IPAddressDeny=any", "IPAddressAllow=localhost 10.0.0.0/24 192.0.2.7/32"],
        True,
    )


def test_whoever_reloads_the_hosts_filter_opens_the_port_to_nobody(
    cluster: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """A reload of nftables empties all tables. Where the port is on loopback alone, it is none of the registry's."""
    wanted = {
        "After=nftables.service",
        "PartOf=nftables.service",
        "ReloadPropagatedFrom=nftables.service",
        "ExecReload=+/usr/sbin/nft --file /etc/cloudbang-registry/push.nft",
    }
    unit = rendered(tmp_path, *PUSH, registry_push_networks=["10.0.0.0/24"])[PUSH[1]]
    assert wanted <= set(unit.splitlines())
    assert wanted.isdisjoint(cluster[1][PUSH[1]].splitlines())


def test_the_port_of_builds_is_open_to_pods_and_their_hosts(cluster: tuple[Path, dict[str, str]]) -> None:
    """A pod on another host shows the address of its host, one on this host its own."""
    assert listening(cluster[1], BUILD, "build/build.nft") == (
        "0.0.0.0:5002",
        [
            "tcp dport 5002 ip saddr { 10.0.0.2, 10.0.0.3, 10.244.0.0/16 } accept",
            'tcp dport 5002 drop comment "IPv6 too, which 0.0.0.0 does not exclude"',
        ],
        ["IPAddressDeny=any", "IPAddressAllow=localhost 10.0.0.2 10.0.0.3 10.244.0.0/16"],
        True,
    )
    unit = cluster[1][BUILD[1]].splitlines()
    assert "ExecReload=+/usr/sbin/nft --file /etc/cloudbang-registry/build/build.nft" in unit
    assert "ExecStopPost=-+/usr/sbin/nft delete table inet cloudbang-registry-build" in unit


def test_builds_need_a_token_and_delete_nothing(cluster: tuple[Path, dict[str, str]]) -> None:
    place, texts = cluster
    config, pushes = (yaml.safe_load(texts[templates[0]]) for templates in (BUILD, PUSH))
    assert config["auth"] == {
        "token": {
            "realm": "https://builder.invalid/token",
            "service": "unit",
            "issuer": "cloudbang-builder",
            "rootcertbundle": "/etc/cloudbang-registry/build/builder-ca.crt",
            "signingalgorithms": ["ES256"],
        }
    }
    assert config["storage"] == {**pushes["storage"], "delete": {"enabled": False}}
    assert pushes["storage"]["delete"] == {"enabled": True}
    # The key that signs tokens stays on the controller.
    key = (place / "state" / "pki" / "builder-ca.key").read_text().splitlines()[1]
    assert [name for name in texts if key in texts[name]] == []


def test_the_service_of_builds_sees_no_credentials_of_the_others(cluster: tuple[Path, dict[str, str]]) -> None:
    """It has their user, as it writes the same files."""
    hidden = {
        path
        for line in cluster[1][BUILD[1]].splitlines()
        if line.startswith("InaccessiblePaths=/")
        for path in line.removeprefix("InaccessiblePaths=").split()
    }
    files = yaml.safe_load((ROLES / "registry/vars/main.yml").read_text("utf-8"))["_registry_files"]
    secrets = {one["path"] for one in files if one.get("mode") == "0600" and "/etc/cloudbang-registry/" in one["path"]}
    secrets -= {"/etc/cloudbang-registry/push.nft"}
    assert len(secrets) >= 5
    assert [one for one in secrets if not any(f"{one}/".startswith(f"{path}/") for path in hidden)] == []
