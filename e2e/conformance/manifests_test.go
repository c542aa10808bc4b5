package conformance

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/gateway-api/conformance"
)

const (
	// What the lab builds: the echo server is of this module, the name server the lab's own.
	echoImage = "registry.k8s.io/gateway-api/echo-basic:v1.6.3"
	dnsImage  = "docker.io/coredns/coredns:v1.15.0"

	base = "base/manifests.yaml"
	// Its Gateway has an HTTP listener by intention.
	refusedListener = "tests/tcproute-invalid-non-tcp-listener.yaml"
	// What the suite itself calls a Gateway that nobody waits for.
	notAwaited = "gateway-api/skip-this-for-readiness"
)

var (
	echoName = regexp.MustCompile(`registry\.k8s\.io/gateway-api/echo-basic:\S+`)
	dnsName  = regexp.MustCompile(`registry\.k8s\.io/coredns/coredns:\S+`)
)

// The suite's manifests, with what layer 4 alone can serve:
//   - the four Gateways of the base have HTTP and HTTPS listeners, which Landfall refuses. All tests wait until every
//     Gateway of the namespace is programmed, so these are left out; no test of layer 4 uses them;
//   - images have the names of those that the lab builds;
//   - at layer 4, HTTP listeners are TCP listeners, and those with host names have a port each instead.
type manifests struct {
	fs.FS
	layer4 bool
}

type object = map[string]any

// ReadFile is what the suite reads manifests by.
func (m manifests) ReadFile(name string) ([]byte, error) {
	text, err := fs.ReadFile(m.FS, name)
	if err != nil {
		return nil, err
	}
	text = echoName.ReplaceAll(text, []byte(echoImage))
	text = dnsName.ReplaceAll(text, []byte(dnsImage))
	if name != base && !m.layer4 {
		return text, nil
	}
	ports := map[string]int{}
	var changed bytes.Buffer
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var object object
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if object["kind"] == "Gateway" && name == base {
			continue
		}
		switch {
		case object["kind"] == "Gateway" && name == refusedListener:
			object["metadata"].(map[string]any)["annotations"] = map[string]any{notAwaited: "true"}
		case m.layer4:
			tellApartByPort(object, ports)
		}
		written, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		changed.WriteString("---\n")
		changed.Write(written)
	}
	return changed.Bytes(), nil
}

// Makes HTTP listeners TCP listeners. Equal host names of one manifest become equal ports.
func tellApartByPort(object object, ports map[string]int) {
	spec, _ := object["spec"].(map[string]any)
	listeners, _ := spec["listeners"].([]any)
	for _, listener := range listeners {
		listener := listener.(map[string]any)
		if listener["protocol"] != "HTTP" {
			continue
		}
		listener["protocol"] = "TCP"
		if host, named := listener["hostname"].(string); named {
			if _, known := ports[host]; !known {
				ports[host] = 9800 + len(ports)
			}
			listener["port"] = ports[host]
			delete(listener, "hostname")
		}
	}
}

func TestGatewaysOfLayer7AreLeftOutOfTheBaseAndNothingElse(t *testing.T) {
	before, err := fs.ReadFile(&conformance.Manifests, base)
	require.NoError(t, err)
	after, err := manifests{FS: &conformance.Manifests}.ReadFile(base)
	require.NoError(t, err)
	kinds := func(text []byte) map[string]int {
		counts := map[string]int{}
		for _, kind := range regexp.MustCompile(`(?m)^kind: (\S+)`).FindAllSubmatch(text, -1) {
			counts[string(kind[1])]++
		}
		return counts
	}
	wanted := kinds(before)
	require.Positive(t, wanted["Gateway"])
	delete(wanted, "Gateway")
	require.Equal(t, wanted, kinds(after))
	require.NotContains(t, strings.ReplaceAll(string(after), echoImage, ""), "registry.k8s.io")
}

func TestAtLayer4ListenersOfOneHostNameHaveOnePort(t *testing.T) {
	text, err := manifests{FS: &conformance.Manifests, layer4: true}.ReadFile("tests/listenerset-hostname-conflict.yaml")
	require.NoError(t, err)
	require.NotContains(t, string(text), "HTTP")
	require.NotContains(t, string(text), "hostname:")
	ports := map[string]bool{}
	for _, port := range regexp.MustCompile(`port: (\d+)`).FindAllStringSubmatch(string(text), -1) {
		ports[port[1]] = true
	}
	require.Len(t, ports, 5)
}
