#!/bin/sh
# What the access logs of Envoy Gateway's proxies say, each once: Gateway, route, client. (e2e/scenarios/envoy-gateway.yaml)
set -eu
for gateway in internet private; do
  kubectl logs -n envoy-gateway-system -l "gateway.envoyproxy.io/owning-gateway-name=$gateway" -c envoy --tail=-1 |
    sed -nE "s/.*\"downstream_remote_address\":\"\[?(::ffff:)?([0-9a-f.:]+)\]?:[0-9]+\".*\"upstream_cluster\":\"([^\"]*)\".*/$gateway \3 \2/p" | sort -u
done
