package stream

import (
	"context"

	"github.com/segmentio/kafka-go"
)

// compareSettings logs where topics that are there have other settings than those
// they would have been made with: a broker that makes topics by itself gives them
// its own, and nothing else tells that the shippers' clocks are believed, that
// baselines are deleted after a week, or that a new retention has no effect.
//
// Whoever may not read the settings goes on without.
func (c *Client) compareSettings(ctx context.Context, topics []Topic) {
	var req kafka.DescribeConfigsRequest
	want := map[string]map[string]string{}
	for _, t := range topics {
		if len(t.Settings) == 0 {
			continue
		}
		r := kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: t.Name}
		for name := range t.Settings {
			r.ConfigNames = append(r.ConfigNames, name)
		}
		req.Resources = append(req.Resources, r)
		want[t.Name] = t.Settings
	}
	if len(want) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	res, err := c.kafka.DescribeConfigs(ctx, &req)
	if err != nil {
		c.log.Debug("settings of topics cannot be read", "err", err)
		return
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			c.log.Debug("settings of a topic cannot be read", "topic", r.ResourceName, "err", r.Error)
			continue
		}
		for _, e := range r.ConfigEntries {
			if v, ok := want[r.ResourceName][e.ConfigName]; ok && v != e.ConfigValue {
				c.log.Warn("topic has another setting than configured, and keeps it", "topic", r.ResourceName, "setting", e.ConfigName, "is", e.ConfigValue, "configured", v)
			}
		}
	}
}
