#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs ansible-test sanity on a copy of what the collection consists of: ansible-test wants to stand in a directory
# called ansible_collections/NAMESPACE/NAME. Arguments go to ansible-test, for example `--test validate-modules`.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$root/build/sanity/ansible_collections/cloudbang/platform
python=$(command -v python3)
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# The output directory keeps ansible-test's own state; everything else follows the working tree.
mkdir -p "$work"
find "$work" -mindepth 1 -maxdepth 1 ! -name tests -exec rm -rf {} +
rm -rf "$work/tests/unit" "$work/tests/api" "$work/tests/e2e" "$work/tests/sanity"
cd "$root"
git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
    if [ -e "$file" ]; then printf '%s\n' "$file"; fi
done | tar --create --files-from=- | tar --extract --directory="$work"

# ansible-test downloads a bootstrap script for pip; the pip that comes with Python does as well, and needs no network.
"$python" - <<'PYTHON'
import os
import sys

import ansible_test

sys.path.insert(0, os.path.dirname(os.path.dirname(ansible_test.__file__)))
from ansible_test._internal.python_requirements import get_venv_packages  # noqa: E402


class Running:
    version = "%d.%d" % sys.version_info[:2]


pip = get_venv_packages(Running())["pip"]
path = os.path.expanduser("~/.ansible/test/cache/get_pip_%s.py" % pip.replace(".", "_"))
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "w") as stream:
    stream.write("import runpy, sys\n")
    stream.write('sys.argv = ["ensurepip", "--upgrade", "--default-pip"]\n')
    stream.write('runpy.run_module("ensurepip", run_name="__main__")\n')
PYTHON

# A repository of its own: in the one around it, the copy is ignored, and ansible-test asks git what there is.
cd "$work"
git init --quiet
export ANSIBLE_CONFIG=/dev/null
exec ansible-test sanity --color no --requirements --python "$version" "$@"
