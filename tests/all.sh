#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs every suite, fast ones first, and closes with one line that counts all tests.
# Usage: all.sh [SUITE...], or suites that run side by side as one argument: all.sh 'lint unit' api
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# Suites that run side by side: each waits now and then, and none measures what another one slows down.
groups=("$@")
((${#groups[@]})) || groups=("lint unit" api molecule e2e audit)
# An exception of the audit ends by the date of the commit, so that the same commit gives the same result on any day.
DAY=$(git log -1 --format=%cs 2>/dev/null)
export DAY DATA="" LOCK=""
mkdir -p build/reports
rm -f build/reports/*.{xml,result,log} build/reports/suites.tsv build/molecule/junit.xml
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

# Run a suite. Its counts and exit status go to build/reports/SUITE.result, for a suite in the background.
run() {
    local suite=$1 begin=$SECONDS report options status good bad work0 all0 work1 all1 busy
    echo "=== $suite"
    # Its data come from outside, and what they are about is built by the other suites.
    [ "$suite" != audit ] || PYTHONPATH=build/collections build/venv/bin/python tests/audit.py --at-hand || return 0
    read -r work0 all0 < <(processors)
    report=$PWD/build/reports/$suite.xml
    options="--junitxml=$report -o junit_family=xunit1"
    # The scenarios' runner writes a report of its own.
    [ "$suite" = molecule ] && report=$PWD/build/molecule/junit.xml options=
    PYTEST_ADDOPTS=$options make --no-print-directory "$suite"
    status=$?
    read -r good bad < <(build/venv/bin/python tests/count.py "$report" "$status")
    read -r work1 all1 < <(processors)
    busy=$((100 * (work1 - work0) / (all1 - all0 + 1)))
    echo "=== $suite: $good passed, $bad failed, $((SECONDS - begin)) s, processors $busy % busy"
    printf '%s\t%s\t%s\t%s\n' "$suite" "$((good + bad))" "$((SECONDS - begin))" "$busy" >>build/reports/suites.tsv
    echo "$good $bad $status" >"build/reports/$suite.result"
}

for group in "${groups[@]}"; do
    read -ra suites <<<"$group"
    last=${suites[-1]}
    beside=("${suites[@]:0:${#suites[@]}-1}")
    # Both would start the container engine at once.
    if [ "$group" = "molecule e2e" ]; then make lab; fi
    for suite in "${beside[@]}"; do
        run "$suite" >"build/reports/$suite.log" 2>&1 &
    done
    run "$last"
    wait
    for suite in "${beside[@]}"; do
        cat "build/reports/$suite.log"
    done
    for suite in "${suites[@]}"; do
        [ -e "build/reports/$suite.result" ] || continue
        read -r good bad status <"build/reports/$suite.result"
        passed=$((passed + good))
        failed=$((failed + bad))
        ((status)) && broken+=("$suite")
    done
    # A suite that needs an earlier one would only repeat its failure, slowly.
    ((${#broken[@]})) && [ "${CI:-}" ] && break
done

# Once more, together: between them are hours of output, of which often only the end is kept.
if ((failed)); then
    echo "=== failed: ${broken[*]}"
    find build/reports build/molecule/junit.xml -name '*.xml' -exec build/venv/bin/python tests/count.py {} +
fi
echo "Took $((SECONDS - started)) s."
echo "$passed passed, $failed failed"
((failed == 0))
