#!/usr/bin/env bash
# Prints the manifest by which krew installs `kubectl landfall`, of the archives of a release.
#
#   hack/krew.sh VERSION DOWNLOADS ARCHIVE…
#
#   VERSION     without the v that krew wants before it
#   DOWNLOADS   where the archives will be downloaded from
#   ARCHIVE     landfall-VERSION-OS-ARCH.tar.gz, each with kubectl-landfall and LICENSE at its root
set -euo pipefail
shopt -s inherit_errexit
refuse() { printf 'krew: %s\nkrew: remedy: %s\n' "$1" "$2" >&2; exit 1; }
[[ $# -ge 3 ]] || refuse "a version, a place and an archive are needed" "see the head of hack/krew.sh"
version=$1
downloads=${2%/}
shift 2

cat <<YAML
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: landfall
spec:
  version: v$version
  homepage: ${downloads%/releases/*}
  shortDescription: See and explain LoadBalancer addresses
  description: |
    Installs Landfall, shows its pools, addresses and their owners, explains why a Service or a
    Gateway has an address or none, tells line by line what happens, tries addresses from the
    segment, validates manifests, and moves a cluster over from another balancer.
  platforms:
YAML
for archive in "$@"; do
  file=${archive##*/}
  name=${file#landfall-"$version"-}
  name=${name%.tar.gz}
  [[ $file = "landfall-$version-$name.tar.gz" && $name =~ ^(linux|darwin)-(amd64|arm64)$ ]] ||
    refuse "$file is no archive of version $version" "landfall-$version-OS-ARCH.tar.gz"
  held=$(tar -tzf "$archive")
  for part in kubectl-landfall LICENSE; do
    grep -qxF "$part" <<<"$held" || refuse "$file has no $part" "hack/release.sh makes archives that have"
  done
  sum=$(sha256sum "$archive")
  cat <<YAML
    - selector:
        matchLabels:
          os: ${name%-*}
          arch: ${name#*-}
      uri: $downloads/$file
      sha256: ${sum%% *}
      bin: kubectl-landfall
      files:
        - from: kubectl-landfall
          to: .
        - from: LICENSE
          to: .
YAML
done
