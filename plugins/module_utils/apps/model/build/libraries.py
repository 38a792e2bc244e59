# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages that libraries of languages need, to be built and to run. Pure.

A library that is not here, or another package for one, is named by `apt` in `.cloudbang.yml`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .project import Project

Packages = tuple[tuple[str, ...], tuple[str, ...]]

_CAIRO: Packages = (("libcairo2-dev", "pkg-config"), ("libcairo2",))
_MYSQL: Packages = (("default-libmysqlclient-dev", "pkg-config"), ("libmariadb3",))
_POSTGRESQL: Packages = (("libpq-dev",), ("libpq5",))
_OPENSSL: Packages = (("libssl-dev", "pkg-config"), ("libssl3",))
_SQLITE: Packages = (("libsqlite3-dev", "pkg-config"), ("libsqlite3-0",))

# By language and library: packages of the build stage, packages of the image.
LIBRARIES: dict[str, dict[str, Packages]] = {
    "python": {
        "mysqlclient": _MYSQL,
        "opencv-python": ((), ("libgl1", "libglib2.0-0")),
        "pdf2image": ((), ("poppler-utils",)),
        "psycopg": ((), ("libpq5",)),
        "psycopg2": _POSTGRESQL,
        "psycopg-c": _POSTGRESQL,
        "pycairo": _CAIRO,
        "pygraphviz": (("libgraphviz-dev", "pkg-config"), ("graphviz",)),
        "pyodbc": (("unixodbc-dev",), ("unixodbc",)),
        "python-magic": ((), ("libmagic1",)),
        "weasyprint": ((), ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")),
        "xmlsec": (("libxmlsec1-dev", "pkg-config"), ("libxmlsec1-openssl",)),
    },
    "node": {
        "canvas": (("libcairo2-dev", "libpango1.0-dev", "pkg-config"), ("libcairo2", "libpango-1.0-0")),
        "pg-native": _POSTGRESQL,
        "prisma": (("openssl",), ("openssl",)),
        "puppeteer": ((), ("chromium",)),
    },
    "ruby": {
        "execjs": (("nodejs",), ("nodejs",)),
        "image_processing": ((), ("libvips42",)),
        "mysql2": _MYSQL,
        "pg": _POSTGRESQL,
        "rmagick": (("libmagickwand-dev", "pkg-config"), ("imagemagick",)),
        "ruby-vips": ((), ("libvips42",)),
        "sqlite3": _SQLITE,
        "psych": (("libyaml-dev",), ("libyaml-0-2",)),
    },
    "rust": {
        "libsqlite3-sys": _SQLITE,
        "mysqlclient-sys": _MYSQL,
        "openssl-sys": _OPENSSL,
        "pq-sys": _POSTGRESQL,
        "libz-sys": (("zlib1g-dev", "pkg-config"), ("zlib1g",)),
        "curl-sys": (("libcurl4-openssl-dev", "pkg-config"), ("libcurl4",)),
    },
}


def native(project: Project, language: str, names: Iterable[str]) -> None:
    """Add the packages of these libraries to those of the project, with a reason for each."""
    table = LIBRARIES[language]
    for name in sorted(set(names) & set(table)):
        build, run = table[name]
        project.apt_build.update(build)
        project.apt_run.update(run)
        project.reason(f"{name} -> Debian packages {' '.join(dict.fromkeys((*build, *run)))}")
