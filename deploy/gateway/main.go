// Gateway is an example of an enforcement point: a reverse proxy in front of a
// tool that refuses a contained agent by itself, without a call per request.
//
// It takes the agent's id, and what the call is about, from headers that who
// authenticates the agent sets: an agent must not be able to set them itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stakeout-project/stakeout/ingest/event"
	"github.com/stakeout-project/stakeout/triage/posture"
)

// Headers beside that of the agent.
const (
	toolHeader     = "Stakeout-Tool"
	scopesHeader   = "Stakeout-Scopes" // separated by spaces
	sessionHeader  = "Stakeout-Session"
	approvedHeader = "Stakeout-Approved" // by whom, where a person has approved this very call
)

// gate lets through what the agent's posture allows.
func gate(feed *posture.Feed, header string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		effect := event.Write
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			effect = event.Read
		}
		agent := r.Header.Get(header)
		d := feed.Decide(agent)
		allowed, why := d.Permits(posture.Call{Effect: effect, Tool: r.Header.Get(toolHeader), Scopes: strings.Fields(r.Header.Get(scopesHeader)),
			Session: r.Header.Get(sessionHeader), Approved: r.Header.Get(approvedHeader) != ""})
		if agent == "" || !allowed {
			w.Header().Set("Stakeout-Incident", d.Incident)
			http.Error(w, fmt.Sprintf("agent %q: %s", agent, why), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func main() {
	cfg, log := posture.DefaultConfig(), slog.New(slog.NewTextHandler(os.Stderr, nil))
	listen := flag.String("listen", "127.0.0.1:8081", "where agents call")
	upstream := flag.String("upstream", "http://127.0.0.1:8080", "the tool behind the gateway")
	header := flag.String("header", "Stakeout-Agent", "header with the authenticated agent's id")
	trust := flag.String("trust", "", "public keys of triage, separated by commas")
	flag.StringVar(&cfg.NATS.URL, "nats", cfg.NATS.URL, "where postures come from")
	flag.StringVar(&cfg.NATS.SeedFile, "seed", "", "file with our seed (SU...)")
	flag.StringVar(&cfg.NATS.InboxPrefix, "inbox", "_INBOX_gateway", "where answers arrive")
	flag.Parse()
	cfg.Trust.Triage = strings.Split(*trust, ",")
	feed, err := posture.New(cfg, prometheus.NewRegistry(), log)
	tool, perr := url.Parse(*upstream)
	if err != nil || perr != nil {
		log.Error("cannot start", "err", err, "upstream", perr)
		os.Exit(1)
	}
	go func() { log.Error("feed ended", "err", feed.Run(context.Background())) }()
	log.Error("server ended", "err", http.ListenAndServe(*listen, gate(feed, *header, httputil.NewSingleHostReverseProxy(tool))))
}
