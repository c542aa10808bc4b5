#!/usr/bin/env bash
# Builds mdBook, which makes the book of the documentation, once, into a cache outside the tree. The last line on stdout is
# its path; everything else goes to stderr. LANDFALL_MDBOOK=/path uses another one.
set -euo pipefail

version=0.5.4
target=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/mdbook-$version
say() { printf 'mdbook: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

if [[ -n ${LANDFALL_MDBOOK:-} ]]; then
  [[ -x $LANDFALL_MDBOOK ]] || refuse "LANDFALL_MDBOOK=$LANDFALL_MDBOOK is no program" "unset it, or name the executable of mdBook"
  echo "$LANDFALL_MDBOOK"
  exit 0
fi
if [[ ! -x $target/bin/mdbook ]]; then
  command -v cargo >/dev/null || refuse "cargo is missing" "install Rust by rustup, or set LANDFALL_MDBOOK"
  work=$(mktemp -d "${TMPDIR:-/tmp}/mdbook-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "building mdBook $version, once (about two minutes on two cores)"
  # A few dozen pages: what is built without optimisation is built sooner, and makes them in a second.
  (CARGO_TARGET_DIR=$work/target cargo install mdbook --version "$version" --locked --debug --quiet \
    --no-default-features --features search --root "$work") >&2 ||
    refuse "mdBook $version could not be built" "the lines above say why"
  mkdir -p "$target/bin"
  strip -o "$target/bin/.mdbook" "$work/bin/mdbook"
  mv "$target/bin/.mdbook" "$target/bin/mdbook"
  say "ready: $target/bin/mdbook"
fi
echo "$target/bin/mdbook"
