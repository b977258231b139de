package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/stakeout-project/stakeout/triage/command"
)

// OCSFConfig says where findings go for a SIEM: to a file, to syslog, or both.
type OCSFConfig struct {
	Path    string        `koanf:"path"`    // file that grows by one JSON line per notice; empty: none
	Syslog  string        `koanf:"syslog"`  // tcp://host:port of a collector on this machine, or tls://host:port; empty: none
	CAFile  string        `koanf:"ca_file"` // PEM of the authorities that vouch for the collector; empty: the system's
	Timeout time.Duration `koanf:"timeout"` // of one message to the collector
}

// DefaultOCSFConfig lacks the places.
func DefaultOCSFConfig() OCSFConfig { return OCSFConfig{Timeout: 10 * time.Second} }

// Validate lists everything wrong with c.
func (c OCSFConfig) Validate() error {
	var errs []error
	if c.Path == "" && c.Syslog == "" {
		errs = append(errs, errors.New("path: is empty, and so is syslog, want one of them"))
	}
	if c.Syslog != "" {
		_, err := parseSyslog(c.Syslog)
		errs = append(errs, err)
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("timeout: is %s, want 1ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// OCSF tells a SIEM, by Detection Findings of OCSF 1.8.0 with the observation
// against the baseline as an anomaly analysis. A notice that comes again after a
// crash bears the same uid.
type OCSF struct {
	path   string
	mu     sync.Mutex // of the file
	syslog *syslog    // nil: none
}

// NewOCSF makes the actor, and the file where there is none.
func NewOCSF(c OCSFConfig) (*OCSF, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	o := &OCSF{path: c.Path}
	if c.Syslog != "" {
		var err error
		if o.syslog, err = newSyslog(c); err != nil {
			return nil, err
		}
	}
	if c.Path != "" {
		if err := o.append(nil); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	}
	return o, nil
}

// Kind implements [Actor].
func (o *OCSF) Kind() command.Kind { return command.Notify }

// Do implements [Actor].
func (o *OCSF) Do(ctx context.Context, a command.Action) (command.Status, string) {
	line, err := json.Marshal(detectionFinding(a))
	if err != nil {
		return command.Failed, err.Error()
	}
	status, detail := command.Verified, ""
	if o.path != "" {
		if err := o.append(append(line, '\n')); err != nil {
			return command.Failed, "file: " + err.Error()
		}
		detail = "written to the file"
	}
	if o.syslog != nil {
		var said string
		if status, said = o.syslog.send(ctx, a, line); detail != "" {
			said = detail + "; " + said
		}
		detail = said
	}
	return status, detail
}

// append adds to the file and returns when the disk has it. The file is opened
// anew each time, so that it can be rotated by being renamed.
func (o *OCSF) append(line []byte) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, err := os.OpenFile(o.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(line); err != nil {
		return err
	}
	return f.Sync()
}

type object = map[string]any

// detectionFinding is class 2004 of OCSF. Fields that 1.8.0 has no place for are under unmapped.
func detectionFinding(a command.Action) object {
	severity := a.Severity
	if severity < 1 || severity > 6 {
		severity = 0
	}
	info := object{"uid": a.ID, "title": a.Reason, "related_events_count": len(a.Findings)}
	o := object{
		"activity_id": 1, "category_uid": 2, "class_uid": 2004, "type_uid": 200401, "severity_id": severity,
		"time": a.Decided.Time().UnixMilli(), "start_time": a.Occurred.Time().UnixMilli(), "status_id": 1, "is_alert": true, "message": a.Reason,
		"metadata":  object{"version": "1.8.0", "uid": a.ID, "correlation_uid": a.Incident, "product": object{"name": "Stakeout", "vendor_name": "Stakeout"}},
		"resources": []object{{"uid": a.Target.Agent, "type": "AI Agent"}}, "finding_info": info,
		"unmapped": object{"incident": a.Incident, "session": a.Target.Session, "credential": a.Target.Credential, "policy": a.Policy, "findings": a.Findings},
	}
	c := a.Claim
	if c == nil {
		return o
	}
	info["uid"], info["analytic"] = c.Finding, object{"name": c.Detector, "type_id": 3, "type": "Statistical"}
	info["first_seen_time"] = c.Time.Time().UnixMilli()
	o["end_time"] = c.Time.Time().UnixMilli()
	if c.Tenant != "" {
		o["metadata"].(object)["tenant_uid"] = c.Tenant
	}
	baseline := []object{{"value": c.Baseline}}
	for _, n := range c.Nearest {
		baseline = append(baseline, object{"value": n})
	}
	o["anomaly_analyses"] = []object{{
		"analysis_targets": []object{{"name": a.Target.Agent, "type": "AI Agent"}},
		"anomalies":        []object{{"observation_parameter": c.Threat, "observation_type": c.Detector, "observed_pattern": fmt.Sprintf("p-value %.3g", c.PValue), "observations": []object{{"value": c.Observed}}}},
		"baselines":        []object{{"observation_parameter": c.Threat, "observation_type": c.Detector, "observations": baseline}},
	}}
	var attacks []object
	for _, id := range c.ATLAS {
		attacks = append(attacks, object{"technique": object{"uid": id}, "version": "ATLAS 5.6.1"})
	}
	if attacks != nil {
		info["attacks"] = attacks
	}
	o["unmapped"].(object)["asi"] = c.ASI
	if c.Normal != "" {
		o["unmapped"].(object)["normal"] = c.Normal
	}
	return o
}
