package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/stakeout-project/stakeout/detect"
)

// Properties by which a CycloneDX document names what it has no field for: the
// specification leaves names with a prefix of one's own to everybody.
const (
	modelProperty = "stakeout:model" // what events call a model, where that is not its name; as often as it has names
	toolProperty  = "stakeout:tool"  // of a service: a tool that it may offer, and after a space the hash of its definition
	roleProperty  = "stakeout:role"  // of an application: the role whose agents are builds of it
)

// Bounds of a document.
const (
	cycloneBytes = 16 << 20
	cycloneParts = 100_000 // components and services
	cycloneDepth = 32      // of those within others
)

// cyclone is of a CycloneDX document what a bill of materials is made from.
type cyclone struct {
	Format     string `json:"bomFormat"`
	Version    string `json:"specVersion"`
	Metadata   struct{ Component *cycloneComponent }
	Components []cycloneComponent `json:"components"`
	Services   []cycloneService   `json:"services"`
}

type cycloneComponent struct {
	Type       string             `json:"type"`
	Name       string             `json:"name"`
	Version    string             `json:"version"`
	Properties []cycloneProperty  `json:"properties"`
	Components []cycloneComponent `json:"components"`
}

type cycloneService struct {
	Name       string            `json:"name"`
	Endpoints  []string          `json:"endpoints"`
	Properties []cycloneProperty `json:"properties"`
	Services   []cycloneService  `json:"services"`
}

type cycloneProperty struct{ Name, Value string }

// CycloneDX reads a CycloneDX document (JSON, 1.5 to 1.7), such as an ML-BOM, as a
// bill of materials. Models are its components of type machine-learning-model, by
// their names or stakeout:model; servers its services, by the hosts of their endpoints,
// with the tools that stakeout:tool names; builds its components with stakeout:role, by
// their versions. Left counts the components that are none of these.
func CycloneDX(r io.Reader) (_ *detect.BOM, left int, err error) {
	text, err := io.ReadAll(io.LimitReader(r, cycloneBytes+1))
	switch {
	case err != nil:
		return nil, 0, err
	case len(text) > cycloneBytes:
		return nil, 0, fmt.Errorf("has more than %d bytes", cycloneBytes)
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")):
		return nil, 0, errors.New("is XML, want CycloneDX as JSON")
	}
	var doc cyclone
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, 0, fmt.Errorf("is no CycloneDX document: %w", err)
	}
	if doc.Format != "CycloneDX" {
		return nil, 0, fmt.Errorf("bomFormat: is %.40q, want CycloneDX", doc.Format)
	}
	if !slices.Contains([]string{"1.5", "1.6", "1.7"}, doc.Version) {
		return nil, 0, fmt.Errorf("specVersion: is %.40q, want 1.5, 1.6 or 1.7", doc.Version)
	}
	m := materials{tools: map[string]map[detect.BOMTool]bool{}, at: map[string]int{}, open: map[string]bool{}, seen: map[[3]string]bool{}}
	if c := doc.Metadata.Component; c != nil {
		m.component("metadata.component", *c, 0)
	}
	m.components("components", doc.Components, 0)
	m.services("services", doc.Services, 0)
	m.check()
	if m.parts > cycloneParts {
		m.bad("components", "has more than %d parts", cycloneParts)
	}
	if len(m.errs) == 0 && m.bom.Models == nil && m.bom.Servers == nil && m.bom.Builds == nil {
		m.bad("components", "has no machine-learning-model, no service and no %s: there is nothing to hold agents to", roleProperty)
	}
	return &m.bom, m.left, errors.Join(m.errs...)
}

// materials is a bill of materials in the making.
type materials struct {
	bom   detect.BOM
	tools map[string]map[detect.BOMTool]bool // by server
	at    map[string]int                     // of a server among those of the bill
	open  map[string]bool                    // servers that may offer any tool
	seen  map[[3]string]bool                 // models and builds that the bill has, to have them once
	parts int
	left  int
	errs  []error
}

const mostProblems = 20 // that are told

func (m *materials) bad(path, format string, args ...any) {
	if len(m.errs) < mostProblems {
		m.errs = append(m.errs, fmt.Errorf(path+": "+format, args...))
	}
}

// fresh reports whether the bill does not have it yet.
func (m *materials) fresh(kind, a, b string) bool {
	key := [3]string{kind, a, b}
	defer func() { m.seen[key] = true }()
	return !m.seen[key]
}

