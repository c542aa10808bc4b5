// Package conformance runs the Gateway API's own suite against Landfall: the profiles and features of layer 4, from where
// a client stands. It is no suite of ours: what holds is decided by the module sigs.k8s.io/gateway-api/conformance alone.
//
// What that suite asks of layer 7 is left out aloud: [manifests] says what is changed in its manifests, tests.yaml which
// tests are not run, and why; both are printed with the outcome, and an entry that has become wrong is a failure.
package conformance

import (
	_ "embed"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/consts"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// The tests that are not run as they are.
type exceptions struct {
	// Name → why it is not run.
	Skipped map[string]string `json:"skipped"`
	// Name → why it can be run where TCP takes the place of HTTP, in a run that no report tells of.
	AtLayer4 map[string]string `json:"atLayer4"`
}

var (
	//go:embed tests.yaml
	exceptionsFile []byte
	//go:embed go.mod
	moduleFile string
)

// TestConformance is the suite as implementations report it.
func TestConformance(t *testing.T) {
	options := options(t)
	listed := listed(t)
	options.SkipTests = slices.Concat(slices.Collect(maps.Keys(listed.Skipped)), slices.Collect(maps.Keys(listed.AtLayer4)))
	options.ManifestFS = []fs.FS{manifests{FS: &conformance.Manifests}}
	run(t, options, tests.ConformanceTests, &outcomes{title: "the suite", why: func(name string) string {
		if why, atLayer4 := listed.AtLayer4[name]; atLayer4 {
			return why + " (in the other run, with TCP)"
		}
		return listed.Skipped[name]
	}})
}

// TestAtLayer4 are the tests whose subject is not HTTP, and whose listeners are: here those are TCP listeners, told apart
// by port instead of by host name. They are the suite's own, with all that they ask.
func TestAtLayer4(t *testing.T) {
	options := options(t)
	options.ReportOutputPath = ""
	options.ManifestFS = []fs.FS{manifests{FS: &conformance.Manifests, layer4: true}}
	listed := listed(t)
	chosen := slices.DeleteFunc(slices.Clone(tests.ConformanceTests), func(test suite.ConformanceTest) bool {
		_, atLayer4 := listed.AtLayer4[test.ShortName]
		return !atLayer4
	})
	run(t, options, chosen, &outcomes{title: "with TCP in place of HTTP"})
}

// The definitions in the cluster are of the release of the suite.
func TestDefinitions(t *testing.T) {
	pinned := regexp.MustCompile(`sigs\.k8s\.io/gateway-api/conformance (v\S+)`).FindStringSubmatch(moduleFile)
	require.Len(t, pinned, 2, "go.mod names no release of the suite")
	var definition apiextensionsv1.CustomResourceDefinition
	key := client.ObjectKey{Name: "gateways.gateway.networking.k8s.io"}
	require.NoError(t, options(t).Client.Get(t.Context(), key, &definition))
	require.Equal(t, pinned[1], definition.Annotations[consts.BundleVersionAnnotation],
		"e2e/gateway-api and e2e/conformance pin different releases")
}

func options(t *testing.T) suite.ConformanceOptions {
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("KUBECONFIG names no cluster: make conformance")
	}
	return conformance.DefaultOptions(t)
}

// The exceptions, none of which may be about a test that is not there, or not asked of us anyway.
func listed(t *testing.T) exceptions {
	var listed exceptions
	require.NoError(t, yaml.UnmarshalStrict(exceptionsFile, &listed))
	for name := range maps.Keys(listed.Skipped) {
		require.NotContains(t, listed.AtLayer4, name, "tests.yaml has %s twice", name)
	}
	for _, names := range []map[string]string{listed.Skipped, listed.AtLayer4} {
		for name := range names {
			index := slices.IndexFunc(tests.ConformanceTests, func(test suite.ConformanceTest) bool { return test.ShortName == name })
			require.GreaterOrEqual(t, index, 0, "tests.yaml has %s, which the suite has not", name)
			require.NotContains(t, tests.ConformanceTests[index].Features, features.SupportHTTPRoute,
				"tests.yaml has %s, which no profile of layer 4 asks for", name)
		}
	}
	return listed
}

func run(t *testing.T, options suite.ConformanceOptions, chosen []suite.ConformanceTest, outcomes *outcomes) {
	options.Hook = outcomes.note
	// The cluster is the lab's, and the second run has the same base.
	options.CleanupBaseResources = false
	running, err := suite.NewConformanceTestSuite(options)
	require.NoError(t, err)
	// After all that the suite registers, so after the last of its tests that run at the same time.
	t.Cleanup(func() {
		outcomes.print(running.SupportedFeatures)
		if options.ReportOutputPath != "" {
			report, err := running.Report()
			require.NoError(t, err)
			text, err := yaml.Marshal(report)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(options.ReportOutputPath, text, 0o644))
		}
	})
	running.Setup(t, chosen)
	require.NoError(t, running.Run(t, chosen))
}
