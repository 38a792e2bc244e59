#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs every suite, fast ones first, and closes with one line that counts all tests.
# Usage: all.sh [SUITE...]
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
suites=("$@")
((${#suites[@]})) || suites=(lint unit api molecule e2e audit)
# An exception of the audit ends by the date of the commit, so that the same commit gives the same result on any day.
DAY=$(git log -1 --format=%cs 2>/dev/null)
export DAY DATA="" LOCK=""
mkdir -p build/reports
rm -f build/reports/*.xml build/reports/suites.tsv build/molecule/junit.xml
passed=0
failed=0
broken=()
started=$SECONDS

make setup || { echo "0 passed, 1 failed"; exit 1; }

# Seconds of processor time that all processors together have spent since boot: at work, and in all.
processors() {
    local _name user nice system idle wait irq softirq steal
    read -r _name user nice system idle wait irq softirq steal _ </proc/stat
    echo $((user + nice + system + irq + softirq + steal)) $((user + nice + system + irq + softirq + steal + idle + wait))
}

for suite in "${suites[@]}"; do
    echo "=== $suite"
    # Its data come from outside, and what they are about is built by the other suites.
    [ "$suite" != audit ] || PYTHONPATH=build/collections build/venv/bin/python tests/audit.py --at-hand || continue
    begin=$SECONDS
    read -r work0 all0 < <(processors)
    report=$PWD/build/reports/$suite.xml
    options="--junitxml=$report -o junit_family=xunit1"
    # The scenarios' runner writes a report of its own.
    [ "$suite" = molecule ] && report=$PWD/build/molecule/junit.xml options=
    PYTEST_ADDOPTS=$options make --no-print-directory "$suite"
    status=$?
    read -r good bad < <(build/venv/bin/python tests/count.py "$report" "$status")
    passed=$((passed + good))
    failed=$((failed + bad))
    read -r work1 all1 < <(processors)
    busy=$((100 * (work1 - work0) / (all1 - all0 + 1)))
    echo "=== $suite: $good passed, $bad failed, $((SECONDS - begin)) s, processors $busy % busy"
    printf '%s\t%s\t%s\t%s\n' "$suite" "$((good + bad))" "$((SECONDS - begin))" "$busy" >>build/reports/suites.tsv
    ((status)) && broken+=("$suite")
    # A suite that needs an earlier one would only repeat its failure, slowly.
    ((status)) && [ "${CI:-}" ] && break
done

# Once more, together: between them are hours of output, of which often only the end is kept.
if ((failed)); then
    echo "=== failed: ${broken[*]}"
    find build/reports build/molecule/junit.xml -name '*.xml' -exec build/venv/bin/python tests/count.py {} +
fi
echo "Took $((SECONDS - started)) s."
echo "$passed passed, $failed failed"
((failed == 0))