// admit counts a part in and reports whether there is room for it.
func (m *materials) admit(path string, depth int) bool {
	if m.parts++; depth > cycloneDepth {
		m.bad(path, "lies deeper than %d parts within each other", cycloneDepth)
	}
	return depth <= cycloneDepth && m.parts <= cycloneParts
}

// text returns a name that a bill of materials may hold.
func (m *materials) text(path, s string) string {
	if s == "" || len(s) > 1024 {
		m.bad(path, "has %d bytes, want 1 to 1024", len(s))
	}
	return s
}

func (m *materials) components(path string, all []cycloneComponent, depth int) {
	for i, c := range all {
		m.component(fmt.Sprintf("%s[%d]", path, i), c, depth)
	}
}

func (m *materials) component(path string, c cycloneComponent, depth int) {
	if !m.admit(path, depth) {
		return
	}
	m.components(path+".components", c.Components, depth+1)
	roles := values(c.Properties, roleProperty)
	switch {
	case c.Type == "machine-learning-model":
		names := values(c.Properties, modelProperty)
		if len(names) == 0 {
			names = []string{c.Name}
		}
		for _, name := range names {
			if name = m.text(path+".name", name); m.fresh("model", name, "") {
				m.bom.Models = append(m.bom.Models, name)
			}
		}
	case len(roles) > 0:
		version := m.text(path+".version", c.Version)
		for _, role := range roles {
			if role = m.text(path+"."+roleProperty, role); m.fresh("build", role, version) {
				m.bom.Builds = append(m.bom.Builds, detect.BOMBuild{Role: role, Version: version})
			}
		}
	default:
		m.left++
	}
}

func (m *materials) services(path string, all []cycloneService, depth int) {
	for i, s := range all {
		m.service(fmt.Sprintf("%s[%d]", path, i), s, depth)
	}
}

func (m *materials) service(path string, s cycloneService, depth int) {
	if !m.admit(path, depth) {
		return
	}
	m.services(path+".services", s.Services, depth+1)
	hosts := []string{s.Name}
	if len(s.Endpoints) > 0 {
		hosts = nil
	}
	for i, e := range s.Endpoints {
		host, err := hostOf(e)
		if err != nil {
			m.bad(fmt.Sprintf("%s.endpoints[%d]", path, i), "is %.80q, want a URL or a host", e)
			continue
		}
		hosts = append(hosts, host)
	}
	var tools []detect.BOMTool
	for _, v := range values(s.Properties, toolProperty) {
		name, hash, _ := strings.Cut(strings.TrimSpace(v), " ")
		if hash = strings.ToLower(strings.TrimSpace(hash)); len(hash) > 128 || strings.Trim(hash, "0123456789abcdef") != "" {
			m.bad(path+"."+toolProperty, "is %.80q, want a name and the hexadecimal digits of a hash", v)
			continue
		}
		tools = append(tools, detect.BOMTool{Name: m.text(path+"."+toolProperty, name), Hash: hash})
	}
	for _, host := range hosts {
		m.server(m.text(path+".name", host), tools)
	}
}

// server adds a server, or tools to one that the bill has. Where one service of it
// names no tools, it may offer any.
func (m *materials) server(address string, tools []detect.BOMTool) {
	at, known := m.at[address]
	if !known {
		at = len(m.bom.Servers)
		m.at[address], m.tools[address] = at, map[detect.BOMTool]bool{}
		m.bom.Servers = append(m.bom.Servers, detect.BOMServer{Address: address})
	}
	if len(tools) == 0 {
		m.open[address] = true
	}
	for _, t := range tools {
		if !m.tools[address][t] {
			m.tools[address][t] = true
			m.bom.Servers[at].Tools = append(m.bom.Servers[at].Tools, t)
		}
	}
}

// check refuses what contradicts itself.
func (m *materials) check() {
	for i := range m.bom.Servers {
		s := &m.bom.Servers[i]
		if m.open[s.Address] {
			s.Tools = nil
		}
		for _, t := range s.Tools {
			if t.Hash != "" && m.tools[s.Address][detect.BOMTool{Name: t.Name}] {
				m.bad("services", "the tool %.80q of %.80q stands with a hash and without", t.Name, s.Address)
			}
		}
	}
}

// values are those of the properties of a name.
func values(all []cycloneProperty, name string) (of []string) {
	for _, p := range all {
		if p.Name == name {
			of = append(of, p.Value)
		}
	}
	return of
}

// hostOf is the host of an endpoint, as events name it: a URL's, or what stands
// there without scheme and port.
func hostOf(endpoint string) (string, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "//" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("names no host")
	}
	return u.Hostname(), nil
}
