#!/usr/bin/env bash
# Builds the images of Landfall with docker, podman or buildah, whichever is there and works, and writes beside them
# what is in them (CycloneDX, target/images/*.cdx.json).
#
#   hack/images.sh                      docker and podman: compiled in a container of the pinned Rust;
#                                       buildah: compiled here, written to target/images/*.tar (docker load reads them)
#   hack/images.sh --programs DIR       of programs that are built already
#   hack/images.sh --with TOOL          docker, podman or buildah
#   hack/images.sh --out DIR            another directory than target/images
#   REGISTRY=… VERSION=… PLATFORM=…     the names' first and last part; linux/amd64, linux/arm64
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'images: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }
# shellcheck source=hack/buildah.sh
. hack/buildah.sh

tool=
programs=
out=target/images
while [[ $# -gt 0 ]]; do
  case $1 in
  --with) tool=${2:?--with needs docker, podman or buildah} ;;
  --programs) programs=$(cd "$here" && realpath "${2:?--programs needs a directory}") ;;
  --out) out=$(cd "$here" && realpath -m "${2:?--out needs a directory}") ;;
  *) refuse "unknown argument '$1'" "see the head of hack/images.sh" ;;
  esac
  shift 2
done
registry=${REGISTRY:-docker.io/landfall}
version=${VERSION:-0.1.0}
revision=$(git describe --always --dirty 2>/dev/null || echo unknown)
labels=(--label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$revision")
flags=(--build-arg "LANDFALL_REVISION=$revision" "${labels[@]}")
[[ -z ${PLATFORM:-} ]] || flags+=(--platform "$PLATFORM")

works() {
  case $1 in
  # The command alone builds nothing: its daemon does.
  docker) command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1 ;;
  podman | buildah) command -v "$1" >/dev/null ;;
  *) refuse "$1 is no tool that this script knows" "docker, podman or buildah" ;;
  esac
}
if [[ -z $tool ]]; then
  for candidate in docker podman buildah; do
    if works "$candidate"; then
      tool=$candidate
      break
    fi
  done
  [[ -n $tool ]] || refuse "neither docker, podman nor buildah works here" "apt-get install buildah debootstrap"
elif ! works "$tool"; then
  refuse "$tool does not work here" "choose another one with --with, or none"
fi

mkdir -p "$out"
if [[ $tool = buildah && -z $programs ]]; then
  # cargo compiles for this machine; an image that says otherwise would not run.
  host=linux/$(dpkg --print-architecture 2>/dev/null || uname -m)
  [[ ${PLATFORM:-$host} = "$host" ]] ||
    refuse "buildah takes what cargo compiles here, for $host, and $PLATFORM is wanted" \
      "docker or podman, which compile in a container; or --programs with a directory of programs for $PLATFORM"
  LANDFALL_REVISION=$revision cargo build --release --locked -p landfall-controller -p landfall-announcer -p landfall-probe
  programs=$(realpath "${CARGO_TARGET_DIR:-target}/release")
fi
if [[ -n $programs ]]; then
  # Symbols stay, for backtraces; line tables would be most of the image.
  stripped=$(mktemp -d)
  trap 'rm -rf "$stripped"' EXIT
  for program in landfall-controller landfall-announcer landfall-probe; do
    [[ -x $programs/$program ]] || refuse "$programs has no $program" "cargo build --release -p $program"
    strip --strip-debug -o "$stripped/$program" "$programs/$program"
  done
  flags+=(--build-context "binaries=$stripped")
fi
for part in controller announcer probe; do
  name=$registry/landfall-$part:$version
  if [[ $tool = buildah ]]; then
    mkdir -p "$images_cache"
    exec 9>"$images_cache/.lock"
    flock 9
    build_archive "$name" Dockerfile "$part" "$stripped" "$out/landfall-$part.tar" --build-arg "LANDFALL_REVISION=$revision" \
      ${PLATFORM:+--platform "$PLATFORM"}
    say "$name is in $out/landfall-$part.tar"
  else
    "$tool" build --target "$part" "${flags[@]}" -t "$name" .
    say "$tool has $name"
  fi
  hack/sbom.sh "landfall-$part" >"$out/landfall-$part.cdx.json"
done
