#!/usr/bin/env bash
# Runs every bench, one after the other, and makes one report of all. `benches/run.sh quick` takes less of everything, for
# three minutes at most after the build; `benches/run.sh all hashing transfer/lying` runs the benches, or parts of them, that
# are named.
#
# Needs what the build needs. What it compares with is installed if that can be done (peers.sh).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:${HOME:-/root}/.cargo/bin"

effort=${1:-all}
shift || true
names=("$@")
((${#names[@]} > 0)) || names=(wire picker registry bitfield hashing tracker transfer cold sim)

folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")/bench
export SHOAL_BENCH_FOLDER=$folder SHOAL_BENCH_ROWS=$folder/rows CRITERION_HOME=$folder/criterion
rm -rf "$folder"
mkdir -p "$folder/rows"

bash benches/peers.sh
targets=(--bench report)
for name in "${names[@]}"; do targets+=(--bench "${name%%/*}"); done
cargo bench --locked --no-run "${targets[@]}"

quick=()
micro=()
sims=()
if [ "$effort" = quick ]; then
    quick=(--quick)
    # Criterion takes seconds for each figure of its own accord.
    micro=(--warm-up-time 0.1 --measurement-time 0.3 --sample-size 10)
    sims=(s1-31)
    export SHOAL_SEEDS=2 SHOAL_BENCH_RUNS=3 SHOAL_BENCH_MIB=256
fi

failed=()
for name in "${names[@]}"; do
    printf '\n=== %s\n' "$name"
    bench=${name%%/*}
    case $bench in
    wire | picker | registry | bitfield) arguments=("${micro[@]}") ;;
    sim) arguments=("${sims[@]}") ;;
    *) arguments=("${quick[@]}") ;;
    esac
    [ "$bench" = "$name" ] || arguments+=("${name#*/}")
    cargo bench -q --locked --bench "$bench" -- "${arguments[@]}" || failed+=("$name")
done
cargo bench -q --locked --bench report
if ((${#failed[@]} > 0)); then
    echo "bench: these failed, so the report lacks what they would have found: ${failed[*]}"
    exit 1
fi
