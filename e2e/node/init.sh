#!/bin/sh
# The first process of a node of the lab: mounts what a node has for itself, keeps containerd, the kubelet and
# kube-proxy running, as a service manager does, and then only buries the dead.
#
# NODE, its name; NODE_IPS; NODE_DIR, its disk; ASSETS, the programs of Kubernetes; KUBELET_CONFIG, PROXY_CONFIG, the
# kubeconfigs; POD_CIDRS, of the cluster; PROXY_MODE, of kube-proxy.
set -eu
hostname "$NODE"

mount -t proc proc /proc
# Of this network namespace.
mount -t sysfs sysfs /sys
if grep -q '^[0-9]*:[^:]' /proc/self/cgroup; then
  mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
  while IFS=: read -r _ controllers _; do
    [ -n "$controllers" ] || continue
    mkdir "/sys/fs/cgroup/${controllers#name=}"
    mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/${controllers#name=}"
  done </proc/self/cgroup
else
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
  done
fi
# A service manager shares these with containers; so does this one.
mount -t bpf bpf /sys/fs/bpf
mount --make-shared /sys/fs/bpf

# What is lost with the power, and what is not.
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/netns /run/containerd
mount -t tmpfs -o mode=755 var-lib /var/lib
for part in kubelet containerd cni; do
  mkdir -p "/var/lib/$part" "$NODE_DIR/$part"
  mount --bind "$NODE_DIR/$part" "/var/lib/$part"
done
mount --make-shared /var/lib/kubelet
mkdir -p "$NODE_DIR/log"
mount --bind "$NODE_DIR/log" /var/log

keep() {
  log=$1
  shift
  while :; do
    "$@" >>"$log" 2>&1 || true
    sleep 1
  done
}

# Of this boot alone, because it is read.
: >"$NODE_DIR/containerd.log"
keep "$NODE_DIR/containerd.log" containerd --config "$NODE_DIR/containerd.toml" &
# A kubelet that is first ends, and is started again a second later.
until grep -q 'successfully booted' "$NODE_DIR/containerd.log"; do sleep 0.05; done
keep "$NODE_DIR/kubelet.log" "$ASSETS/kubelet" --config "$NODE_DIR/kubelet.yaml" --kubeconfig "$KUBELET_CONFIG" \
  --hostname-override "$NODE" --node-ip "$NODE_IPS" &
keep "$NODE_DIR/kube-proxy.log" "$ASSETS/kube-proxy" --kubeconfig "$PROXY_CONFIG" --proxy-mode "$PROXY_MODE" \
  --hostname-override "$NODE" --cluster-cidr "$POD_CIDRS" --conntrack-max-per-core 0 &
exec catatonit -P
