#!/usr/bin/env bash
# Makes everything that a release consists of, in a directory of its own, with checksums and SBOMs; publishes nothing.
#
#   hack/release.sh                      target/release-VERSION; VERSION is the workspace's
#   hack/release.sh --programs DIR       of programs of this platform that are built already
#   hack/release.sh --without-images     without the images, which need docker, podman or buildah
#   hack/release.sh --out DIR            another directory
#   REGISTRY=…                           where the images will be pulled from (docker.io/landfall)
#   DOWNLOADS=…                          where the archives will be downloaded from; the krew manifest names it
#   TARGETS="…"                          Rust targets of the command line; those whose linker is not here are named and left out
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
host=$(rustc -vV | sed -n 's/^host: //p')
targets=${TARGETS:-$host aarch64-unknown-linux-gnu x86_64-apple-darwin aarch64-apple-darwin}
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

# What links for a target, if it is here.
linker() {
  case $1 in
  "$host") echo cc ;;
  aarch64-unknown-linux-gnu) command -v aarch64-linux-gnu-gcc ;;
  x86_64-unknown-linux-gnu) command -v x86_64-linux-gnu-gcc ;;
  *) return 1 ;;
  esac
}

# The programs of a target, built; prints their directory.
build() {
  if [[ $1 = "$host" && -n $programs ]]; then
    echo "$programs"
    return
  fi
  # What the images are made of is built for this platform, too, and shares what both are made of.
  if [[ $1 = "$host" ]]; then
    LANDFALL_REVISION=$revision cargo build --release --locked -p landfall-cli >&2
    echo "${CARGO_TARGET_DIR:-target}/release"
    return
  fi
  local link variable=${1^^}
  link=$(linker "$1")
  variable=CARGO_TARGET_${variable//-/_}_LINKER
  rustup target add "$1" >&2
  env "$variable=$link" "CC_${1//-/_}=$link" LANDFALL_REVISION="$revision" \
    cargo build --release --locked -p landfall-cli --target "$1" >&2
  echo "${CARGO_TARGET_DIR:-target}/$1/release"
}

archives=()
for target in $targets; do
  name=$(platform "$target")
  if ! [[ $target = "$host" && -n $programs ]] && ! linker "$target" >/dev/null; then
    say "SKIPPED (needs a linker for $target): the command line for $name"
    continue
  fi
  built=$(build "$target")
  archive=landfall-$version-$name.tar.gz
  folder=$(mktemp -d)
  for program in landfall kubectl-landfall; do
    [[ -x $built/$program ]] || refuse "$built has no $program" "cargo build --release -p landfall-cli"
    if [[ $target = "$host" ]]; then strip -o "$folder/$program" "$built/$program"; else cp "$built/$program" "$folder/$program"; fi
  done
  cp LICENSE "$folder/"
  tar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$moment" -C "$folder" \
    -c LICENSE kubectl-landfall landfall | gzip -n >"$out/$archive"
  rm -rf "$folder"
  archives+=("$out/$archive")
done
[[ ${#archives[@]} -gt 0 ]] || refuse "the command line was built for nobody" "TARGETS=$host, or --programs DIR"

hack/krew.sh "$version" "$downloads" "${archives[@]}" >"$out/landfall.yaml"

# Names of images as the release has them; everything else is what the tree has.
sed -E "s#image: landfall/(landfall-[a-z]+):.*#image: $registry/\1:$version#" config/install.yaml >"$out/install.yaml"
chart=$(mktemp -d)
cp -r charts/landfall "$chart/"
sed -i "s#^  registry: landfall\$#  registry: $registry#" "$chart/landfall/values.yaml"
"$helm" package "$chart/landfall" --version "$version" --app-version "$version" --destination "$out" >&2
rm -rf "$chart"
hack/sbom.sh landfall-cli >"$out/landfall-cli.cdx.json"
if $images; then
  REGISTRY=$registry VERSION=$version hack/images.sh ${programs:+--programs "$programs"} --out "$out"
fi
(cd "$out" && find . -maxdepth 1 -type f ! -name checksums.txt -printf '%f\n' | sort | xargs sha256sum >checksums.txt)
say "everything is in $out"
