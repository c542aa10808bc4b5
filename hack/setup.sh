#!/usr/bin/env bash
# Installs what Landfall is built and tried with, by name from the package registries.
# Says what it does, does nothing when there is nothing to do, and refuses with a remedy.
#
#   hack/setup.sh build   Rust components, bpf-linker, shellcheck
#   hack/setup.sh lab     network tools, containerd, buildah, the Kubernetes control plane, Envoy, scapy
#   hack/setup.sh         both; several parts may be named at once, programs of hack/go-program.sh among them
#   hack/setup.sh tests   what only tests need: another network's flannel and iptables, Helm
#   hack/setup.sh release what only a release needs: cargo-zigbuild, Zig and the names of macOS 11, jq, an emulator of the other processor, Helm
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BPF_LINKER=0.13.0
readonly LLVM=22
# command → Debian package that brings it
readonly LAB_TOOLS=(
  arping:iputils-arping buildah:buildah busybox:busybox-static catatonit:catatonit containerd:containerd curl:curl debootstrap:debootstrap
  ethtool:ethtool ip:iproute2 ndisc6:ndisc6 nft:nftables nsenter:util-linux openssl:openssl ping:iputils-ping
  promtool:prometheus runc:runc strace:strace strip:binutils sysctl:procps
)

say() { printf 'setup: %s\n' "$*" >&2; }
refuse() {
  printf 'setup: cannot go on: %s\n' "$1" >&2
  printf 'setup: remedy: %s\n' "$2" >&2
  exit 1
}

# Installs Debian packages. Each is tried by name; nothing is removed or upgraded.
debian() {
  command -v apt-get >/dev/null ||
    refuse "missing: $*, and this is no Debian-like system" "install the like of these packages by your system's own means"
  [ "$(id -u)" = 0 ] || refuse "missing: $*" "sudo apt-get install --no-install-recommends $*"
  say "installing Debian packages: $*"
  local log
  log=$(mktemp)
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; then
    # The package lists may be old, or not there at all.
    apt-get update >"$log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1 || {
      tail -n 20 "$log" >&2
      refuse "apt-get could not install $*" "see the lines above"
    }
  fi
  rm -f "$log"
}

setup_build() {
  command -v cargo >/dev/null || refuse "cargo is missing" "install Rust by rustup; rust-toolchain.toml names the version"
  command -v c++ >/dev/null || debian g++ libc6-dev
  command -v shellcheck >/dev/null || debian shellcheck

  local sysroot
  sysroot=$(rustc --print sysroot)
  if [ ! -d "$sysroot/lib/rustlib/src/rust/library/core" ]; then
    command -v rustup >/dev/null || refuse "the source of the standard library is missing (component rust-src)" "install your distribution's rust-src"
    say "adding the Rust component rust-src"
    rustup component add rust-src
  fi
  for component in clippy rustfmt; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
  done

  if command -v bpf-linker >/dev/null; then return; fi
  local prefix=/usr/lib/llvm-$LLVM
  [ -x "$prefix/bin/llvm-config" ] && [ -e "$prefix/lib/libPolly.a" ] || debian "llvm-$LLVM-dev" "libpolly-$LLVM-dev" libzstd-dev
  say "building bpf-linker $BPF_LINKER (about a minute)"
  LLVM_PREFIX=$prefix LLVM_SYS_221_PREFIX=$prefix \
    cargo install bpf-linker --version "$BPF_LINKER" --locked --no-default-features --features "llvm-$LLVM" --quiet
}

setup_lab() {
  [ "$(uname -s)" = Linux ] || refuse "the lab is made of Linux network namespaces, and this is $(uname -s)" "use a Linux machine, a virtual one included"
  local release
  release=$(uname -r)
  [ "$(printf '%s\n' 5.15 "$release" | sort -V | head -n 1)" = 5.15 ] ||
    refuse "Linux $release is too old for the XDP programs" "use a machine with Linux 5.15 or newer"
  local missing=() tool
  for tool in "${LAB_TOOLS[@]}"; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
  done
  # Plugins of the CNI are programs that nobody has on the PATH.
  [ -x /usr/lib/cni/ptp ] || missing+=(containernetworking-plugins)
  python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
  [ ${#missing[@]} -eq 0 ] || debian "${missing[@]}"
  hack/control-plane.sh >/dev/null
  hack/envoy.sh >/dev/null
  hack/gateway-api.sh >/dev/null
  hack/go-program.sh coredns >/dev/null
  hack/scapy.sh >/dev/null
}

setup_tests() {
  command -v iptables >/dev/null || debian iptables
  hack/go-program.sh flannel >/dev/null
  hack/go-program.sh helm >/dev/null
}

setup_release() {
  local missing=() other=aarch64:arm64
  [ "$(uname -m)" != aarch64 ] || other=x86_64:amd64
  command -v jq >/dev/null || missing+=(jq)
  command -v "qemu-${other%:*}" >/dev/null || missing+=(qemu-user)
  [ -e "/usr/${other%:*}-linux-gnu/lib/libc.so.6" ] || missing+=("libc6-${other#*:}-cross")
  python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
  [ ${#missing[@]} -eq 0 ] || debian "${missing[@]}"
  hack/zigbuild.sh >/dev/null
  hack/libsystem.sh >/dev/null
  hack/go-program.sh helm >/dev/null
}

for part in "${@:-all}"; do
  case $part in
    build) setup_build ;;
    lab) setup_lab ;;
    tests) setup_tests ;;
    release) setup_release ;;
    all)
      setup_build
      setup_lab
      ;;
    echo-basic | envoy-gateway | gateway-conformance | helm) hack/go-program.sh "$part" >/dev/null ;;
    *) refuse "unknown part: $part" "hack/setup.sh [build|lab|tests|release|all]..." ;;
  esac
done
# Several gigabytes, of use only to the next program that is built of the same modules.
rm -rf "${XDG_CACHE_HOME:-$HOME/.cache}/landfall/go-build"
say "ready"
