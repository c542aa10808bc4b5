#!/bin/sh
# Starts a node of the lab, from the node's network namespace: takes a place in the machine's cgroups, then namespaces
# of its own for mounts, processes, names and cgroups, and runs init.sh as the first process in them. When this process
# is killed that one is, and with it everything on the node.
#
#   NODE_CGROUP=landfall-lab/ID/NODE start.sh     (and the variables of init.sh)
set -eu
here=$(dirname "$0")

# Makes a cgroup, level by level.
make() {
  hierarchy=$1
  path=$hierarchy
  for level in $(echo "$NODE_CGROUP" | tr / ' '); do
    parent=$path
    path=$path/$level
    [ -d "$path" ] || mkdir "$path" 2>/dev/null || [ -d "$path" ]
    # The first version gives a new cpuset nothing to run on; the second asks that controllers are handed down.
    for file in cpuset.cpus cpuset.mems; do
      if [ -e "$path/$file" ] && [ ! -e "$path/cgroup.controllers" ]; then cat "$parent/$file" >"$path/$file"; fi
    done
    if [ -e "$parent/cgroup.subtree_control" ]; then
      for controller in $(cat "$parent/cgroup.controllers"); do
        echo "+$controller" >"$parent/cgroup.subtree_control" 2>/dev/null || true
      done
    fi
    # A lab is many machines, and a node as good as alone on its own: beside the rest of this machine it counts for more
    # than one process.
    [ ! -e "$path/cpu.shares" ] || echo 16384 >"$path/cpu.shares"
    [ ! -e "$path/cpu.weight" ] || echo 625 >"$path/cpu.weight"
  done
}

leaf=
while IFS=: read -r _ controllers _; do
  if [ -n "$controllers" ]; then
    make "/sys/fs/cgroup/${controllers#name=}"
    echo $$ >"/sys/fs/cgroup/${controllers#name=}/$NODE_CGROUP/cgroup.procs"
  elif [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    make /sys/fs/cgroup
    echo $$ >"/sys/fs/cgroup/$NODE_CGROUP/cgroup.procs"
    # Of the second version: only what has no processes of its own can hand controllers down, so they go to a leaf.
    leaf=/sys/fs/cgroup/$NODE_CGROUP/init
    mkdir -p "$leaf"
  fi
done </proc/self/cgroup

# What this process is in now is the root of what the node sees. Mounts of the machine that end end on the node too;
# those of the node are its own.
# shellcheck disable=SC2016
exec unshare --cgroup -- sh -c '[ -z "$1" ] || echo $$ >"$1/cgroup.procs"
exec unshare --mount --pid --uts --ipc --fork --kill-child --propagation slave -- sh "$2/init.sh"' start "$leaf" "$here"
