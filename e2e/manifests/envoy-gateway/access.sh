#!/bin/sh
# What the access logs of Envoy Gateway's proxies say, each once. (e2e/scenarios/envoy-gateway.yaml)
#   access.sh         Gateway, route, client
#   access.sh PATH    of requests for a path: proxy, client
set -eu
client='.*"downstream_remote_address":"\[?(::ffff:)?([0-9a-f.:]+)\]?:[0-9]+"'
logs() { kubectl logs -n envoy-gateway-system -l "gateway.envoyproxy.io/owning-gateway-name=$1" -c envoy --prefix --tail=-1; }
for gateway in internet private; do
  if [ $# -eq 0 ]; then
    # Of datagrams it names no cluster, but the port that it listens on for 53.
    logs "$gateway" | sed -nE -e "s|$client.*\"upstream_cluster\":\"([^\"]*)\".*|$gateway \3 \2|p" \
      -e "s|.*\"downstream_local_address\":\"[^\"]*:10053\"$client.*|$gateway udp \2|p"
  else
    logs "$gateway" | sed -nE "s|^\[pod/([^/]+)/envoy\]$client.*\"x-envoy-origin-path\":\"$1\".*|\1 \3|p"
  fi
done | sort -u
