#!/usr/bin/env bash
# Runs scenarios of the lab in a kind cluster: the same scenarios, manifests and images, and nodes that are Docker's
# containers. Needs root (it enters the containers' namespaces), Docker with the internet, and kind; KEEP=1 leaves the
# cluster up. A scenario that takes a node's power comes last, because nobody gives it back.
#
#   hack/kind.sh [SCENARIO…]      e2e/scenarios/{connections,rolling-update,planned-moves,demo}.yaml
#   hack/kind.sh --config DIR     print the configuration of the cluster whose logs go below DIR, and do nothing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'kind: %s\n' "$*" >&2; }
refuse() { say "$1"; say "remedy: $2"; exit 1; }

readonly CLUSTER=landfall-e2e NETWORK=landfall-e2e CLIENT=landfall-e2e-client-1

# Nodes are called as the lab's are, so that scenarios find them. The control plane's announces nothing: kubeadm excludes
# it from load balancers. Workers see the source tree where it is, and keep the logs of their Pods where the lab looks.
configuration() {
  jq -n --arg name "$CLUSTER" --arg tree "$PWD" --arg dir "$1" '{
    kind: "Cluster", apiVersion: "kind.x-k8s.io/v1alpha4", name: $name, networking: {ipFamily: "dual"},
    nodes: ([{role: "control-plane"}] + [range(1; 4) | "node-\(.)" | {
      role: "worker",
      kubeadmConfigPatches: ["kind: JoinConfiguration\nnodeRegistration:\n  name: \(.)\n"],
      extraMounts: [
        {hostPath: $tree, containerPath: $tree, readOnly: true},
        {hostPath: "\($dir)/nodes/\(.)/log/pods", containerPath: "/var/log/pods"}]}])}'
}
if [[ ${1:-} = --config ]]; then
  configuration "${2:?--config needs a directory}"
  exit 0
fi

scenarios=("$@")
[[ $# -gt 0 ]] || scenarios=(e2e/scenarios/{connections,rolling-update,planned-moves,demo}.yaml)

[[ $(id -u) = 0 ]] || refuse "the scenarios enter the network namespaces of nodes" "sudo -E make e2e-kind"
for tool in docker:https://docs.docker.com/engine/install kind:https://kind.sigs.k8s.io kubectl:https://kubernetes.io/docs/tasks/tools jq:jq \
  busybox:busybox-static arping:iputils-arping ndisc6:ndisc6 curl:curl nsenter:util-linux; do
  command -v "${tool%%:*}" >/dev/null || refuse "no ${tool%%:*} on the PATH" "install ${tool#*:}"
done
timeout 10 docker info >/dev/null 2>&1 || refuse "Docker does not answer" "start it: systemctl start docker"
for program in lab lab-echo; do
  [[ -x target/debug/$program ]] || refuse "target/debug has no $program" "cargo build --workspace --bins"
done

for taken in "$(kind get clusters 2>/dev/null | grep -x "$CLUSTER")" "$(docker ps -aqf "name=^$CLIENT\$")" \
  "$(docker network ls -qf "name=^$NETWORK\$")"; do
  [[ -z $taken ]] || refuse "a cluster $CLUSTER, or something of it, is there already" \
    "kind delete cluster --name $CLUSTER; docker rm -f $CLIENT; docker network rm $NETWORK"
done

work=$(mktemp -d)
up=
cleanup() {
  if [[ -n ${KEEP:-} && -n $up ]]; then
    say "left up: KUBECONFIG=$work/control-plane/identities/admin.kubeconfig"
    return
  fi
  kind delete cluster --name "$CLUSTER" >&2 || true
  docker rm -f "$CLIENT" >/dev/null 2>&1 || true
  docker network rm "$NETWORK" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "images"
hack/images.sh --with docker
mkdir "$work/programs"
strip --strip-debug -o "$work/programs/lab-echo" target/debug/lab-echo
cp "$(command -v busybox)" "$work/programs/busybox"
docker build --quiet --target root -t landfall-root . >&2
docker build --quiet --target lab-echo --build-arg ROOT=landfall-root --build-context "programs=$work/programs" \
  -t docker.io/landfall/lab-echo:0.1.0 -f e2e/images/Dockerfile . >&2

say "a segment with the lab's addresses: nodes and clients at its beginning, and none above .63"
docker network create --driver bridge --subnet 192.0.2.0/24 --ip-range 192.0.2.0/26 --gateway 192.0.2.1 \
  --ipv6 --subnet 2001:db8::/64 --opt com.docker.network.bridge.enable_ip_masquerade=true "$NETWORK" >&2

say "a cluster"
mkdir -p "$work"/nodes/node-{1,2,3}/log/pods "$work/control-plane/identities"
configuration "$work" >"$work/cluster.json"
KIND_EXPERIMENTAL_DOCKER_NETWORK=$NETWORK kind create cluster --config "$work/cluster.json" --wait 120s \
  --kubeconfig "$work/control-plane/identities/admin.kubeconfig" >&2
kind load docker-image --name "$CLUSTER" docker.io/landfall/{landfall-controller,landfall-announcer,landfall-probe,lab-echo}:0.1.0 >&2
# A client needs nothing of its own but a network: its programs are this machine's.
docker run --detach --name "$CLIENT" --network "$NETWORK" --cap-add NET_ADMIN --entrypoint sleep \
  "$(docker inspect --format '{{.Config.Image}}' "$CLUSTER-control-plane")" infinity >/dev/null

# A machine as the lab's plan has it. The host's end of its cable gets the name that scenarios pull it by.
machine() {
  local name=$1 container=$2 pid port
  pid=$(docker inspect --format '{{.State.Pid}}' "$container")
  port=$(ip -j link | jq -r --argjson at "$(nsenter --net="/proc/$pid/ns/net" ip -j link show eth0 | jq '.[0].link_index')" \
    '.[] | select(.ifindex == $at) | .ifname')
  ip link property add dev "$port" altname "d-$name"
  docker inspect "$container" | jq --arg name "$name" --arg network "$NETWORK" '.[0] |
    .NetworkSettings.Networks[$network] as $at | {
      name: $name, netns: "/proc/\(.State.Pid)/ns/net", init: .State.Pid,
      ipv4: $at.IPAddress, ipv6: $at.GlobalIPv6Address, mac: $at.MacAddress, mgmt: null}'
}
{
  machine node-1 "$CLUSTER-worker"
  machine node-2 "$CLUSTER-worker2"
  machine node-3 "$CLUSTER-worker3"
} | jq -s . >"$work/nodes.json"
machine client-1 "$CLIENT" | jq -s '[.[] | del(.init)]' >"$work/clients.json"
jq -n --arg dir "$work" --slurpfile nodes "$work/nodes.json" --slurpfile clients "$work/clients.json" '{
  id: "kind", dir: $dir, hub: "/proc/self/ns/net", nodes: $nodes[0], clients: $clients[0], assets: $dir, forwarded: null
}' >"$work/plan.json"
up=yes

target/debug/lab run --in "$work/plan.json" "${scenarios[@]}"
