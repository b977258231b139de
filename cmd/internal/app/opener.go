//go:build !chaosbroken

package app

import "github.com/stakeout-project/stakeout/ingest/stream"

// opener is what the detect role opens its partitions with.
func opener(open stream.Opener) stream.Opener { return open }
