package conformance

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// What became of the tests.
type outcomes struct {
	title string
	// Why a test is not run.
	why func(name string) string

	lock    sync.Mutex
	passed  []string
	failed  []string
	skipped []suite.ConformanceTest
}

func (o *outcomes) note(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
	o.lock.Lock()
	defer o.lock.Unlock()
	switch {
	case t.Failed():
		o.failed = append(o.failed, test.ShortName)
	case t.Skipped():
		o.skipped = append(o.skipped, test)
	default:
		o.passed = append(o.passed, test.ShortName)
	}
}

// One line a test, and one for each feature that is not claimed.
func (o *outcomes) print(claimed suite.FeaturesSet) {
	o.lock.Lock()
	defer o.lock.Unlock()
	say := func(format string, args ...any) { fmt.Printf("conformance: "+format+"\n", args...) }
	say("%s: %d passed, %d failed", o.title, len(o.passed), len(o.failed))
	for _, name := range slices.Sorted(slices.Values(o.passed)) {
		say("  passed   %s", name)
	}
	for _, name := range slices.Sorted(slices.Values(o.failed)) {
		say("  FAILED   %s", name)
	}
	unclaimed := map[string]int{}
	skipped := map[string]string{}
	for _, test := range o.skipped {
		lacks := slices.IndexFunc(test.Features, func(name features.FeatureName) bool { return !claimed.Has(name) })
		switch {
		case lacks >= 0:
			unclaimed[string(test.Features[lacks])]++
		case o.why != nil:
			skipped[test.ShortName] = o.why(test.ShortName)
		default:
			skipped[test.ShortName] = "by the suite itself"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(skipped)) {
		say("  skipped  %s: %s", name, skipped[name])
	}
	for _, name := range slices.Sorted(maps.Keys(unclaimed)) {
		say("  %d tests of %s, which is not claimed", unclaimed[name], name)
	}
}
