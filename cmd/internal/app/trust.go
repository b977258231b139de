package app

import (
	"sync/atomic"

	"github.com/stakeout-project/stakeout/detect"
	"github.com/stakeout-project/stakeout/ingest/stream"
	"github.com/stakeout-project/stakeout/triage"
)

// trusting is by which list of trusted sources what is told of agents is kept apart.
type trusting struct {
	version string
	trust   detect.Trust
}

// header says so beside a finding, to triage, which acts by itself only where its own
// policy is of the same list.
func (k *trusting) header() []stream.Header {
	if k == nil || k.version == "" {
		return nil
	}
	return []stream.Header{{Key: triage.TrustHeader, Value: []byte(k.version)}}
}

// keeping is what is in force; nil is nothing.
type keeping struct{ atomic.Pointer[trusting] }

// now returns it.
func (k *keeping) now() *trusting {
	if k == nil {
		return nil
	}
	return k.Load()
}

func (k *keeping) set(p triage.Policy) error {
	k.Store(&trusting{p.TrustVersion(), p.Trust()})
	return nil
}

// followTrust puts the list of the response policy in force and returns who looks whether it has
// changed; nil without a file. Detection does not end because of a policy that is wrong:
// then it keeps nothing apart, and triage sees that.
func (p *process) followTrust(k *keeping) (*reloader, error) {
	if p.cfg.Rules.Response == "" { // the shipped one trusts everybody
		return nil, nil
	}
	r, err := newReloader(p.cfg.Rules.Response, "detect", p.reg, p.log)
	if err != nil {
		return nil, err
	}
	r.set = k.set
	r.look()
	return r, nil
}
