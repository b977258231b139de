package main_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sql asks ClickHouse over plain HTTP and returns the answer, one row a line.
func (p *pipeline) sql(query string) (string, error) {
	return ask(p.running.ClickHouse, p.running.User, p.running.PasswordFile, query)
}

func ask(server, user, passwordFile, query string) (string, error) {
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequest(http.MethodGet, server+"/?query="+url.QueryEscape(query), nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(user, strings.TrimSpace(string(password)))
	status, body, err := do(req)
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", fmt.Errorf("clickhouse answers %d: %s", status, body)
	}
	return strings.TrimSuffix(body, "\n"), nil
}

func do(req *http.Request) (int, string, error) {
	client := http.Client{Timeout: 20 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), errors.Join(err, res.Body.Close())
}

// rows is sql for what has to be answered.
func (p *pipeline) rows(query string) []string {
	p.t.Helper()
	out, err := p.sql(query)
	check(p.t, err)
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// number is sql for one number.
func (p *pipeline) number(query string) int {
	p.t.Helper()
	n, err := p.count(query)
	check(p.t, err)
	return n
}

func (p *pipeline) count(query string) (int, error) {
	out, err := p.sql(query)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

const (
	countEvents    = "SELECT count() FROM stakeout.events FINAL"
	distinctEvents = "SELECT uniqExact(agent, id) FROM stakeout.events"
)

// stored waits until so many events are stored, and no more than that.
func (p *pipeline) stored(want int) {
	p.t.Helper()
	start := time.Now()
	eventually(p.t, time.Minute, func() error {
		n, err := p.count(countEvents)
		if err == nil && n != want {
			err = fmt.Errorf("%d events are stored, want %d", n, want)
		}
		return err
	})
	p.t.Logf("%d events stored %s after they were shipped", want, time.Since(start).Round(time.Millisecond))
	if n := p.number(distinctEvents); n != want {
		p.t.Errorf("%d different events are stored, want %d", n, want)
	}
}

// get asks for a page of the health server.
func (p *pipeline) get(page string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodGet, p.health+page, nil)
	check(p.t, err)
	status, body, err := do(req)
	check(p.t, err)
	return status, body
}

// metric is the sum of a metric over its series that hold all labels, such as `table="events"`.
func (p *pipeline) metric(name string, labels ...string) int {
	p.t.Helper()
	_, text := p.get("/metrics")
	return sum(p.t, text, name, labels...)
}

func sum(t testing.TB, text, name string, labels ...string) int {
	t.Helper()
	total, found := 0.0, false
series:
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		end := strings.LastIndexByte(line, ' ') // a label's value may have spaces
		if end < 0 {
			continue
		}
		series, value := line[:end], line[end+1:]
		metric, in, _ := strings.Cut(series, "{")
		if metric != name {
			continue
		}
		found = true
		for _, l := range labels {
			if !strings.Contains(in, l) {
				continue series
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		check(t, err)
		total += v
	}
	if !found {
		t.Errorf("there is no metric %s", name)
	}
	return int(total)
}
