# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as Galaxy has it: built, installed into an empty directory, and used from there without a host."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))
NAME = f"{GALAXY['namespace']}.{GALAXY['name']}"
# Of no use to who installs the collection.
REPOSITORY_ONLY = {"Makefile", "ansible.cfg", "build", "molecule", "pyproject.toml", "tests", "tools"}
LICENSE_LINE = "SPDX-License-Identifier: GPL-3.0-or-later"
# Written by programs, or of a format without comments.
UNSIGNED = {"CHANGELOG.md", "COPYING", "changelogs/changelog.yaml", "requirements.lock"}
UNSIGNED |= {"roles/goodnet/files/10-goodnet.conflist", "tests/audit-python.json"}
# Libraries that plugins import and that come with ansible-core, or are for the lab only, which needs Docker anyway.
NOT_FOR_ENVIRONMENTS = {"ansible", "ansible_collections", "yaml", "docker"}
# Libraries that are imported by another name than they are installed by.
INSTALLED_AS = {"websocket": "websocket-client"}


@dataclass(frozen=True)
class Installed:
    """The collection below a directory of its own. Commands run there know no other configuration."""

    home: Path
    archive: Path

    @property
    def path(self) -> Path:
        return self.home / "ansible_collections" / GALAXY["namespace"] / GALAXY["name"]

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible in the empty directory; the caller judges the exit code."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment |= {
            "HOME": str(self.home),
            "ANSIBLE_CONFIG": str(self.home / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.home / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.home),
            "ANSIBLE_NOCOLOR": "1",
        }
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), *words],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def output(self, program: str, *words: str) -> str:
        done = self.run(program, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home = tmp_path_factory.mktemp("galaxy")
    # As the README tells users.
    (home / "ansible.cfg").write_text("[defaults]\ninject_facts_as_vars = false\n")
    found = Installed(home, home / f"{NAME.replace('.', '-')}-{GALAXY['version']}.tar.gz")
    found.output("ansible-galaxy", "collection", "build", "--output-path", str(home), str(ROOT))
    words = ("--offline", "--no-deps", "--collections-path", str(home), str(found.archive))
    found.output("ansible-galaxy", "collection", "install", *words)
    return found


def known_to_git(*options: str) -> set[str]:
    """Return the paths that git lists; skip the test where the project is no repository."""
    listed = subprocess.run(["git", "ls-files", *options], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git repository")
    return set(listed.stdout.splitlines())


def test_the_archive_has_what_users_need_and_nothing_else(installed: Installed) -> None:
    with tarfile.open(installed.archive) as tar:
        members = {member.name for member in tar.getmembers() if not member.isdir()}
    tops = {name.split("/")[0] for name in members}
    assert tops >= {"COPYING", "README.md", "CHANGELOG.md", "docs", "meta", "playbooks", "plugins", "roles", "src"}
    assert not tops & REPOSITORY_ONLY
    assert {
        name for name in members if name.startswith(".") or "__pycache__" in name or name.endswith(".lock")
    } == set()
    assert {name.split("/")[1] for name in members if name.startswith("inventories/")} == {"sample"}


def test_the_archive_has_nothing_that_git_does_not_know(installed: Installed) -> None:
    known = known_to_git("--cached", "--others", "--exclude-standard")
    with tarfile.open(installed.archive) as tar:
        members = {member.name for member in tar.getmembers() if not member.isdir()}
    assert members - known == {"MANIFEST.json", "FILES.json"}


def test_every_file_names_its_licence() -> None:
    texts = {name: (ROOT / name).read_text("utf-8") for name in known_to_git()}
    missing = {name for name, text in texts.items() if text and LICENSE_LINE not in text.split("\n\n")[0]}
    assert missing == UNSIGNED


def test_everything_is_documented_from_there(installed: Installed) -> None:
    found: dict[str, Any] = json.loads(installed.output("ansible-doc", "--metadata-dump", NAME))["all"]
    # One file of Python has several filters, each with documentation beside it.
    for kind, directory, suffix in (
        ("module", "modules", ".py"),
        ("lookup", "lookup", ".py"),
        ("filter", "filter", ".yml"),
    ):
        names = {f"{NAME}.{path.stem}" for path in (ROOT / "plugins" / directory).glob(f"*{suffix}")}
        assert names, kind
        assert set(found[kind]) == names, kind
        for name, entry in found[kind].items():
            assert entry["doc"]["short_description"], name
            assert str(installed.path) in entry["doc"]["filename"], name
    roles = {path.parts[-3] for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")}
    assert set(found["role"]) == {f"{NAME}.{role}" for role in roles}


def test_every_playbook_is_found_and_parsed_from_there(installed: Installed) -> None:
    paths = [path.relative_to(installed.path / "playbooks") for path in (installed.path / "playbooks").rglob("*.yml")]
    names = {f"{NAME}.{'.'.join(path.with_suffix('').parts)}" for path in paths if "tasks" not in path.parts}
    assert names >= {f"{NAME}.{name}" for name in ("site", "preflight", "reset", "bundle", "apps.deploy")}
    inventory = str(installed.path / "inventories" / "sample" / "cluster")
    output = installed.output("ansible-playbook", "--syntax-check", "--inventory", inventory, *sorted(names))
    assert output.count("playbook: ") == len(names)


def test_site_runs_from_there_up_to_the_first_host(installed: Installed) -> None:
    """In check mode, all that is done on the controller: preflight of the inventory, artifacts, authorities."""
    done = installed.run(
        "ansible-playbook",
        f"--inventory={installed.path}/inventories/sample/single",
        "--check",
        "--extra-vars=preflight_scope=inventory artifacts_source=build",
        # No packet leaves for the sample's address.
        """--extra-vars={"ansible_ssh_common_args": "-o ProxyCommand=false"}""",
        f"{NAME}.site",
    )
    report = done.stdout + done.stderr
    # 4: hosts are unreachable. Nothing failed before.
    assert done.returncode == 4, report
    assert re.search(r"node1 .* unreachable=1 +failed=0 ", done.stdout), report
    assert re.findall(r"^PLAY \[(.*)\]", done.stdout, re.MULTILINE)[:3] == [
        "Check everything before anything changes",
        "Prepare the controller",
        "Prepare every node",
    ]
    assert not (installed.home / ".local").exists(), "check mode has made something"


def test_a_role_puts_a_tree_on_a_host_from_there(installed: Installed) -> None:
    found = re.findall(r'tree: "{{ role_path }}/([^"]+)"', (ROOT / "roles/goodnet/vars/main.yml").read_text("utf-8"))
    (tree,) = [(installed.path / "roles" / "goodnet" / name).resolve() for name in found]
    assert tree == installed.path / "src" / "goodnet" / "goodnet"
    target = installed.home / "host" / "goodnet"
    options = {"files": [{"path": str(target), "tree": f"{installed.path}/roles/goodnet/{found[0]}"}], "record": False}
    words = (f"--module-name={NAME}.converge", f"--args={json.dumps(options)}", "--connection=local", "localhost")
    assert "CHANGED" in installed.output("ansible", *words)
    sent = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    listed = {name.removeprefix("src/goodnet/goodnet/") for name in known_to_git("src/goodnet/goodnet")}
    assert "cni/plugin.py" in sent and sent == listed
    assert all((target / name).read_bytes() == (tree / name).read_bytes() for name in sent)
    assert "SUCCESS" in installed.output("ansible", *words)


def test_versions_agree() -> None:
    released = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text("utf-8"))["releases"]
    assert GALAXY["version"] in released
    assert f'<a id="v{GALAXY["version"].replace(".", "-")}"></a>' in (ROOT / "CHANGELOG.md").read_text("utf-8")
    added = set()
    for directory in ("plugins", "roles"):
        for path in (ROOT / directory).rglob("*"):
            if path.suffix in (".py", ".yml"):
                added |= set(re.findall(r"^ *version_added: (\S+)", path.read_text("utf-8"), re.MULTILINE))
    assert added <= set(released)
    core = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text("utf-8"))["requires_ansible"]
    assert f"ansible-core {core.removeprefix('>=').removesuffix('.0')} or newer" in (ROOT / "README.md").read_text(
        "utf-8"
    )


def imported(path: Path) -> set[str]:
    """Return the first parts of the names of what a file imports when it runs, not for type checkers alone."""
    found: set[str] = set()
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    blocks = [node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    never = {inner for block in blocks for one in block.body for inner in ast.walk(one)}
    for node in nodes:
        if node in never:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".", maxsplit=1)[0])
    return found


def test_an_execution_environment_gets_what_plugins_import() -> None:
    meta = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text("utf-8"))
    lines = (ROOT / meta["dependencies"]["python"]).read_text("utf-8").splitlines()
    libraries = set().union(*(imported(path) for path in (ROOT / "plugins").rglob("*.py")))
    wanted = {INSTALLED_AS.get(name, name) for name in libraries - set(sys.stdlib_module_names) - NOT_FOR_ENVIRONMENTS}
    assert {re.split("[<>=]", line)[0] for line in lines if not line.startswith("#")} == wanted
    assert (ROOT / meta["dependencies"]["system"]).is_file()
