#!/usr/bin/env bash
# Fetches scapy, once, into a cache outside the tree: the Python wheel as it is, which Python imports from. Hand-made
# frames of the tests are made with it. The last line on stdout is its path; everything else goes to stderr.
# LANDFALL_SCAPY=/path uses another one.
set -euo pipefail

version=2.8.0
target=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/scapy-$version
say() { printf 'scapy: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

if [[ -n ${LANDFALL_SCAPY:-} ]]; then
    [[ -e $LANDFALL_SCAPY ]] || refuse "LANDFALL_SCAPY=$LANDFALL_SCAPY is not there" "unset it, or name a folder or wheel with scapy in it"
    echo "$LANDFALL_SCAPY"
    exit 0
fi
if [[ ! -e $target/scapy.whl ]]; then
    python=$(command -v python3) || refuse "no python3 on the PATH" "apt-get install python3 python3-pip"
    "$python" -m pip --version >/dev/null 2>&1 || refuse "python3 has no pip" "apt-get install python3-pip"
    mkdir -p "$target"
    work=$(mktemp -d "$target/.wheel-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "fetching the wheel scapy $version"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$work" "scapy==$version" >&2 ||
        refuse "pip could not fetch scapy $version" "check the network or pip's index"
    mv "$work"/scapy-*.whl "$target/scapy.whl"
fi
echo "$target/scapy.whl"
