package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health knows what a process needs and asks whether it is there.
type health struct {
	mu    sync.Mutex
	parts []part
}

type part struct {
	name  string
	ready func() error
}

func (h *health) add(name string, ready func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.parts {
		if h.parts[i].name == name {
			h.parts[i].ready = ready
			return
		}
	}
	h.parts = append(h.parts, part{name, ready})
}

// partReady is the state of a part that is there.
const partReady = "ok"

// status is what /readyz answers: "ok" for a part that is there, or what it lacks.
func (h *health) status() (parts map[string]string, ready bool) {
	h.mu.Lock()
	asked := append([]part(nil), h.parts...)
	h.mu.Unlock()
	parts, ready = map[string]string{}, true
	for _, p := range asked {
		parts[p.name] = partReady
		if err := p.ready(); err != nil {
			parts[p.name], ready = err.Error(), false
		}
	}
	return parts, ready
}

// wait returns nil when everything is ready, and an error when ctx ends before.
func (h *health) wait(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, ready := h.status(); ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

var readyDesc = prometheus.NewDesc("stakeout_app_ready", "Whether a part that the process needs is there: 1, or 0.", []string{"part"}, nil)

// Describe implements [prometheus.Collector].
func (h *health) Describe(ch chan<- *prometheus.Desc) { ch <- readyDesc }

// Collect implements [prometheus.Collector].
func (h *health) Collect(ch chan<- prometheus.Metric) {
	parts, _ := h.status()
	for name, state := range parts {
		value := 0.0
		if state == partReady {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, value, name)
	}
}

const stopTimeout = 2 * time.Second // for requests under way

// serve answers /healthz, /readyz and /metrics until ctx ends. It puts the
// address in use into the configuration, which may ask for any free port.
func (p *process) serve(ctx context.Context) error {
	if p.cfg.HTTP.Listen == "" {
		return nil
	}
	ln, err := net.Listen("tcp", p.cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("serve health and metrics: %w; set http.listen to another address, such as 127.0.0.1:0 for any free port", err)
	}
	p.cfg.HTTP.Listen = ln.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		parts, ready := p.health.status()
		code := http.StatusOK
		if !ready {
			code = http.StatusServiceUnavailable
		}
		p.answer(w, code, parts)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.reg, promhttp.HandlerOpts{Registry: p.reg}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	p.log.Info("health and metrics", "url", "http://"+p.cfg.HTTP.Listen)
	p.group.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve health and metrics: %w", err)
		}
		return nil
	})
	p.group.Go(func() error {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return srv.Shutdown(ctx)
	})
	return nil
}

func (p *process) answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.log.Debug("client of health has gone", "err", err)
	}
}
