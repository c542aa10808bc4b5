#!/usr/bin/env bash
# Runs a bench of two revisions in turn, and says the ratio of each figure: this tree to the base.
#
#   hack/against.sh brain|ipam|wire|xdp BASE [rounds]     3 rounds
#
# Of each side the least of all rounds counts, so that what else runs on the machine counts least.
# Writes target/figures/against-BENCH.json. Figures that only one side has are named and left out.
set -euo pipefail
cd "$(dirname "$0")/.."

bench=${1:-} base=${2:-} rounds=${3:-3}
if ! [[ $bench =~ ^(brain|ipam|wire|xdp)$ && -n $base && $rounds =~ ^[1-9][0-9]*$ ]]; then
  echo "against: usage: hack/against.sh brain|ipam|wire|xdp BASE [rounds]" >&2
  exit 2
fi
commit=$(git rev-parse --verify --quiet "$base^{commit}") || {
  echo "against: there is no revision $base; remedy: git fetch, or name another" >&2
  exit 2
}
command -v jq >/dev/null || { echo "against: jq is missing; remedy: apt-get install jq" >&2; exit 1; }

# A tree and a target directory of its own: in one for both cargo takes the one's crates for the other's.
tree=$PWD/target/against/$commit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A tree stays for the next time; what `rm -r target` took is forgotten here.
git worktree prune
[ -d "$tree" ] || git worktree add --quiet --detach "$tree" "$commit"
unset CARGO_TARGET_DIR

# The packets of both sides are written by this tree's prologue: a base that writes single bytes lets the loads behind it
# wait for its stores, which is no cost of the data path.
prologue=bpf-lb/ebpf/src/bench.rs how=
if [ "$bench" = xdp ]; then
  how=", the packets of both written by this tree's prologue"
  git -C "$tree" checkout --quiet -- "$prologue"
  part() { sed -n '/^\/\/\/ The frame to write/,/^\/\/\/ The prologue alone/p' "$1"; }
  part "$prologue" >"$work/ours"
  part "$tree/$prologue" >"$work/theirs"
  if ! grep -q '^fn renew(frame: Frame)' "$work/ours" || ! tail -n 1 "$work/theirs" | grep -q 'The prologue alone'; then
    echo "against: $prologue of ${commit:0:7} has no prologue that can be replaced; remedy: name another revision" >&2
    exit 1
  fi
  sed -i -e "/^\/\/\/ The frame to write/,/^\/\/\/ The prologue alone/{
    /^\/\/\/ The frame to write/r $work/ours
    d
  }" -e 's/renew(&ctx)/renew(Frame::of_xdp(\&ctx))/' "$tree/$prologue"
fi

# Builds a tree's bench; where its program is.
build() {
  (cd "$1" && ${CARGO:-cargo} bench --workspace --no-run --bench "$bench" --message-format=json) |
    jq -r --arg bench "$bench" 'select(.executable and .target.name == $bench) | .executable' >"$work/path"
  cp "$(cat "$work/path")" "$work/$2"
}
build "$tree" base
build "$PWD" here

# A bench writes its figures below the tree that it was built in.
run() {
  (cd "$1" && "$work/$2" --bench >"$work/log" 2>&1) || { cat "$work/log" >&2; exit 1; }
  cp "$1/target/figures/bench-$bench.json" "$work/$2-$3.json"
}
for ((round = 1; round <= rounds; round++)); do
  run "$tree" base "$round"
  run "$PWD" here "$round"
done

least='[.[][]] | group_by(.name + .unit) | map({key: "\(.[0].name) [\(.[0].unit)]", value: (map(.min // .value) | min)}) | from_entries'
jq -s "$least" "$work"/base-*.json >"$work/base"
jq -s "$least" "$work"/here-*.json >"$work/here"
mkdir -p target/figures
jq -n --slurpfile base "$work/base" --slurpfile here "$work/here" --arg commit "${commit:0:7}" --argjson rounds "$rounds" --arg how "$how" '
  [$here[0] | to_entries[] | select($base[0][.key] > 0) | {
    name: "\(.key) to \($commit)", value: (.value / $base[0][.key]), unit: "x", n: $rounds,
    method: "least of \($rounds) runs in turn\($how): \(.value * 1000 | round / 1000) to \($base[0][.key] * 1000 | round / 1000)"
  }]' >"target/figures/against-$bench.json"
jq -r '.[] | "\(.value * 100 | round / 100)x\t\(.name)\t(\(.method))"' "target/figures/against-$bench.json"
jq -rn --slurpfile base "$work/base" --slurpfile here "$work/here" '
  (($here[0] | keys) - ($base[0] | keys) | .[] | "new\t\(.)"), (($base[0] | keys) - ($here[0] | keys) | .[] | "gone\t\(.)")'
