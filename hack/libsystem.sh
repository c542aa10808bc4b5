#!/usr/bin/env bash
# Fetches the names of what macOS 11 has in its libSystem (of 11.3, the oldest that are told), once, into a cache outside the
# tree: Zig links with those of the newest macOS. The last line on stdout is the file; everything else goes to stderr.
set -euo pipefail

# The last Zig that tells them by macOS version.
zig=0.10.1.post1
file=libSystem.11.tbd
target=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/libsystem-$zig
say() { printf 'libsystem: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

if [[ ! -e $target ]]; then
  python=$(command -v python3) || refuse "no python3 on the PATH" "apt-get install python3 python3-pip"
  "$python" -m pip --version >/dev/null 2>&1 || refuse "python3 has no pip" "apt-get install python3-pip"
  mkdir -p "${target%/*}"
  work=$(mktemp -d "${target%/*}/.libsystem-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "fetching the wheel ziglang $zig (75 MB, of which 0.3 MB are kept)"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --no-cache-dir \
    --dest "$work" "ziglang==$zig" >&2 || refuse "pip could not fetch ziglang $zig" "check the network or pip's index"
  mkdir "$work/kept"
  "$python" -m zipfile -e "$work"/ziglang-*.whl "$work/all"
  mv "$work/all/ziglang/lib/libc/darwin/$file" "$work/kept/"
  mv -T "$work/kept" "$target"
fi
echo "$target/$file"
