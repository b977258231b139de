// Package dashboards is what Grafana shows of Stakeout: dashboards, alert rules
// and how they are provisioned.
package dashboards

import "embed"

// Files holds the dashboards, and below provisioning what Grafana reads from its
// directory of that name.
//
//go:embed *.json provisioning
var Files embed.FS
