#!/usr/bin/env bash
# Prints what a program of ours is made of, as a CycloneDX document: every crate that is linked into it, by version and
# licence. The Debian packages of its image are on record in the image itself, where scanners look (/var/lib/dpkg/status.d).
#
#   hack/sbom.sh landfall-controller
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=${1:?usage: hack/sbom.sh PROGRAM}
command -v jq >/dev/null || { echo "sbom: jq is missing; remedy: apt-get install jq" >&2; exit 1; }
host=$(rustc -vV | sed -n 's/^host: //p')
cargo metadata --locked --format-version 1 --filter-platform "$host" | jq --arg program "$program" '
  (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $needs
  | (.packages | map({key: .id, value: .}) | from_entries) as $packages
  | (.packages[] | select(.name == $program)) as $top
  | {seen: [$top.id], next: [$top.id]}
  | until(.next == []; .seen as $seen | ([.next[] | $needs[.][]] | unique - $seen) as $new | {seen: ($seen + $new), next: $new})
  | [.seen[] | $packages[.]] as $all
  | {
      bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
      metadata: {component: {type: "application", name: $program, version: $top.version, "bom-ref": "pkg:cargo/\($program)@\($top.version)"}},
      components: [$all[] | select(.id != $top.id) | {
        type: "library", name, version, "bom-ref": "pkg:cargo/\(.name)@\(.version)", purl: "pkg:cargo/\(.name)@\(.version)"
      } + (if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end)] | sort_by(.purl)
    }
  | .dependencies = [$all[] | {ref: "pkg:cargo/\(.name)@\(.version)", dependsOn: [$needs[.id][] | $packages[.] | "pkg:cargo/\(.name)@\(.version)"] | unique}]'
