# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ruby: Bundler with the lock of its gems, the assets of Rails, and the servers of Rack. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .libraries import native
from .plan import APP, Output, Plan, Process, Step
from .project import Project, Wish
from .tree import MAX_LOCK
from .versions import Range, exactly, python

GEMS = "/opt/bundle"
BUNDLER = (
    ("BUNDLE_DEPLOYMENT", "true"),
    ("BUNDLE_PATH", GEMS),
    ("BUNDLE_WITHOUT", "development:test"),
    # The version in the lock would be fetched when it is another.
    ("BUNDLE_VERSION", "system"),
)
_BUNDLE = ("env", *(f"{name}={value}" for name, value in BUNDLER), "bundle")
# What Rails wants before it can be loaded; none of it is of use outside of the build.
DUMMIES = ("SECRET_KEY_BASE_DUMMY=1", "SECRET_KEY_BASE=only-for-the-build", "RAILS_ENV=production")
MAIN = ("app.rb", "main.rb", "server.rb")
_VERSION = re.compile(r"^ruby[ (]+((?:[\"'][^\"'\n]{1,40}[\"'][, ]*){1,4})", re.M)
_GEM = re.compile(r"    ([A-Za-z0-9][A-Za-z0-9_.-]{0,100}) \(([^()]{1,100})\)\Z")


@dataclass
class Lock:
    """What is used of a Gemfile.lock. `local`: gems come from directories of the source."""

    gems: set[str] = field(default_factory=set)
    platforms: set[str] = field(default_factory=set)
    ruby: str = ""
    local: bool = False


def match(project: Project) -> str:
    """Return the file that makes a tree one of Ruby, "" without one."""
    return project.tree.first(("Gemfile",))


def plan(project: Project) -> Plan:
    """Return the plan of a project of Ruby."""
    for name, wanted in (("Gemfile", "the gems of the app"), ("Gemfile.lock", "the lock of the gems: run bundle lock")):
        if not project.tree.has(name):
            project.wrong(name, "no such file", wanted)
    lock = read_lock(project.text("Gemfile.lock", MAX_LOCK))
    if lock.platforms and not any(name == "ruby" or "linux" in name for name in lock.platforms):
        listed = ", ".join(sorted(lock.platforms)[:10])
        project.wrong("Gemfile.lock: PLATFORMS", listed, "Linux: run bundle lock --add-platform x86_64-linux")
    version = project.version("ruby", project.wishes("ruby", *_wishes(project, lock)))
    native(project, "ruby", lock.gems)
    vendored = project.tree.has_directory("vendor/cache")
    words = (*_BUNDLE, "install", *(("--local",) if vendored else ()))
    return Plan(
        "ruby",
        "bundler",
        (version,),
        root=project.tree.directory,
        build_base="build/ruby",
        run_base="run/ruby",
        manifests=_manifests(project, lock),
        install=(Step(("mkdir", "-p", GEMS)), Step(words, network=not vendored)),
        build=_build(project, lock),
        outputs=(Output(f"{GEMS}/", f"{GEMS}/"), Output(f"{APP}/", f"{APP}/")),
        environment=(*BUNDLER, ("RACK_ENV", "production"), *(_RAILS if "rails" in lock.gems else ())),
        processes=project.processes(lambda: _start(project, lock)),
    )


_RAILS = (("RAILS_ENV", "production"), ("RAILS_LOG_TO_STDOUT", "1"), ("RAILS_SERVE_STATIC_FILES", "1"))


def read_lock(text: str) -> Lock:
    """Return what is used of the text of a Gemfile.lock."""
    found = Lock()
    section = ""
    for line in text.split("\n"):
        if line and not line.startswith(" "):
            section = line.strip()
            found.local |= section == "PATH"
        elif section == "PLATFORMS" and line.strip():
            found.platforms.add(line.strip()[:100])
        elif section == "RUBY VERSION" and line.strip():
            found.ruby = line.strip()[:100]
        elif section in ("GEM", "PATH", "GIT"):
            match = _GEM.match(line)
            if match:
                found.gems.add(match[1])
    return found


def _wishes(project: Project, lock: Lock) -> list[Wish]:
    said = _VERSION.search(project.text("Gemfile"))
    texts = re.findall(r"[\"']([^\"']+)[\"']", said[1]) if said else []
    pinned = next((line.strip() for line in project.text(".ruby-version").split("\n") if line.strip()), "")
    return [
        Wish(".ruby-version", pinned.removeprefix("ruby-"), exactly),
        Wish("Gemfile: ruby", ", ".join(texts), python),
        Wish("Gemfile.lock: RUBY VERSION", lock.ruby, _locked),
    ]


def _locked(text: str) -> Range:
    """Return the range of a line such as `ruby 3.3.8p144`. Raises ValueError."""
    match = re.match(r"ruby (\d{1,4}\.\d{1,4}\.\d{1,4})(p\d{1,6})?\Z", text)
    if match is None:
        raise ValueError(f"{text[:40]} is no version of Ruby")
    return exactly(match[1])


def _manifests(project: Project, lock: Lock) -> tuple[str, ...]:
    if lock.local or any(name.endswith(".gemspec") for name in project.tree.names):
        project.warn("gems come from the source: every change of it installs the gems again")
        return ("./",)
    names = ("Gemfile", "Gemfile.lock", ".ruby-version", ".tool-versions")
    cache = ("vendor/cache/",) if project.tree.has_directory("vendor/cache") else ()
    return (*(name for name in names if project.tree.has(name)), *cache)


def _build(project: Project, lock: Lock) -> tuple[Step, ...]:
    """Return the steps that compile the assets of Rails, unless the source has them."""
    steps = []
    pipeline = lock.gems & {"sprockets-rails", "propshaft", "webpacker", "shakapacker", "vite_rails"}
    made = [path for path in project.tree.paths if re.match(r"public/assets/\.(sprockets-)?manifest", path)]
    if made:
        project.reason(f"{made[0]} -> the assets of the source")
    elif "rails" in lock.gems and pipeline and project.options.assets != "skip":
        names = ", ".join(dummy.partition("=")[0] for dummy in DUMMIES[:2])
        project.reason(f"{', '.join(sorted(pipeline))} -> assets:precompile, with dummy values of {names}")
        steps.append(Step(("env", *DUMMIES, *_BUNDLE[1:], "exec", "rails", "assets:precompile")))
    if "bootsnap" in lock.gems:
        directories = [f"{name}/" for name in ("app", "lib") if project.tree.has_directory(name)]
        steps.append(Step((*_BUNDLE, "exec", "bootsnap", "precompile", "--gemfile", *directories)))
    return tuple(steps)


def _start(project: Project, lock: Lock) -> Process | None:
    """Return the process web: Puma, the server of Rails, Rack, or a file of a name that says so."""
    has_rack = project.tree.has("config.ru")
    if "puma" in lock.gems and project.tree.has("config/puma.rb"):
        return Process("web", "bundle exec puma -C config/puma.rb", "config/puma.rb")
    if "puma" in lock.gems and has_rack:
        return Process("web", "bundle exec puma -b tcp://0.0.0.0:$PORT", "Gemfile.lock: puma")
    if "rails" in lock.gems:
        return Process("web", "bundle exec rails server -b 0.0.0.0 -p $PORT", "Gemfile.lock: rails")
    if has_rack:
        return Process("web", "bundle exec rackup -o 0.0.0.0 -p $PORT config.ru", "config.ru")
    main = project.tree.first(MAIN)
    return Process("web", f"bundle exec ruby {main}", main) if main else None
