#!/usr/bin/env bash
# Builds the control plane of the lab (etcd, kube-apiserver, kube-controller-manager, kube-scheduler,
# kube-proxy, kubelet, kubectl) from the Go modules pinned in e2e/control-plane, once, into a cache outside the tree.
# The last line on stdout is the directory that holds the programs; everything else goes to stderr.
#
#   hack/control-plane.sh           all seven programs, for the lab
#   hack/control-plane.sh --api     etcd, kube-apiserver and kubectl are enough (tests of the API)
#
# KUBEBUILDER_ASSETS, when it names a directory with everything that is asked for, is used as it is.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=$here/../e2e/control-plane
api=(etcd kube-apiserver kubectl)
all=("${api[@]}" kube-controller-manager kube-scheduler kube-proxy kubelet)
wanted=("${all[@]}")

say() { printf 'control plane: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

case ${1:-} in
'') ;;
--api) wanted=("${api[@]}") ;;
*) refuse "unknown argument '$1'" "call it without arguments, or with --api" ;;
esac

# holds DIR PROGRAM...: whether DIR has every program.
holds() {
    local dir=$1 program
    shift
    for program; do [[ -x $dir/$program ]] || return 1; done
}

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    if holds "$KUBEBUILDER_ASSETS" "${wanted[@]}"; then
        echo "$KUBEBUILDER_ASSETS"
        exit 0
    fi
    say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks some of: ${wanted[*]}; using our own build"
fi

version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$module/go.mod")
minor=${version#v1.}
stamp=k8s.io/component-base/version
ldflags="-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*}"
flags=(-trimpath -ldflags "$ldflags")

key=$({ cat "$module/go.mod" "$module/go.sum"; printf '%s\n' "${flags[@]}" "$(uname -m)"; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/control-plane
target=$cache/$key

if holds "$target" "${all[@]}"; then
    echo "$target"
    exit 0
fi

command -v go >/dev/null ||
    refuse "no 'go' on the PATH; it is needed once, to build Kubernetes $version" \
        "install Go $(awk '$1 == "go" { print $2; exit }' "$module/go.mod") or newer (https://go.dev/dl), or point KUBEBUILDER_ASSETS at a directory with ${wanted[*]}"
mkdir -p "$cache"
# Gigabytes that nobody needs once the programs are there: hack/setup.sh deletes them.
export GOCACHE=${GOCACHE:-${cache%/*}/go-build}
free=$(df --output=avail -k "$cache" | tail -1)
((free > 6 * 1024 * 1024)) ||
    refuse "only $((free / 1024)) MiB are free for $cache and Go's build cache; about 6 GiB are needed" \
        "make room, or set XDG_CACHE_HOME and GOCACHE to a larger disk"

# One build at a time; whoever waited finds the result.
exec 9>"$cache/.lock"
if ! flock -n 9; then
    say "another build is running; waiting for it"
    flock 9
    if holds "$target" "${all[@]}"; then
        echo "$target"
        exit 0
    fi
fi

work=$(mktemp -d "$cache/.build-XXXXXX")
builder=
cleanup() {
    [[ -z $builder ]] || kill "$builder" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "building Kubernetes $version and etcd from source, once (cold: about 8 minutes on two cores; later: nothing to do)"
start=$SECONDS
export CGO_ENABLED=0 GOFLAGS=-mod=readonly
cd "$module"

total='?'
if list=$(go list -deps tool 2>"$work/list.log"); then
    total=$(wc -l <<<"$list")
else
    tail -5 "$work/list.log" >&2
    refuse "the modules of e2e/control-plane could not be fetched" \
        "check the network or GOPROXY ($(go env GOPROXY)), then run this again; what was fetched is kept"
fi
say "$total packages in all; those in Go's build cache are not compiled again"

mkdir "$work/bin"
: >"$work/log"
go build -v "${flags[@]}" -o "$work/bin" tool 2>"$work/log" &
builder=$!
while kill -0 "$builder" 2>/dev/null; do
    # A tick a second, a word every five: quick when it is quick, never silent for long.
    for _ in 1 2 3 4 5; do
        sleep 1
        kill -0 "$builder" 2>/dev/null || break
    done
    say "$((SECONDS - start)) s: $(wc -l <"$work/log") packages compiled, $(find "$work/bin" -type f | wc -l) of ${#all[@]} programs linked"
done
if ! wait "$builder"; then
    builder=
    tail -20 "$work/log" >&2
    refuse "the build failed" "the lines above say why; a build that ran out of memory can be repeated with GOMAXPROCS=1"
fi
builder=

mv "$work/bin/server" "$work/bin/etcd"
holds "$work/bin" "${all[@]}" || refuse "the build is incomplete: $(ls "$work/bin")" "compare the tool lines of e2e/control-plane/go.mod"
rm -rf "$target"
mv "$work/bin" "$target"
say "ready after $((SECONDS - start)) s: $target"
echo "$target"
