# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the packages of a Node or Bun project are installed and pruned: npm, pnpm, Yarn 1, Yarn 4 or Bun. Pure.

A lock file is that of the project or of the workspace around it, and nothing changes it unless the task allows so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .documents import part, text_at, texts_at
from .plan import Step, Version
from .project import Project, Wish
from .tree import MAX_LOCK, globbed, joined, plain
from .versions import ANY, Range, at_least, exactly, npm, or_newer

# By manager, the more binding first.
LOCKS = {
    "npm": ("npm-shrinkwrap.json", "package-lock.json"),
    "pnpm": ("pnpm-lock.yaml",),
    "yarn": ("yarn.lock",),
    "bun": ("bun.lock", "bun.lockb"),
}
# The one that each makes if there is none.
MADE_LOCK = {"npm": "package-lock.json", "pnpm": "pnpm-lock.yaml", "yarn": "yarn.lock", "bun": "bun.lock"}
DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies")
_MANAGER = re.compile(r"(npm|pnpm|yarn|bun)@(\d{1,6}\.\d{1,6}\.\d{1,6}(?:-[0-9A-Za-z.-]{1,40})?)(?:\+.{1,200})?\Z")
_NAME = re.compile(r"(@[a-z0-9_~][a-z0-9._~-]{0,100}/)?[A-Za-z0-9_~][A-Za-z0-9._~-]{0,200}\Z")
_HOOKS = ("preinstall", "install", "postinstall", "prepare")
# Sets up hooks of git, of which there is no repository in a build.
_NO_HOOK = re.compile(r"(husky|lefthook|simple-git-hooks)( install)?( \|\| true)?\Z")
_YARN_ENVIRONMENT = (
    "env",
    "YARN_ENABLE_GLOBAL_CACHE=false",
    "YARN_ENABLE_TELEMETRY=false",
    "YARN_NODE_LINKER=node-modules",
)
# The versions of pnpm and Yarn that write a format of lock files.
_PNPM = {"5": "^7", "6": "^8", "9": ">=9"}
_YARN = {4: "^3", 5: "^3", 6: "^3", 7: "^4"}


@dataclass(frozen=True)
class Manager:
    """A package manager and its lock file, "" without one. `root` is the project of the lock file."""

    name: str
    root: Project
    lock: str
    words: tuple[str, ...]
    version: Version | None = None
    package: str = ""

    @property
    def classic(self) -> bool:
        """Whether it is Yarn 1."""
        return self.name == "yarn" and self.version is not None and self.version.value.startswith("1.")


@dataclass(frozen=True)
class Packages:
    """How packages are installed, a script is run, and what only development needs is removed."""

    manager: Manager
    manifests: tuple[str, ...]
    install: tuple[Step, ...]
    prune: tuple[Step, ...]
    generated_lock: str

    def run(self, script: str, directory: str) -> Step:
        return Step((*self.manager.words, "run", script), directory)


def dependencies(package: dict[str, Any], *kinds: str) -> set[str]:
    """Return the names of the dependencies of a package, of all kinds if none is given."""
    return {name for kind in kinds or DEPENDENCIES for name in part(package, kind)}


def manager(project: Project) -> Manager:
    """Return the package manager of a project."""
    root = _root(project)
    package = root.json("package.json")
    named, version, source = _named(root, project)
    locks = {name: found for name, files in LOCKS.items() for found in [root.tree.first(files)] if found}
    ignored = locks.pop("npm") if named not in ("", "npm") and len(locks) > 1 and "npm" in locks else ""
    if ignored:
        project.warn(f"{ignored} is ignored, because packageManager is {named}: remove it")
    if len(locks) > 1:
        wanted = "the one of the manager that you use: remove others, or set packageManager in package.json"
        root.wrong(next(iter(locks.values())), f"several lock files: {', '.join(locks.values())}", wanted)
    name = next(iter(locks), named) or _engine(package) or "npm"
    if named and locks and name != named:
        project.wrong("package.json: packageManager", named, f"{name}, which {locks[name]} is of")
    lock = locks.get(name, "")
    if lock:
        project.reason(f"{lock} -> {name}")
    asked = Version(name, version, source) if version and name == named else None
    return _versioned(project, Manager(name, root, lock, (name,), asked))


