#!/bin/sh
# Adds a listener to a Gateway, on port 8080, for the routes that name none. (e2e/scenarios/envoy-gateway.yaml)
#   listener.sh GATEWAY
set -eu
kubectl patch gateway -n shop "$1" --type=json \
  -p '[{"op": "add", "path": "/spec/listeners/-", "value": {"name": "more", "port": 8080, "protocol": "HTTP"}}]'
kubectl patch httproute -n shop web --type=json \
  -p "[{\"op\": \"add\", \"path\": \"/spec/parentRefs/-\", \"value\": {\"name\": \"$1\", \"sectionName\": \"more\"}}]"
