#!/usr/bin/env bash
# Builds the command line for a Rust target, and refuses it if it would not run where docs/how-to/install.md says: by its
# header, and by running it if this machine can. The last line on stdout is the folder of the programs, stripped.
#
#   hack/command-line.sh aarch64-unknown-linux-gnu
#   LANDFALL_REVISION=…   what it says that it was built of
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# What readelf says is read.
export LC_ALL=C

# The oldest systems that it runs on: those that Rust itself asks for, of macOS the newer one, which is arm64's.
readonly GLIBC=2.17 MACOS=11.0

target=${1:?usage: hack/command-line.sh TARGET}
say() { printf 'command-line: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

case $target in
x86_64-*) arch=amd64 machine=X86-64 ;;
aarch64-*) arch=arm64 machine=AArch64 ;;
*) refuse "$target is of no processor that is released" "x86_64-… or aarch64-…" ;;
esac
case $target in
*-unknown-linux-gnu) zig_target=$target.$GLIBC linking=() ;;
# Crates name libraries, too, from which the program takes nothing.
*-apple-darwin) zig_target=$target linking=(-L "framework=$PWD/hack/macos" -C "link-arg=-Wl,-dead_strip_dylibs") ;;
*) refuse "$target is of no system that is released" "…-unknown-linux-gnu or …-apple-darwin" ;;
esac

zigbuild=$(hack/zigbuild.sh)
if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$target/lib ]]; then
  command -v rustup >/dev/null || refuse "the standard library for $target is missing" "install Rust by rustup"
  rustup target add "$target" >&2
fi
CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols MACOSX_DEPLOYMENT_TARGET=$MACOS \
  CARGO_ZIGBUILD_ZIG_PATH="$zigbuild/ziglang/zig" \
  "$zigbuild/bin/cargo-zigbuild" rustc --release --locked -p landfall-cli --bin landfall --target "$zig_target" -- "${linking[@]}" >&2
built=${CARGO_TARGET_DIR:-target}/$target/release

# Refuses a program for Linux of another processor, or that asks for more than the oldest glibc has.
check_linux() {
  readelf --wide --file-header "$1" | grep -q "Machine: .*$machine" || refuse "$1 is not of $machine" "see what cargo built"
  local needed strange
  needed=$(readelf --wide --dynamic "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  strange=$(grep -vxE 'lib(c|m|pthread|dl|rt|util)\.so\.[0-9]|ld-linux-[a-z0-9_-]+\.so\.[0-9]' <<<"$needed" || true)
  [[ -z $strange ]] || refuse "$1 needs $strange" "only what glibc consists of may be needed"
  local newest
  newest=$(readelf --wide --version-info "$1" | sed -n 's/.* Name: \([A-Z][A-Za-z0-9_.]*\) .*/\1/p' | sort -uV | tail -n 1)
  [[ $newest =~ ^GLIBC_[0-9.]+$ && $(printf '%s\n' "GLIBC_$GLIBC" "$newest" | sort -V | tail -n 1) = "GLIBC_$GLIBC" ]] ||
    refuse "$1 asks for $newest" "glibc $GLIBC is promised"
  say "$1: $machine, glibc $GLIBC or newer (${newest/_/ }; ${needed//$'\n'/, })"
}

# Refuses a program for macOS that would not start there, as far as that can be read.
check_macos() {
  local libsystem libraries
  libsystem=$(hack/libsystem.sh)
  libraries=$(hack/macho.py "$arch" "$MACOS" "$1" "$libsystem" hack/macos/*.framework/*.tbd)
  say "$1: $arch, macOS $MACOS or newer (${libraries//$'\n'/, })"
  say "SKIPPED (needs a Mac): to run $1"
}

# Runs a program, by an emulator if it is of another processor.
check_runs() {
  local run=()
  if [[ $target != "$(rustc -vV | sed -n 's/^host: //p')" ]]; then
    local processor=${target%%-*}
    if ! command -v "qemu-$processor" >/dev/null || [[ ! -e /usr/$processor-linux-gnu/lib/libc.so.6 ]]; then
      say "SKIPPED (needs qemu-user and libc6-$arch-cross): to run $1"
      return
    fi
    run=("qemu-$processor" -L "/usr/$processor-linux-gnu")
  fi
  local version help
  version=$("${run[@]}" "$1" version --client)
  help=$("${run[@]}" "$1" --help)
  grep -q connectivity <<<"$help" || refuse "$1 --help says nothing of connectivity" "run it"
  "${run[@]}" "$1" validate -f config/samples/pool.yaml -f config/samples/policy.yaml >&2
  say "$1: runs${run[0]:+ (${run[0]})}, $version"
}

case $target in
*-linux-gnu)
  check_linux "$built/landfall"
  check_runs "$built/landfall"
  ;;
*) check_macos "$built/landfall" ;;
esac
# kubectl finds it by its other name. Both are one program, and to link it takes long.
install -D "$built/landfall" "$built/programs/landfall"
install -D "$built/landfall" "$built/programs/kubectl-landfall"
echo "$built/programs"