def _root(project: Project) -> Project:
    """Return the project itself, or that of the workspace around it which has the lock file."""
    files = [name for names in LOCKS.values() for name in names]
    for tree in project.tree.upward():
        if tree.first(files) and tree.directory == project.tree.directory:
            return project
        if tree.directory != project.tree.directory and tree.has("package.json"):
            around = project.at(tree)
            if any(globbed(project.tree.from_root(tree.directory), pattern) for pattern in workspaces(around)):
                return around
    return project


def workspaces(root: Project) -> list[str]:
    """Return the patterns of the directories of a workspace."""
    package = root.json("package.json")
    found = texts_at(package, "workspaces") or texts_at(package, "workspaces", "packages")
    if root.tree.has("pnpm-workspace.yaml"):
        found = texts_at(root.yaml("pnpm-workspace.yaml"), "packages")
    return found[:50]


def members(root: Project) -> list[str]:
    """Return the directories of the packages of a workspace."""
    return root.members("package.json", workspaces(root))


def _named(root: Project, project: Project) -> tuple[str, str, str]:
    """Return the manager that packageManager names, its version and the file; three empty texts without it."""
    for one in (project, root):
        said = one.json("package.json").get("packageManager")
        if said is None:
            continue
        match = _MANAGER.match(said) if isinstance(said, str) else None
        if match:
            return match[1], match[2], f"{one.tree.place('package.json')}: packageManager"
        one.wrong(
            "package.json: packageManager", shown(said), "npm, pnpm, yarn or bun with a version, as in pnpm@9.15.9"
        )
        break
    return "", "", ""


def _engine(package: dict[str, Any]) -> str:
    return next((name for name in ("bun", "pnpm", "yarn") if text_at(package, "engines", name)), "")


def _versioned(project: Project, found: Manager) -> Manager:
    """Return a manager with its version, its package of npm if it must be installed, and the words that run it."""
    if found.name == "npm":
        return _with(found, found.version, f"npm@{found.version.value}" if found.version else "")
    if found.name == "pnpm":
        version = found.version or _by_lock(project, found)
        return _with(found, version, f"pnpm@{version.value}")
    if found.name == "bun":
        package = found.root.json("package.json")
        files = (
            Wish(".bun-version", project.text(".bun-version"), exactly),
            Wish("package.json: engines.bun", text_at(package, "engines", "bun"), npm),
        )
        said = [Wish("package.json: packageManager", found.version.value, exactly)] if found.version else []
        return _with(found, project.version("bun", [*project.wishes("bun", *said, *files)]), "")
    vendored = _vendored(found.root)
    version = found.version or _by_lock(project, found)
    if vendored:
        words = ("node", vendored)
        return Manager(
            found.name, found.root, found.lock, words, Version("yarn", version.value, ".yarnrc.yml: yarnPath")
        )
    package_name = "yarn" if version.value.startswith("1.") else "@yarnpkg/cli-dist"
    return _with(found, version, f"{package_name}@{version.value}")


def _with(found: Manager, version: Version | None, package: str) -> Manager:
    return Manager(found.name, found.root, found.lock, found.words, version, package)


def _by_lock(project: Project, found: Manager) -> Version:
    """Return the version of pnpm or Yarn that reads its lock file, the newest one without a lock file."""
    head = found.root.tree.head(found.lock, 4096) if found.lock else ""
    if found.name == "pnpm":
        match = re.search(r"^lockfileVersion:\s{0,4}['\"]?(\d)", head, re.M)
        wanted = npm(_PNPM.get(match[1], ">=9")) if match else ANY
    else:
        match = re.search(r"^__metadata:\n\s{1,8}version:\s{0,4}(\d{1,4})", head, re.M)
        wanted = npm(_YARN.get(int(match[1]), "^4")) if match else exactly("1") if found.lock else ANY
    return project.tool(found.name, wanted, found.lock or "platform")


def _vendored(root: Project) -> str:
    """Return the path of the Yarn that is in the source, "" without one."""
    path = text_at(root.yaml(".yarnrc.yml"), "yarnPath") if root.tree.has(".yarnrc.yml") else ""
    if path and not (plain(path) and root.tree.has(path)):
        root.wrong(".yarnrc.yml: yarnPath", shown(path), "a file of the source")
        return ""
    return path


