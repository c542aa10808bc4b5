#!/bin/sh
# How many TCP segments this machine has sent again since the last call, by its kernel's count: what the network lost of
# its questions, whatever the proxies did with them. (e2e/scenarios/envoy-gateway.yaml)
set -eu
before=target/envoy-gateway/sent-again
now=$(awk '$1 == "Tcp:" && !column { for (i = 2; i <= NF; i++) if ($i == "RetransSegs") column = i; next }
  $1 == "Tcp:" { print $column }' /proc/net/snmp)
echo "sent again: $((now - $(cat "$before" 2>/dev/null || echo "$now"))), $now in all"
echo "$now" > "$before"
