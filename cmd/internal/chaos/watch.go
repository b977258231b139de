package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// get asks a role for a page of its health server.
func (p *process) get(ctx context.Context, page string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.health+page, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), errors.Join(err, res.Body.Close())
}

// processing is in what a role says of a partition that it reads and cannot process.
const processing = ": process "

// red lists the parts that a role says it lacks; none is green.
func (p *process) red(ctx context.Context) (parts []string, err error) {
	status, body, err := p.get(ctx, "/readyz")
	if err != nil {
		return nil, err
	}
	var all map[string]string
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		return nil, fmt.Errorf("%s says %q: %w", p, body, err)
	}
	for part, state := range all {
		// A role that cannot process what it reads says so where it reads it.
		if state != "ok" && !strings.Contains(state, processing) {
			parts = append(parts, part)
		}
	}
	if status == http.StatusOK && len(parts) > 0 {
		return nil, fmt.Errorf("%s answers %d and %s", p, status, body)
	}
	slices.Sort(parts)
	return parts, nil
}

// metric is the sum of a metric over the series that hold a label.
func (p *process) metric(ctx context.Context, name, label string) (sum float64, err error) {
	_, body, err := p.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		metric, labels, _ := strings.Cut(series, "{")
		if !ok || metric != name || !strings.Contains(labels, label) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: metric %s: %w", p, series, err)
		}
		sum += v
	}
	return sum, nil
}
