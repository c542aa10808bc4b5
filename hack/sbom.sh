#!/usr/bin/env bash
# Prints what a program of ours is made of, as a CycloneDX document: every crate that is linked into it, or into what it loads
# into the kernel, by version and licence. The Debian packages of its image are on record in the image itself, where scanners
# look (/var/lib/dpkg/status.d).
#
#   hack/sbom.sh landfall-controller           built for this platform
#   hack/sbom.sh landfall-cli TARGET           built for a Rust target by Zig, which links parts of its own
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=${1:?usage: hack/sbom.sh PROGRAM [TARGET]}
target=${2:-}
command -v jq >/dev/null || { echo "sbom: jq is missing; remedy: apt-get install jq" >&2; exit 1; }
host=$(rustc -vV | sed -n 's/^host: //p')

# A package of a project, and every crate that it needs, and those.
made_of() {
  cargo metadata --locked --format-version 1 --filter-platform "${target:-$host}" --manifest-path "$2" | jq --arg program "$1" '
  def part: {name, version, "bom-ref": "pkg:cargo/\(.name)@\(.version)", purl: "pkg:cargo/\(.name)@\(.version)"}
    + (if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end);
  (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $needs
  | (.packages | map({key: .id, value: .}) | from_entries) as $packages
  | (.packages[] | select(.name == $program)) as $top
  | {seen: [$top.id], next: [$top.id]}
  | until(.next == []; .seen as $seen | ([.next[] | $needs[.][]] | unique - $seen) as $new | {seen: ($seen + $new), next: $new})
  | [.seen[] | $packages[.]] as $all
  | {
      bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
      metadata: {component: ({type: "application"} + ($top | part))},
      components: [$all[] | select(.id != $top.id) | {type: "library"} + part] | sort_by(.purl)
    }
  | .dependencies = [$all[] | {ref: "pkg:cargo/\(.name)@\(.version)", dependsOn: [$needs[.id][] | $packages[.] | "pkg:cargo/\(.name)@\(.version)"] | unique}]'
}

made=$(made_of "$program" Cargo.toml)
# What is loaded into the kernel is a project of its own, and comes as bytes in the crate that loads it.
if jq --exit-status 'any(.components[]; .name == "landfall-bpf-lb")' <<<"$made" >/dev/null; then
  made=$(jq --slurp '
    (.[1].metadata.component + {type: "library"}) as $loaded
    | (.[0].components[] | select(.name == "landfall-bpf-lb") | ."bom-ref") as $loader
    | .[0] + {
        components: ([.[].components[], $loaded] | unique_by(."bom-ref")),
        dependencies: (([.[].dependencies[], {ref: $loader, dependsOn: [$loaded."bom-ref"]}])
          | group_by(.ref) | map({ref: .[0].ref, dependsOn: ([.[].dependsOn[]] | unique)}))
      }' <(echo "$made") <(made_of landfall-bpf-lb-ebpf bpf-lb/ebpf/Cargo.toml))
fi
# Zig's compiler_rt is in every program that Zig links, LLVM's libunwind, as Zig brings it, in those for Linux.
if [[ -n $target ]]; then
  made=$(jq --arg target "$target" --arg zig "$(sed -n 's/^zig=//p' hack/zigbuild.sh)" '
    "pkg:pypi/ziglang@\($zig)" as $linked
    | .metadata.component."bom-ref" as $top
    | .metadata.properties = [{name: "cdx:rustc:sbom:target:triple", value: $target}]
    | .components += [{type: "library", name: "ziglang", version: $zig, "bom-ref": $linked, purl: $linked,
        licenses: [{expression: (if $target | contains("linux") then "MIT AND Apache-2.0 WITH LLVM-exception" else "MIT" end)}]}]
    | .dependencies = [.dependencies[] | if .ref == $top then .dependsOn += [$linked] else . end] + [{ref: $linked, dependsOn: []}]
  ' <<<"$made")
fi
echo "$made"
