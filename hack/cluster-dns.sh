#!/usr/bin/env bash
# Builds CoreDNS, the lab's cluster DNS, from the Go module pinned in e2e/cluster-dns, once, into a cache outside the
# tree. The last line on stdout is its path; everything else goes to stderr. LANDFALL_COREDNS=/path uses another one.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")/../e2e/cluster-dns" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/landfall
flags=(-mod=readonly -trimpath -ldflags '-s -w')
target=$cache/coredns-$({ cat "$module/go.mod" "$module/go.sum"; printf '%s\n' "${flags[@]}" "$(uname -m)"; } | sha256sum | cut -c1-16)
say() { printf 'cluster dns: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

if [[ -n ${LANDFALL_COREDNS:-} ]]; then
  [[ -x $LANDFALL_COREDNS ]] || refuse "LANDFALL_COREDNS=$LANDFALL_COREDNS is no program" "unset it, or name CoreDNS's executable"
  echo "$LANDFALL_COREDNS"
  exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/.coredns-lock"
flock 9
if [[ ! -x $target/coredns ]]; then
  command -v go >/dev/null ||
    refuse "no 'go' on the PATH; it is needed once, to build CoreDNS" "install Go (https://go.dev/dl), or set LANDFALL_COREDNS"
  say "building CoreDNS from source, once (cold: about 4 minutes on two cores)"
  work=$(mktemp -d "$cache/.coredns-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (cd "$module" && CGO_ENABLED=0 go build "${flags[@]}" -o "$work/coredns" github.com/coredns/coredns) >&2 ||
    refuse "the build failed" "the lines above say why"
  mkdir -p "$target"
  mv "$work/coredns" "$target/coredns"
  say "ready: $target/coredns"
fi
echo "$target/coredns"
