# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the bytecode of Ansible's modules on a node of the lab.

Modules arrive in an archive, and Python compiles what it imports from an archive each time, not only once: a third of
the processor time of a task on a node. Whatever goes wrong here, Python compiles as it does elsewhere.
"""

import _imp
import marshal
import os
import sys
import zipimport

DIRECTORY = "/root/.ansible/bytecode"


def kept(compile_source):
    """Return a function that compiles like compile_source, and reads and writes the bytecode of root's modules."""

    def compile_or_read(path, source):
        key = _imp.source_hash(sys.hexversion, source).hex() + f"{len(source):x}"
        place = f"{DIRECTORY}/{key}"
        try:
            with open(place, "rb") as stream:
                code = marshal.load(stream)
            _imp._fix_co_filename(code, path)
            return code
        except (OSError, EOFError, ValueError, TypeError):
            code = compile_source(path, source)
        try:
            os.makedirs(DIRECTORY, 0o700, exist_ok=True)
            mine = f"{place}.{os.getpid()}"
            with open(mine, "wb") as stream:
                marshal.dump(code, stream)
            os.replace(mine, place)
        except OSError:
            pass
        return code

    return compile_or_read


if os.getuid() == 0 and hasattr(zipimport, "_compile_source"):
    zipimport._compile_source = kept(zipimport._compile_source)