def packages(project: Project, found: Manager) -> Packages:
    """Return how the packages of a project are installed with a manager."""
    root = found.root
    package, directory = project.json("package.json"), project.tree.from_root(root.tree.directory)
    every = [root.json("package.json"), package] if root is not project else [package]
    has = any(dependencies(one) for one in every) or any(workspaces(one) for one in [root])
    frozen = bool(found.lock) and project.options.lockfile != "update"
    if not has:
        return Packages(found, (), (), (), "")
    if not found.lock:
        project.warn(
            f"no lock file beside {root.tree.place('package.json')}: the one that the build makes, "
            f"{MADE_LOCK[found.name]}, is kept with the build; commit it"
        )
    elif frozen:
        _in_step(root, found)
    manifests = _manifests(project, found)
    if manifests == ("./",):
        project.warn("package.json has scripts that npm runs at installation: every change of the source repeats it")
    _token(root)
    if root.tree.has_directory("node_modules"):
        project.warn("node_modules of the source is copied over the packages that are installed: remove it")
    name = text_at(package, "name")
    if directory != "." and not _NAME.match(name):
        project.wrong("package.json: name", shown(name), "a name, because the package is a part of a workspace")
    other = bool(found.package)
    tool = Step(("npm", "install", "--global", found.package), network=True, caches=("/root/.npm",)) if other else None
    install = Step(_install_words(found, directory, name, frozen), network=True, caches=_caches(found))
    prune: tuple[Step, ...] = ()
    if any(dependencies(one, "devDependencies") for one in every) and project.options.prune is not False:
        prune = _prune(project, found, directory, name)
    lock = "" if frozen else found.lock or MADE_LOCK[found.name]
    return Packages(found, manifests, (*((tool,) if tool else ()), install), prune, lock)


def _token(root: Project) -> None:
    text = root.text(".npmrc") if root.tree.has(".npmrc") else ""
    if re.search(r"_(?:authToken|auth|password)[ \t]{0,9}=[ \t]{0,9}[^$\s]", text):
        root.warn(".npmrc has a secret, which so is in the image: give it as a credential of the build")


def _caches(found: Manager) -> tuple[str, ...]:
    # The other managers prune from their caches, which so are a part of the layer.
    return ("/root/.npm",) if found.name == "npm" else ()


def _install_words(found: Manager, directory: str, name: str, frozen: bool) -> tuple[str, ...]:
    inner = directory != "."
    which: tuple[str, ...]
    if found.name == "npm":
        which = (f"--workspace={directory}", "--include-workspace-root") if inner else ()
        return (*found.words, "ci" if frozen else "install", "--no-audit", "--no-fund", *which)
    if found.name == "pnpm":
        which = (f"--filter={name}...",) if inner else ()
        return (
            "env",
            "CI=true",
            *found.words,
            "install",
            "--frozen-lockfile" if frozen else "--no-frozen-lockfile",
            *which,
        )
    if found.name == "bun":
        return (*found.words, "install", *(("--frozen-lockfile",) if frozen else ()))
    if found.classic:
        locked = ("--frozen-lockfile",) if frozen else ()
        return (*found.words, "install", "--non-interactive", *locked)
    return (*_YARN_ENVIRONMENT, *found.words, "install", "--immutable" if frozen else "--no-immutable")


