#!/usr/bin/env bash
# Fetches the definitions of the Gateway API, once, into a cache outside the tree: those of the standard channel, from the
# Go module pinned in e2e/gateway-api. The last line on stdout is the directory that holds them; everything else goes to
# stderr. LANDFALL_GATEWAY_API=/path uses another one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=sigs.k8s.io/gateway-api
say() { printf 'gateway api: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

if [[ -n ${LANDFALL_GATEWAY_API:-} ]]; then
    compgen -G "$LANDFALL_GATEWAY_API/*_gateways.yaml" >/dev/null ||
        refuse "LANDFALL_GATEWAY_API=$LANDFALL_GATEWAY_API has no definition of Gateways" "unset it, or name a directory of the standard's definitions"
    echo "$LANDFALL_GATEWAY_API"
    exit 0
fi

version=$(awk -v module="$module" '$1 == "require" && $2 == module { print $3 }' "$here/../e2e/gateway-api/go.mod")
target=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/gateway-api-$version
if [[ -d $target ]]; then
    echo "$target"
    exit 0
fi

command -v go >/dev/null || refuse "no 'go' on the PATH; it is needed once, to fetch the Gateway API $version" \
    "install Go (https://go.dev/dl), or set LANDFALL_GATEWAY_API to a directory of its definitions"
cd "$here/../e2e/gateway-api"
go mod download "$module" >&2 || refuse "the module $module could not be fetched" "check the network or GOPROXY ($(go env GOPROXY)), then run this again"
source=$(go list -m -f '{{.Dir}}' "$module")/config/crd/standard
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.gateway-api-XXXXXX")
trap 'rm -rf "$work"' EXIT
# Definitions alone: the policy beside them guards upgrades of a cluster that people keep.
cp "$source"/gateway.networking.k8s.io_*s.yaml "$work/"
rm -f "$work"/*_vap_*.yaml
chmod 0755 "$work"
chmod 0644 "$work"/*
mv -T "$work" "$target"
say "ready: $target"
echo "$target"
