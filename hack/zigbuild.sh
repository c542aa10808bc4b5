#!/usr/bin/env bash
# Fetches cargo-zigbuild, and the Zig whose C compiler and linker it has cargo build with, once, into a cache outside the
# tree. The last line on stdout is the folder with bin/cargo-zigbuild and ziglang/zig; everything else goes to stderr.
# LANDFALL_ZIGBUILD=/path uses another one.
set -euo pipefail

zigbuild=0.24.1
zig=0.17.1
target=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/zigbuild-$zigbuild-$zig
say() { printf 'zigbuild: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

if [[ -n ${LANDFALL_ZIGBUILD:-} ]]; then
  [[ -x $LANDFALL_ZIGBUILD/bin/cargo-zigbuild && -x $LANDFALL_ZIGBUILD/ziglang/zig ]] ||
    refuse "LANDFALL_ZIGBUILD=$LANDFALL_ZIGBUILD has no bin/cargo-zigbuild, or no ziglang/zig" "unset it, or name a folder that has both"
  echo "$LANDFALL_ZIGBUILD"
  exit 0
fi
if [[ ! -e $target ]]; then
  python=$(command -v python3) || refuse "no python3 on the PATH" "apt-get install python3 python3-pip"
  "$python" -m pip --version >/dev/null 2>&1 || refuse "python3 has no pip" "apt-get install python3-pip"
  mkdir -p "${target%/*}"
  work=$(mktemp -d "${target%/*}/.zigbuild-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "fetching the wheels cargo-zigbuild $zigbuild and ziglang $zig (100 MB; 420 MB when unpacked)"
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary :all: \
    --no-compile --target "$work/wheels" "cargo-zigbuild==$zigbuild" "ziglang==$zig" >&2 ||
    refuse "pip could not fetch cargo-zigbuild $zigbuild and ziglang $zig" "check the network or pip's index"
  mv -T "$work/wheels" "$target"
fi
echo "$target"
