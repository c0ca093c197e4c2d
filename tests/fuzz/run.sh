#!/usr/bin/env bash
# Fuzzes every target in turn, or those that are named: run.sh FOLDER SECONDS [TARGET...]
#
# SECONDS are for each target. The inputs that were found stay below FOLDER and are where the next run starts; an input
# that breaks a rule lies in FOLDER/crashes, and the exit code says so. Without a sanitizer, so that the stable toolchain
# does: the code that is fuzzed has no unsafe parts, and what it must not do, it panics over.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd) seconds=$2
shift 2
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
fuzz=(--fuzz-dir tests/fuzz --target-dir "$out/build" --sanitizer none)

SHOAL_FUZZ_CORPUS=$out/corpus "$cargo" test --locked --quiet --test fuzz_small samples_are_written >/dev/null
mkdir -p "$out/crashes"
if [ $# -eq 0 ]; then
    mapfile -t targets < <("$cargo" fuzz list --fuzz-dir tests/fuzz)
else
    targets=("$@")
fi
"$cargo" fuzz build "${fuzz[@]}"
programs=$out/build/$(rustc -vV | sed -n 's/^host: //p')/release
failed=()
for target in "${targets[@]}"; do
    printf '%-14s %s s ' "$target" "$seconds"
    log=$out/$target.log
    if "$programs/$target" "$out/corpus/$target" -max_total_time="$seconds" -max_len=4096 \
        -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$out/crashes/$target-" >"$log" 2>&1; then
        sed -n 's/^Done \([0-9]*\) runs.*/\1 inputs/p' "$log"
    else
        failed+=("$target")
        printf 'FAILED, see %s\n' "$log"
        grep -m 3 -e 'panicked' -A 2 -e '^Test unit written' -e 'ERROR: libFuzzer' "$log" || tail -5 "$log"
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}; the inputs are in $out/crashes" >&2
    exit 1
fi
