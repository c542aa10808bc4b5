module landfall.dev/e2e/gateway-api

go 1.26.0

// The definitions of the Gateway API that Landfall is tried with; hack/gateway-api.sh takes them out.
require sigs.k8s.io/gateway-api v1.6.3
