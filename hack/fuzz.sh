#!/usr/bin/env bash
# Feeds the parsers of what is read from outside (frames, netlink, annotations) with what they do not expect.
#
#   hack/fuzz.sh [seconds [target…]]     60 seconds; all targets
#
# Begins with the committed seeds and with what earlier runs found worth keeping (target/fuzz). A crash ends it with
# exit code 1 and says which bytes to keep as a test.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_FUZZ=0.13.2
readonly PROJECTS=(announcer/fuzz bpf-lb/fuzz)
# The sanitizer and the coverage are the compiler's unstable options; the pinned stable one has them.
export RUSTC_BOOTSTRAP=1

seconds=${1:-60}
shift || true
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
  echo "fuzz: how many seconds? usage: hack/fuzz.sh [seconds [target…]]" >&2
  exit 2
fi
if ! command -v c++ >/dev/null; then
  echo "fuzz: a C++ compiler is missing (libFuzzer is C++); remedy: apt-get install g++" >&2
  exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "fuzz: installing cargo-fuzz $CARGO_FUZZ (a minute or two)" >&2
  cargo install cargo-fuzz --version "$CARGO_FUZZ" --locked --quiet
fi

known=()
wanted=()
for project in "${PROJECTS[@]}"; do
  for source in "$project"/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    known+=("$target")
    if [ $# -eq 0 ] || [[ " $* " == *" $target "* ]]; then wanted+=("$project $target"); fi
  done
done
for target in "$@"; do
  if [[ " ${known[*]} " != *" $target "* ]]; then
    echo "fuzz: no target $target; there are: ${known[*]}" >&2
    exit 2
  fi
done

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
artifacts=target/fuzz/crashes
mkdir -p "$artifacts"

# Feeds one target, and says what came of it.
feed() {
  local project=$1 target=$2 code=0 executions
  local corpus=target/fuzz/$target log=$logs/$target
  mkdir -p "$corpus"
  cargo fuzz run --fuzz-dir "$project" "$target" "$PWD/$corpus" "$PWD/$project/seeds/$target" -- \
    -max_total_time="$seconds" -max_len=2048 -timeout=5 -print_final_stats=1 \
    -artifact_prefix="$PWD/$artifacts/$target-" >"$log" 2>&1 || code=$?
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  if [ "$code" -eq 0 ]; then
    printf 'fuzz: %-8s %12s executions in %s s, no crash\n' "$target" "${executions:-?}" "$seconds"
    return
  fi
  grep -A 3 -e panicked -e 'ERROR: ' -e '^error' "$log" | head -n 20 >&2 || tail -n 20 "$log" >&2
  printf 'fuzz: %-8s FAILED after %s executions; the bytes are in %s/%s-*\n' "$target" "${executions:-?}" "$artifacts" "$target"
  return 1
}

# A target keeps one core busy: as many at once as there are cores.
failed=0
running=0
for one in "${wanted[@]}"; do
  if [ "$running" -ge "$(nproc)" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  # shellcheck disable=SC2086 # project and target
  feed $one &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
