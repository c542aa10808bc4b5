#!/usr/bin/env bash
# Tries an upgrade in the lab: from the manifests and images of another revision to this tree's, and back, under load.
#
#   hack/upgrade.sh BASE                     builds the base in a tree of its own below target/against, which stays for the
#                                            next time: `git worktree remove --force` it to have its gigabytes back
#   hack/upgrade.sh BASE --programs DIR      of programs of the base that are built already
#
# This tree's own programs are those in target/debug.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'upgrade: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

base=${1:-}
[[ -n $base ]] || refuse "no revision to upgrade from is named" "make upgrade-test BASE=REVISION"
commit=$(git rev-parse --verify --quiet "$base^{commit}") || refuse "there is no revision $base" "git fetch, or name another"
programs=
if [[ ${2:-} = --programs ]]; then
  programs=$(cd "$here" && realpath "${3:?--programs needs a directory}")
else
  # A tree and a target directory of its own: in one for both cargo takes the one's crates for the other's.
  tree=$PWD/target/against/$commit
  git worktree prune
  [[ -d $tree ]] || git worktree add --quiet --detach "$tree" "$commit"
  say "building ${commit:0:7}"
  (cd "$tree" && unset CARGO_TARGET_DIR &&
    ${CARGO:-cargo} build -p landfall-controller -p landfall-announcer -p landfall-cli)
  programs=$tree/target/debug
fi

mkdir -p target/upgrade
for program in landfall landfall-controller landfall-announcer; do
  [[ -x $programs/$program ]] || refuse "$programs has no $program" "cargo build --workspace --bins there"
  cp "$programs/$program" "target/upgrade/$program"
done
say "from ${commit:0:7} to $(git describe --always --dirty), and back"
LANDFALL_LAB_BASE=$PWD/target/upgrade exec target/debug/lab run e2e/scenarios/upgrade.yaml
