#!/usr/bin/env bash
# What the benches compare with, from Debian's packages: installs what is missing if that can be done, and says what stays
# missing. Nothing here is needed to measure Shoal itself.

set -u

has() { command -v "$1" >/dev/null; }

missing=()
/usr/bin/python3 -c 'import libtorrent' 2>/dev/null || missing+=(python3-libtorrent)
has aria2c || missing+=(aria2)
has opentracker || missing+=(opentracker)
has mktorrent || missing+=(mktorrent)

if ((${#missing[@]} > 0)) && ((EUID == 0)) && has apt-get; then
    apt-get update -q >/dev/null
    for package in "${missing[@]}"; do
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package" >/dev/null 2>&1 &&
            echo "bench: installed $package"
    done
    missing=()
    /usr/bin/python3 -c 'import libtorrent' 2>/dev/null || missing+=(python3-libtorrent)
    has aria2c || missing+=(aria2)
    has opentracker || missing+=(opentracker)
    has mktorrent || missing+=(mktorrent)
fi
for package in "${missing[@]}"; do
    echo "bench: $package is missing and left out of the comparison: sudo apt-get install $package"
done
