#!/bin/sh
# Gives a grant and takes it back while a client asks; says how the client fared. (e2e/scenarios/gateway.yaml)
#   grant-under-traffic.sh NETNS ADDRESS
set -eu
grant=e2e/manifests/gateway/grant.yaml
log=$(mktemp)
# One line a connection: how curl ended, and when it had begun.
ip netns exec "$1" sh -c 'while :; do at=$(date +%s.%N); curl -sS -o /dev/null --max-time 1 "http://$1/" 2>/dev/null; echo "$? $at"; sleep 0.02; done' sh "$2" >"$log" &
traffic=$!
trap 'kill "$traffic"; rm -f "$log"' EXIT

# Waits until so many of the last lines, and no fewer, are of one kind.
until_all() { until [ "$(tail -n "$2" "$log" | grep -c "$1")" -ge "$2" ]; do sleep 0.05; done; }
until_all '^[1-9]' 3
kubectl apply -f "$grant" >/dev/null
given=$(date +%s.%N)
until_all '^0 ' 50
kubectl delete -f "$grant" >/dev/null
taken=$(date +%s.%N)
until_all '^[1-9]' 20
awk -v given="$given" -v taken="$taken" '
  $1 == 0 { if (!answers++) first = $2; last = $2; lost += failed; failed = 0; next }
  answers { failed++ }
  END { printf "%d answers, %d failures between the first and the last; the first %.2f s after the grant, the last %.2f s after its end\n", answers, lost, first - given, last - taken }
' "$log"
