#!/bin/sh
# Asks by every kind of route but HTTP, and says who answered. (e2e/scenarios/envoy-gateway.yaml)
#   ask.sh ADDRESS
set -eu
case $1 in *:*) host="[$1]" ;; *) host=$1 ;; esac
text() { tr -cd '\n -~'; }
# An empty message of gRPC, by hand: a byte that says it is not compressed, and its length in four.
called=$(printf '\0\0\0\0\0' | curl -sS --max-time 5 --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' \
  --data-binary @- -D - "http://$host:8081/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/Echo" | text)
printf 'GRPCRoute: %s %s\n' "$(printf '%s\n' "$called" | grep -oE 'calls-[a-z0-9]+-[a-z0-9]+' | head -n 1)" \
  "$(printf '%s\n' "$called" | grep -o 'grpc-status: [0-9]*')"
# The certificate is the server's own: the proxies pass it on.
printf 'TLSRoute: %s\n' "$(curl -sS --max-time 5 --cacert target/envoy-gateway/secure.crt --connect-to "secure.example.org:443:$host:443" \
  https://secure.example.org/ | grep -oE 'secure-[a-z0-9]+-[a-z0-9]+' | head -n 1)"
printf 'TCPRoute: %s\n' "$(curl -sS --max-time 5 "http://$host:9000/")"
printf 'UDPRoute: %s\n' "$(timeout 5 bash -c "exec 3<>'/dev/udp/$1/53'; printf hello >&3; head -c 5 <&3")"