def _prune(project: Project, found: Manager, directory: str, name: str) -> tuple[Step, ...]:
    """Return the steps that remove what only development needs, without a network."""
    if found.name == "npm":
        return (Step((*found.words, "prune", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")),)
    if found.name == "pnpm":
        which = (f"--filter={name}...",) if directory != "." else ()
        words = ("install", "--prod", "--offline", "--frozen-lockfile", "--ignore-scripts", *which)
        return (Step(("env", "CI=true", *found.words, *words)),)
    if found.name == "bun":
        words = ("install", "--production", "--frozen-lockfile", "--ignore-scripts")
        return Step(("rm", "-rf", "node_modules")), Step((*found.words, *words))
    if found.classic:
        words = ("install", "--production", "--frozen-lockfile", "--offline", "--ignore-scripts", "--non-interactive")
        return (Step((*found.words, *words)),)
    if found.version is not None and not found.version.value.startswith(("2.", "3.")):
        words = (*_YARN_ENVIRONMENT, "YARN_ENABLE_NETWORK=false", *_from(directory, found.words))
        return (Step((*words, "workspaces", "focus", "--production"), directory),)
    project.warn("Yarn before 4 removes no development dependencies: they stay in the image")
    return ()


def _from(directory: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words that run a program of the root from a directory below it."""
    up = "../" * (directory.count("/") + 1) if directory != "." else ""
    return tuple(up + word if word.startswith(".yarn/") else word for word in words)


def _manifests(project: Project, found: Manager) -> tuple[str, ...]:
    """Return the files that the installation needs: the whole source if scripts of it run then."""
    root = found.root
    directories = members(root)
    for one in dict.fromkeys((project, root)):
        scripts = part(one.json("package.json"), "scripts")
        if any(isinstance(scripts.get(name), str) and not _NO_HOOK.match(scripts[name]) for name in _HOOKS):
            return ("./",)
    files = ["package.json", found.lock, ".npmrc"]
    files += {
        "pnpm": ["pnpm-workspace.yaml", ".pnpmfile.cjs", "patches/"],
        "yarn": [".yarnrc.yml", ".yarnrc", ".yarn/"],
        "bun": ["bunfig.toml", "patches/"],
        "npm": [],
    }[found.name]
    files += [f"{directory}/package.json" for directory in directories]
    # Its client is made of the schema at installation.
    files += ["prisma/"] if "prisma" in dependencies(root.json("package.json")) else []
    files += [f"{path}/" for path in _local(root)]
    return tuple(path for path in dict.fromkeys(files) if path and _exists(root, path))


def _exists(root: Project, path: str) -> bool:
    return root.tree.has_directory(path[:-1]) if path.endswith("/") else root.tree.has(path)


def _local(root: Project) -> Iterable[str]:
    """Yield the directories of the source that are dependencies."""
    package = root.json("package.json")
    for kind in DEPENDENCIES:
        for version in part(package, kind).values():
            for start in ("file:", "link:", "portal:"):
                if isinstance(version, str) and version.startswith(start):
                    path = joined(*version.removeprefix(start).split("/"))
                    if plain(path) and path != "." and root.tree.has_directory(path):
                        yield path


def _in_step(root: Project, found: Manager) -> None:
    """Note dependencies of package.json that the lock file does not have, as far as it can be seen."""
    package = root.json("package.json")
    wanted = {
        (name, version)
        for kind in DEPENDENCIES
        for name, version in part(package, kind).items()
        if isinstance(version, str)
    }
    locked: set[tuple[str, str]] | None = None
    if found.name == "npm":
        lock = root.json(found.lock, MAX_LOCK)
        own = part(lock, "packages", "") if "packages" in lock else {}
        if own or not wanted:
            locked = {(name, str(version)) for kind in DEPENDENCIES for name, version in part(own, kind).items()}
        elif "dependencies" in lock:
            names = set(part(lock, "dependencies"))
            locked = {(name, version) for name, version in wanted if name in names}
    elif found.classic:
        text = root.text(found.lock, MAX_LOCK)
        known = set(re.findall(r'^"?([^\s"][^"\n]{0,300}?)"?(?:,|:$)', text.replace(", ", ",\n"), re.M))
        locked = {(name, version) for name, version in wanted if f"{name}@{version}" in known}
    if locked is None:
        return
    local = ("file:", "link:", "workspace:", "portal:")
    for name, version in sorted(wanted - locked):
        if not version.startswith(local):
            command = f"{found.name} install"
            root.wrong(
                found.lock,
                f"no lock of {name} {version}, which package.json wants",
                f"a lock of the same dependencies: run {command}",
            )


def node_version(project: Project, root: Project) -> Version:
    """Return the version of Node."""
    default = project.offered.default("node")
    package = project.json("package.json")
    engines = text_at(package, "engines", "node") or text_at(root.json("package.json"), "engines", "node")

    def range_of(text: str) -> Range:
        return _nvm(text, default)

    return project.version(
        "node",
        project.wishes(
            "node",
            Wish(".nvmrc", _line(project, ".nvmrc"), range_of),
            Wish(".node-version", _line(project, ".node-version"), range_of),
            Wish("package.json: engines.node", engines, npm),
        ),
    )


def _line(project: Project, path: str) -> str:
    lines = (line.partition("#")[0].strip() for line in project.text(path).split("\n"))
    return next((line for line in lines if line), "")


# The names that Node gives to versions with long support.
_LTS = {"erbium": 12, "fermium": 14, "gallium": 16, "hydrogen": 18, "iron": 20, "jod": 22, "krypton": 24}


def _nvm(text: str, default: str) -> Range:
    """Return the range of a text in nvm's syntax. Raises ValueError."""
    name = text.strip().lower()
    if name in ("node", "stable", "latest", "current"):
        return ANY
    if name in ("lts/*", "lts"):
        return at_least(default) if default else or_newer("0")
    if name.startswith("lts/") and name[4:] in _LTS:
        return exactly(str(_LTS[name[4:]]))
    return exactly(name)
