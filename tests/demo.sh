#!/usr/bin/env bash
# The main job, for real: a tracker, one sharer, several getters at once, and a checksum of every copy.
#
# Usage: tests/demo.sh FOLDER_OF_THE_PROGRAMS
# DEMO_MIB (256) is the size of the file, DEMO_GETTERS (4) how many fetch it, TMPDIR where everything happens.
# Needs bash, coreutils and awk. Leaves nothing behind; the exit code is 0 only if every copy is right.

set -euo pipefail
shopt -s dotglob nullglob globstar
export LC_ALL=C

readonly programs=$(cd "${1:?the folder of the programs}" && pwd)
readonly mib=${DEMO_MIB:-256} getters=${DEMO_GETTERS:-4}
readonly file=image.bin folder='a folder, ein Ordner, 魚群'
readonly wait_secs_max=60 get_secs_max=600

work=$(mktemp -d "${TMPDIR:-/tmp}/shoal-demo.XXXXXX")
declare -a running=() getter_pids=() getter_ports=()

say() { printf '%s\n' "$*" >&2; }
title() { printf '\n== %s\n' "$*" >&2; }

# The last lines of what a program said, then the end.
fail() {
    say "demo: $1"
    shift
    for log in "$@"; do tail -n 5 "$log" >&2; done
    exit 1
}

