#!/usr/bin/env bash
# Puts the programs of a build into images, by the Dockerfiles that users build with, and the images into a root
# directory of containerd, from which every node of a lab begins. Both live in a cache outside the tree; a program that
# did not change costs nothing. The last line on stdout is that directory; everything else goes to stderr.
#
#   hack/lab-images.sh DIR [PROGRAM...]    the directory with landfall-{controller,announcer,probe} and lab-echo; with
#                                          the images of these programs of hack/go-program.sh: flannel, echo-basic,
#                                          envoy-gateway
# LANDFALL_LAB_BASE=DIR                  also the controller and the announcer of another build, with the tag `base`
set -euo pipefail
built=$(realpath "${1:?usage: hack/lab-images.sh DIR [PROGRAM...]}")
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'images: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }
# shellcheck source=hack/buildah.sh
. hack/buildah.sh

# image → Dockerfile, target, program
images=(
  "docker.io/landfall/landfall-controller:0.1.0 Dockerfile controller landfall-controller"
  "docker.io/landfall/landfall-announcer:0.1.0 Dockerfile announcer landfall-announcer"
  "docker.io/landfall/landfall-probe:0.1.0 Dockerfile probe landfall-probe"
  "docker.io/landfall/lab-echo:0.1.0 e2e/images/Dockerfile lab-echo lab-echo"
  "docker.io/envoyproxy/envoy:v1.40.0 e2e/images/Dockerfile envoy envoy"
  "docker.io/coredns/coredns:v1.15.0 e2e/images/Dockerfile coredns coredns"
  "docker.io/landfall/lab-pause:0.1.0 e2e/images/Dockerfile pause pause"
)

for tool in buildah busybox containerd ctr strip; do
  command -v "$tool" >/dev/null || refuse "no $tool on the PATH" "hack/setup.sh lab"
done
for program in landfall-controller landfall-announcer landfall-probe lab-echo; do
  [[ -x $built/$program ]] || refuse "$built has no $program" "cargo build --workspace --bins"
done
declare -A others
others[envoy]=$(hack/envoy.sh)
others[coredns]=$(hack/go-program.sh coredns)
others[busybox]=$(command -v busybox)
# Recipes of images that not every lab has.
more=(/dev/null)
for program; do
  case $program in
  flannel) image="docker.io/landfall/lab-flannel:0.28.0 e2e/images/Dockerfile" ;;
  echo-basic)
    image="registry.k8s.io/gateway-api/echo-basic:v1.6.3 e2e/conformance/Dockerfile"
    more+=(e2e/conformance/Dockerfile)
    ;;
  envoy-gateway)
    image="docker.io/envoyproxy/gateway:v1.9.1 e2e/envoy-gateway/Dockerfile"
    more+=(e2e/envoy-gateway/Dockerfile)
    ;;
  *) refuse "the lab has no image of '$program'" "flannel, echo-basic, envoy-gateway" ;;
  esac
  others[$program]=$(hack/go-program.sh "$program")
  images+=("$image $program $program")
done
mkdir -p "$images_cache"/{programs,archives}
exec 9>"$images_cache/.lock"
flock 9

recipes=$(recipes)
sources=("$built"/{landfall-controller,landfall-announcer,landfall-probe,lab-echo} "${others[@]}")
base=${LANDFALL_LAB_BASE:-}
[[ -z $base ]] || sources+=("$base"/landfall-{controller,announcer})
key=$({ echo "$base $recipes"; cat "${more[@]}"; containerd --version; stat -c '%n %s %y %i' "${sources[@]}"; } | sha256sum | cut -c1-16)
target=$images_cache/nodes/$key
if [[ -d $target ]]; then
  touch "$target"
  echo "$target"
  exit 0
fi

start=$SECONDS
work=$(mktemp -d "$images_cache/.work-XXXXXX")
daemon=
cleanup() {
  if [[ -n $daemon ]]; then
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The same bytes keep their file, and with it their layer.
stage() {
  cmp -s "$1" "$images_cache/programs/$2" || install -m 0755 "$1" "$images_cache/programs/$2"
}
for program in landfall-controller landfall-announcer landfall-probe lab-echo; do
  # Symbols stay, for backtraces; line tables would be most of the image.
  strip --strip-debug -o "$work/$program" "$built/$program"
  stage "$work/$program" "$program"
done
for program in "${!others[@]}"; do
  stage "${others[$program]}" "$program"
done
# Kubernetes' own pause, from the module that the kubelet is built from.
pause=$(cd e2e/control-plane && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c
cc -Os -static -DVERSION=lab -o "$work/pause" "$pause"
stage "$work/pause" pause

archives=()
for image in "${images[@]}"; do
  read -r name file stage program <<<"$image"
  own=/dev/null
  [[ " ${more[*]} " != *" $file "* ]] || own=$file
  id=$({ echo "$recipes"; cat "$own" "$images_cache/programs/$program"; } | sha256sum | cut -c1-16)
  archive=$images_cache/archives/$program-$id.tar
  if [[ ! -e $archive ]]; then
    build_archive "$name" "$file" "$stage" "$images_cache/programs" "$work/image.tar"
    rm -f "$images_cache/archives/$program"-*.tar
    mv "$work/image.tar" "$archive"
  else
    touch "$archive"
  fi
  archives+=("$archive")
done

if [[ -n $base ]]; then
  mkdir -p "$images_cache/programs/base"
  for part in controller announcer; do
    strip --strip-debug -o "$work/base" "$base/landfall-$part"
    stage "$work/base" "base/landfall-$part"
    id=$({ echo "$recipes"; cat "$images_cache/programs/base/landfall-$part"; } | sha256sum | cut -c1-16)
    archive=$images_cache/archives/base-$part-$id.tar
    if [[ ! -e $archive ]]; then
      build_archive "docker.io/landfall/landfall-$part:base" Dockerfile "$part" "$images_cache/programs/base" "$work/image.tar"
      rm -f "$images_cache/archives/base-$part"-*.tar
      mv "$work/image.tar" "$archive"
    fi
    archives+=("$archive")
  done
fi

# A containerd of its own unpacks them, once; nodes share the unpacked files.
cat >"$work/config.toml" <<TOML
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$work/containerd.sock"
TOML
containerd --config "$work/config.toml" >"$work/containerd.log" 2>&1 &
daemon=$!
until ctr -a "$work/containerd.sock" version >/dev/null 2>&1; do
  kill -0 "$daemon" 2>/dev/null || {
    tail -n 20 "$work/containerd.log" >&2
    refuse "containerd ended at once" "see the lines above"
  }
  sleep 0.1
done
for archive in "${archives[@]}"; do
  ctr -a "$work/containerd.sock" -n k8s.io images import "$archive" >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    refuse "containerd could not import $archive" "see the lines above"
  }
done
kill "$daemon"
wait "$daemon" || true
daemon=
mkdir -p "$images_cache/nodes"
rm -rf "$target"
mv "$work/root" "$target"
# A lab that runs has links to the files it needs: what is not the newest may go.
find "$images_cache/nodes" -mindepth 1 -maxdepth 1 -printf '%T@ %p\0' | sort -zrn | tail -zn +4 | cut -zd' ' -f2- |
  xargs -0r rm -rf --
say "ready after $((SECONDS - start)) s: $target"
echo "$target"
