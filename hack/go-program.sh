#!/usr/bin/env bash
# Builds a program of the lab from the Go module that pins it, once, into a cache outside the tree. The last line on
# stdout is its path; everything else goes to stderr.
#
#   hack/go-program.sh coredns    the cluster's name server (e2e/cluster-dns); LANDFALL_COREDNS=/path uses another one
#   hack/go-program.sh flannel    a CNI with an overlay (e2e/flannel); LANDFALL_FLANNEL=/path uses another one
#   hack/go-program.sh gateway-conformance    the suite of the Gateway API, as a test program (e2e/conformance)
#   hack/go-program.sh echo-basic             the server behind its routes, of the same module
#   hack/go-program.sh envoy-gateway          Envoy Gateway's control plane (e2e/envoy-gateway); LANDFALL_ENVOY_GATEWAY=/path uses another one
#   hack/go-program.sh helm       what renders and checks the chart (e2e/helm); LANDFALL_HELM=/path uses another one
set -euo pipefail

say() { printf '%s: %s\n' "${name:-go-program}" "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

name=${1:-}
building=(build)
case $name in
coredns) module=cluster-dns package=github.com/coredns/coredns cgo=0 linking='-s -w' ;;
gateway-conformance) module=conformance package=. cgo=0 linking='-s -w' building=(test -c) ;;
echo-basic) module=conformance package=sigs.k8s.io/gateway-api/conformance/echo-basic cgo=0 linking='-s -w' ;;
envoy-gateway) module=envoy-gateway package=github.com/envoyproxy/gateway/cmd/envoy-gateway cgo=0 linking='-s -w' ;;
helm) module=helm package=helm.sh/helm/v3/cmd/helm cgo=0 linking='-s -w' ;;
# One of its back ends is written in C. Static, because it is built here and runs in an image.
flannel) module=flannel package=github.com/flannel-io/flannel cgo=1 linking='-s -w -extldflags "-static"' ;;
*) refuse "unknown program '$name'" "see the head of hack/go-program.sh" ;;
esac
module=$(cd "$(dirname "${BASH_SOURCE[0]}")/../e2e/$module" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/landfall
flags=(-mod=readonly -trimpath -ldflags "$linking")
target=$cache/$name-$({ cat "$module"/go.{mod,sum}; [[ ${building[0]} = build ]] || cat "$module"/*.go "$module"/*.yaml; printf '%s\n' "${flags[@]}" "$(uname -m)"; } | sha256sum | cut -c1-16)

own=LANDFALL_${name^^}
own=${own//-/_}
if [[ -n ${!own:-} ]]; then
  [[ -x ${!own} ]] || refuse "$own=${!own} is no program" "unset it, or name the executable of $name"
  echo "${!own}"
  exit 0
fi
mkdir -p "$cache"
# Gigabytes that nobody needs once the programs are there: hack/setup.sh deletes them.
export GOCACHE=${GOCACHE:-$cache/go-build}
exec 9>"$cache/.$name-lock"
flock 9
if [[ ! -x $target/$name ]]; then
  command -v go >/dev/null ||
    refuse "no 'go' on the PATH; it is needed once, to build $name" "install Go (https://go.dev/dl), or set $own"
  say "building $name from source, once (cold: about 4 minutes on two cores)"
  work=$(mktemp -d "$cache/.$name-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (cd "$module" && CGO_ENABLED=$cgo go "${building[@]}" "${flags[@]}" -o "$work/$name" "$package") >&2 ||
    refuse "the build failed" "the lines above say why"
  mkdir -p "$target"
  mv "$work/$name" "$target/$name"
  say "ready: $target/$name"
fi
echo "$target/$name"