stop_everything() {
    local code=$?
    trap - EXIT
    trap '' INT TERM
    if ((${#running[@]})); then
        kill -TERM "${running[@]}" 2>/dev/null || true
        wait "${running[@]}" 2>/dev/null || true
    fi
    rm -rf "$work"
    exit "$code"
}
trap stop_everything EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs `shoal-NAME ARGS…` in the background; its output goes to LABEL.out and LABEL.err. Its id is in $!.
start() {
    local label=$1 program=$2
    shift 2
    # It may be looked at before the program has begun.
    : >"$work/$label.out"
    "$programs/$program" "$@" >"$work/$label.out" 2>"$work/$label.err" </dev/null &
    running+=($!)
}

forget() {
    local pid kept=()
    for pid in "${running[@]}"; do [[ $pid == "$1" ]] || kept+=("$pid"); done
    running=("${kept[@]+"${kept[@]}"}")
}

# Waits until FILE has COUNT lines that match PATTERN, as long as process PID lives.
await_lines() {
    local path=$1 pattern=$2 count=$3 pid=$4 deadline=$((SECONDS + wait_secs_max))
    until (($(grep_count "$pattern" "$path") >= count)); do
        kill -0 "$pid" 2>/dev/null || fail "a program ended too early:" "$path" "${path%.out}.err"
        ((SECONDS < deadline)) || fail "nothing within $wait_secs_max s:" "$path" "${path%.out}.err"
        sleep 0.05
    done
}
grep_count() { awk -v p="$1" 'index($0, p) { n++ } END { print n + 0 }' "$2"; }

# Moves `port` on to one that nothing listens on, below those that the system hands out by itself.
port=$((10000 + RANDOM % 20000))
next_port() {
    port=$((port + 1))
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
}

# Like sha256sum for a whole folder: one line per file, sorted.
checksums() (
    cd "$1"
    files=()
    for path in **; do [[ -d $path ]] || files+=("$path"); done
    sha256sum -- "${files[@]}" | sort
)

make_contents() {
    local needed=$(((mib + 4) * (getters + 1))) free
    title "making $mib MiB and a folder"
    free=$(($(df -k --output=avail "$work" | tail -n 1) / 1024))
    ((free > needed)) || fail "$work has $free MiB free, $needed are needed (set TMPDIR to another folder)"
    mkdir -p "$work/source/$folder/deep/er/deepest" "$work/source/$folder/small"
    head -c "${mib}M" /dev/urandom >"$work/source/$file"
    (
        cd "$work/source/$folder"
        : >empty
        printf x >'one byte'
        head -c 3M /dev/urandom >'Grüße aus der Tiefe – 魚.bin'
        head -c 131072 /dev/urandom >'deep/er/deepest/exactly two pieces of 64 KiB'
        head -c 700000 /dev/urandom | split -a 4 -d -b 2333 - small/file-
    )
    source_bytes=$(stat -c '%F %s' "$work"/source/** | awk '/^regular/ { sum += $NF } END { printf "%d", sum }')
    checksums "$work/source" >"$work/source.sums"
    say "$(awk 'END { print NR }' "$work/source.sums") files in $work/source"
}

start_tracker() {
    title "starting the tracker"
    start tracker shoal-tracker --listen 127.0.0.1:0 --state "$work/state"
    tracker_pid=$!
    await_lines "$work/tracker.out" 'native+http ' 1 "$tracker_pid"
    cat "$work/tracker.out" >&2
    SHOAL_TRACKER=$(awk '{ for (i = 1; i < NF; i++) if ($i ~ /^native/) { print $(i + 1); exit } }' "$work/tracker.out")
    export SHOAL_TRACKER
}

start_sharer() {
    title "sharing both"
    next_port
    share_port=$port
    start share shoal-peer --json share "$work/source/$file" "$work/source/$folder" --listen "127.0.0.1:$share_port"
    share_pid=$!
    await_lines "$work/share.out" '"event":"shared"' 2 "$share_pid"
    "$programs/shoal-peer" ls >&2
}

start_getters() {
    local n
    title "$getters getters at once"
    for ((n = 1; n <= getters; n++)); do
        next_port
        getter_ports[n]=$port
        start "get$n" shoal-peer --json get "$file" "$folder" --output "$work/get$n/" --check \
            --listen "127.0.0.1:${getter_ports[n]}" --timeout "${get_secs_max}s"
        getter_pids[n]=$!
    done
}

# One line: how far each getter is, by bytes.
progress_line() {
    local n
    for ((n = 1; n <= getters; n++)); do
        awk -v n="$n" -v all="$source_bytes" '
            function field(name) { return match($0, "\"" name "\":[0-9]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : 0 }
            function label() { match($0, /"name":"([^"\\]|\\.)*"/); return substr($0, RSTART, RLENGTH) }
            /"event":"start"/ { size[label()] = field("size"); pieces[label()] = field("pieces"); have[label()] = field("have") }
            /"event":"progress"/ { have[label()] = field("have") }
            /"event":"hashing"/ { checked[label()] = field("done_bytes"); checking = 1 }
            /"event":"summary"/ { done = 1 }
            END {
                for (c in size) { got += pieces[c] ? size[c] * have[c] / pieces[c] : size[c]; seen += checked[c] }
                state = done ? "done" : checking ? sprintf("check %d%%", all ? 100 * seen / all : 0) : sprintf("%d%%", all ? 100 * got / all : 0)
                printf "  getter %d %-9s", n, state
            }' "$work/get$n.out"
    done
}

still_getting() {
    local pid
    for pid in "${getter_pids[@]}"; do kill -0 "$pid" 2>/dev/null && return 0; done
    return 1
}

watch_getters() {
    while still_getting; do
        if [[ -t 2 ]]; then printf '\r%s' "$(progress_line)" >&2; else say "$(progress_line)"; fi
        sleep "$([[ -t 2 ]] && echo 0.2 || echo 1)"
    done
    if [[ -t 2 ]]; then printf '\r%s\n' "$(progress_line)" >&2; else say "$(progress_line)"; fi
}

# Each program must end with 0.
expect_success() {
    local label=$1 pid=$2 code=0
    wait "$pid" || code=$?
    forget "$pid"
    ((code == 0)) || fail "$label ended with $code:" "$work/$label.out" "$work/$label.err"
}

compare_copies() {
    local n different=0
    title "comparing SHA-256"
    for ((n = 1; n <= getters; n++)); do
        checksums "$work/get$n" >"$work/get$n.sums"
        if [[ $(<"$work/get$n.sums") == "$(<"$work/source.sums")" ]]; then
            say "getter $n: all $(awk 'END { print NR }' "$work/get$n.sums") files are equal to the source"
        else
            say "getter $n: DIFFERS from the source"
            different=1
        fi
    done
    awk -v f="$file" '$2 == f { print "sha256 of " f ": " $1 }' "$work/source.sums" >&2
    ((different == 0)) || fail "copies differ"
}

# Rows: who downloaded; columns: from whom, in MiB; then the time.
print_matrix() {
    local n summaries=()
    for ((n = 1; n <= getters; n++)); do summaries+=("$work/get$n.out"); done
    title "who got how many MiB from whom"
    awk -v ports="$share_port ${getter_ports[*]}" '
        BEGIN {
            count = split(ports, port, " ")
            for (i = 1; i <= count; i++) column["127.0.0.1:" port[i]] = i
            printf "%-10s%9s", "", "sharer"
            for (i = 2; i <= count; i++) printf "%9s", "getter " i - 1
            printf "%9s%9s%9s%9s\n", "others", "sum", "seconds", "MiB/s"
        }
        /"event":"summary"/ {
            me++
            match($0, /"secs":[0-9.]+/)
            secs = substr($0, RSTART + 7, RLENGTH - 7)
            if (secs > longest) longest = secs
            split("", mib)
            sum = 0
            for (rest = $0; match(rest, /"addr":"[^"]*","down_bytes":[0-9]+/); rest = substr(rest, RSTART + RLENGTH)) {
                split(substr(rest, RSTART, RLENGTH), part, "\"")
                from = part[4] in column ? column[part[4]] : count + 1
                bytes = substr(part[7], 2)
                mib[from] += bytes / 1048576; sum += bytes / 1048576; sent[from] += bytes / 1048576
            }
            total += sum
            printf "%-10s", "getter " me
            for (i = 1; i <= count + 1; i++) if (i == me + 1) printf "%9s", "-"; else printf "%9.1f", mib[i]
            printf "%9.1f%9.2f%9.0f\n", sum, secs, secs ? sum / secs : 0
        }
        END {
            printf "%-10s", "sent"
            for (i = 1; i <= count + 1; i++) printf "%9.1f", sent[i]
            printf "%9.1f%9.2f%9.0f\n", total, longest, longest ? total / longest : 0
            if (me != count - 1) { print "a summary is missing"; exit 1 }
        }' "${summaries[@]}" >&2
}

stop_sharer_and_tracker() {
    title "stopping"
    kill -TERM "$share_pid"
    expect_success share "$share_pid"
    kill -TERM "$tracker_pid"
    expect_success tracker "$tracker_pid"
}

make_contents
start_tracker
start_sharer
start_getters
watch_getters
for ((n = 1; n <= getters; n++)); do expect_success "get$n" "${getter_pids[n]}"; done
"$programs/shoal-peer" status "$file" --expect "$((getters + 1))" >&2
compare_copies
print_matrix
stop_sharer_and_tracker
say "demo: every copy is right"
