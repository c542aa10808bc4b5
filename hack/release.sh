#!/usr/bin/env bash
# Makes everything that a release consists of, in a directory of its own, with checksums and SBOMs; publishes nothing.
#
#   hack/release.sh                      target/release-VERSION; VERSION is the workspace's
#   hack/release.sh --programs DIR       images of programs of this platform that are built already
#   hack/release.sh --without-images     without the images, which need docker, podman or buildah
#   hack/release.sh --out DIR            another directory
#   REGISTRY=…                           where the images will be pulled from (docker.io/landfall)
#   DOWNLOADS=…                          where the archives will be downloaded from; the krew manifest names it
#   TARGETS="…"                          Rust targets of the command line, instead of Linux and macOS on amd64 and arm64
set -euo pipefail
# A build that fails inside $(…) ends the release too.
shopt -s inherit_errexit
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'release: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
out=target/release-$version
programs=
images=true
while [[ $# -gt 0 ]]; do
  case $1 in
  --programs) programs=$(cd "$here" && realpath "${2:?--programs needs a directory}") && shift ;;
  --out) out=$(cd "$here" && realpath -m "${2:?--out needs a directory}") && shift ;;
  --without-images) images=false ;;
  *) refuse "unknown argument '$1'" "see the head of hack/release.sh" ;;
  esac
  shift
done
targets=${TARGETS:-x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-apple-darwin aarch64-apple-darwin}
registry=${REGISTRY:-docker.io/landfall}
downloads=${DOWNLOADS:-https://github.com/landfall/landfall/releases/download/v$version}
# Archives of the same commit are the same to the byte.
moment=$(git log -1 --format=%ct)
revision=$(git describe --always --dirty)
helm=$(hack/go-program.sh helm)
if [[ -d $out && -n $(ls -A "$out") ]]; then
  [[ -f $out/checksums.txt ]] || refuse "$out is not empty, and no release" "name another directory with --out"
  rm -rf "$out"
fi
mkdir -p "$out"
hack/generate.sh --check >&2 || refuse "generated files are stale" "make generate, and commit"

# A platform's name as Go, krew and Kubernetes spell it.
platform() {
  local os=linux arch=amd64
  [[ $1 != *darwin* ]] || os=darwin
  [[ $1 != aarch64* ]] || arch=arm64
  echo "$os-$arch"
}

archives=()
for target in $targets; do
  name=$(platform "$target")
  built=$(LANDFALL_REVISION=$revision hack/command-line.sh "$target")
  archive=landfall-$version-$name.tar.gz
  tar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$moment" \
    -c LICENSE -C "$built" kubectl-landfall landfall | gzip -n >"$out/$archive"
  archives+=("$out/$archive")
  hack/sbom.sh landfall-cli "$target" >"$out/${archive%.tar.gz}.cdx.json"
done
hack/krew.sh "$version" "$downloads" "${archives[@]}" >"$out/landfall.yaml"

# Names of images as the release has them; everything else is what the tree has.
sed -E "s#image: landfall/(landfall-[a-z]+):.*#image: $registry/\1:$version#" config/install.yaml >"$out/install.yaml"
chart=$(mktemp -d)
cp -r charts/landfall "$chart/"
sed -i "s#^  registry: landfall\$#  registry: $registry#" "$chart/landfall/values.yaml"
"$helm" package "$chart/landfall" --version "$version" --app-version "$version" --destination "$out" >&2
rm -rf "$chart"
if $images; then
  REGISTRY=$registry VERSION=$version hack/images.sh ${programs:+--programs "$programs"} --out "$out"
fi
(cd "$out" && find . -maxdepth 1 -type f ! -name checksums.txt -printf '%f\n' | sort | xargs sha256sum >checksums.txt)
say "everything is in $out"
