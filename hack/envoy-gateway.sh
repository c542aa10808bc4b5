#!/usr/bin/env bash
# Makes ready what Envoy Gateway is installed by, from the Go module pinned in e2e/envoy-gateway: its chart, as a release of
# it has it, and its definitions. The last line on stdout is a directory with chart/ and definitions.yaml; everything else
# goes to stderr. The definitions of the Gateway API itself are not among them: hack/gateway-api.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../e2e/envoy-gateway"

module=github.com/envoyproxy/gateway
say() { printf 'envoy gateway: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

version=$(awk -v module="$module" '$1 == module { print $2 }' go.mod)
target=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/envoy-gateway-chart-$version
if [[ -d $target ]]; then
  echo "$target"
  exit 0
fi
command -v go >/dev/null || refuse "no 'go' on the PATH; it is needed once, to fetch Envoy Gateway $version" \
  "install Go (https://go.dev/dl)"
go mod download "$module" >&2 || refuse "the module $module could not be fetched" "check the network or GOPROXY ($(go env GOPROXY)), then run this again"
source=$(go list -mod=readonly -m -f '{{.Dir}}' "$module")/charts/gateway-helm
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.envoy-gateway-XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -r "$source" "$work/chart"
chmod -R u+w "$work/chart"
# A release puts the names of its images in; those of a lab are in e2e/envoy-gateway/values.yaml.
sed -e 's/\${[A-Za-z]*}/""/' "$work/chart/values.tmpl.yaml" >"$work/chart/values.yaml"
cat "$work"/chart/charts/crds/crds/generated/*.yaml >"$work/definitions.yaml"
chmod 0755 "$work"
mv -T "$work" "$target"
say "ready: $target"
echo "$target"
