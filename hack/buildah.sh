# Sourced by what builds images without a daemon: `builder`, buildah with a store of its own in the cache, and
# `builder_base`, which makes sure of the Debian image that the Dockerfiles begin with.
# shellcheck shell=bash
images_cache=${XDG_CACHE_HOME:-$HOME/.cache}/landfall/images
# A chroot is enough for what the Dockerfiles run, and asks nothing of the machine.
export BUILDAH_ISOLATION=chroot
readonly DEBIAN=docker.io/library/debian:bookworm-slim
readonly ROOT=localhost/landfall/root

# The store. Overlay layers where the cache's file system can carry them; copies where it cannot.
builder() {
  buildah --root "$images_cache/store" --runroot "$images_cache/run" --storage-driver "$(builder_driver)" "$@"
}

builder_driver() {
  local file=$images_cache/driver
  if [[ ! -s $file ]]; then
    mkdir -p "$images_cache/probe"/{lower,upper,work,merged}
    if mount -t overlay overlay -o "lowerdir=$images_cache/probe/lower,upperdir=$images_cache/probe/upper,workdir=$images_cache/probe/work" \
      "$images_cache/probe/merged" 2>/dev/null; then
      umount "$images_cache/probe/merged"
      echo overlay >"$file"
    else
      echo vfs >"$file"
    fi
    rm -rf "$images_cache/probe"
  fi
  cat "$file"
}

# The image that `FROM debian:…` names: pulled where that is possible, otherwise made of Debian's packages by
# debootstrap, which is what that image is.
builder_base() {
  local image=$1 release=$2 log work
  [[ -z $(builder images -q "$image" 2>/dev/null) ]] || return 0
  if timeout 60 buildah --root "$images_cache/store" --runroot "$images_cache/run" --storage-driver "$(builder_driver)" \
    pull --quiet "$image" >/dev/null 2>&1; then return 0; fi
  command -v debootstrap >/dev/null ||
    refuse "$image cannot be pulled here, and there is no debootstrap to make the like of it" "apt-get install debootstrap"
  say "$image cannot be pulled here; making the like of it from Debian's packages, once"
  work=$(mktemp -d "$images_cache/.base-XXXXXX")
  log=$work/log
  if ! debootstrap --variant=minbase "$release" "$work/root" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -rf "$work"
    refuse "debootstrap could not make a base of $release" "see the lines above"
  fi
  # The machine's own sources of packages: what it can reach, the build can.
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
  tar -C "$work/root" --exclude=./dev --exclude=./proc --exclude=./sys -cf "$work/root.tar" .
  printf 'FROM scratch\nADD root.tar /\n' >"$work/Dockerfile"
  builder bud --quiet --pull-never -t "$image" "$work" >/dev/null
  rm -rf "$work"
}

# What an image is made from, as a name for what comes out: the recipes and the program.
recipes() { cat Dockerfile e2e/images/Dockerfile hack/image-root.sh hack/buildah.sh | sha256sum | cut -c1-16; }

# Builds one image of the programs in a directory and writes it to a file, as docker and containerd load it.
#   build_archive NAME DOCKERFILE TARGET PROGRAMS FILE [FLAG...]
# What is in `labels`, arguments of buildah, is put on last: a layer is found again by its recipe's text, and has the values
# of the labels of another time.
labels=()
build_archive() {
  local name=$1 file=$2 stage=$3 programs=$4 archive=$5 log
  shift 5
  log=$archive.log
  say "building $name"
  builder_base "$DEBIAN" bookworm
  rm -f "$archive"
  {
    builder bud --layers --pull-never --target root -t "$ROOT" "$@" -f Dockerfile . &&
      builder bud --layers --pull-never --target "$stage" --build-arg "ROOT=$ROOT" -t "$name" "$@" -f "$file" \
        --build-context "programs=$programs" --build-context "binaries=$programs" . &&
      { [[ ${#labels[@]} -eq 0 ]] || builder bud --pull-never "${labels[@]}" -t "$name" -f - . <<<"FROM $name"; } &&
      builder push "$name" "docker-archive:$archive:$name"
  } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    refuse "$name could not be built" "see the lines above"
  }
  rm -f "$log"
}
