package dashboards

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	clickHouse = "stakeout-clickhouse"
	prometheus = "stakeout-prometheus"
)

// board is of a dashboard what the tests look at.
type board struct {
	UID         string  `json:"uid"`
	Title       string  `json:"title"`
	Description string  `json:"description"`
	Panels      []panel `json:"panels"`
	Templating  struct {
		List []variable `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	Grid        struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets []target `json:"targets"`
}

type target struct {
	RefID      string     `json:"refId"`
	Datasource datasource `json:"datasource"`
	Format     int        `json:"format"` // of a result of ClickHouse
	SQL        string     `json:"rawSql"`
	Expr       string     `json:"expr"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type variable struct {
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Query json.RawMessage `json:"query"`
}

func boards(t *testing.T) map[string]board {
	t.Helper()
	names, err := fs.Glob(Files, "*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("dashboards: %v, %v", names, err)
	}
	all := map[string]board{}
	for _, name := range names {
		data, err := Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(data, &b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = b
	}
	return all
}

// rule is of an alert rule what the tests look at.
type rule struct {
	UID          string            `yaml:"uid"`
	Title        string            `yaml:"title"`
	Condition    string            `yaml:"condition"`
	DashboardUID string            `yaml:"dashboardUid"`
	PanelID      int               `yaml:"panelId"`
	NoDataState  string            `yaml:"noDataState"`
	Labels       map[string]string `yaml:"labels"`
	Annotations  map[string]string `yaml:"annotations"`
	Data         []struct {
		RefID         string `yaml:"refId"`
		DatasourceUID string `yaml:"datasourceUid"`
		Model         struct {
			RefID      string `yaml:"refId"`
			Expr       string `yaml:"expr"`
			Type       string `yaml:"type"`
			Expression string `yaml:"expression"`
		} `yaml:"model"`
	} `yaml:"data"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	data, err := Files.ReadFile("provisioning/alerting/stakeout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alert rules")
	}
	return all
}

func TestDashboards(t *testing.T) {
	uids := map[string]string{}
	for name, b := range boards(t) {
		if b.UID == "" || b.Title == "" || b.Description == "" {
			t.Errorf("%s: has no uid, title or description", name)
		}
		if other, twice := uids[b.UID]; twice {
			t.Errorf("%s: has the uid %s of %s", name, b.UID, other)
		}
		uids[b.UID] = name
		ids := map[int]bool{}
		for i, p := range b.Panels {
			if p.ID <= 0 || ids[p.ID] {
				t.Errorf("%s: panel %q has the id %d, want one of its own", name, p.Title, p.ID)
			}
			ids[p.ID] = true
			if len(p.Description) < 60 {
				t.Errorf("%s: panel %q says %q, want what to do when it looks bad", name, p.Title, p.Description)
			}
			if g := p.Grid; g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("%s: panel %q lies outside of the grid: %+v", name, p.Title, g)
			}
			for _, q := range b.Panels[:i] {
				a, c := p.Grid, q.Grid
				if a.X < c.X+c.W && c.X < a.X+a.W && a.Y < c.Y+c.H && c.Y < a.Y+a.H {
					t.Errorf("%s: panels %q and %q overlap", name, p.Title, q.Title)
				}
			}
			if len(p.Targets) == 0 {
				t.Errorf("%s: panel %q asks nothing", name, p.Title)
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if q.RefID == "" || refs[q.RefID] {
					t.Errorf("%s: panel %q has the refId %q, want each one once", name, p.Title, q.RefID)
				}
				refs[q.RefID] = true
				if q.Datasource != p.Datasource {
					t.Errorf("%s: panel %q mixes data sources", name, p.Title)
				}
				if sql := q.Datasource.UID == clickHouse; sql != (q.SQL != "") || !sql && (q.Datasource.UID != prometheus || q.Expr == "") {
					t.Errorf("%s: panel %q asks %+v", name, p.Title, q)
				}
			}
		}
	}
}

// TestAlertsAreExplained fails when the page for whoever is woken by an alert does not
// name it.
func TestAlertsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## When something is wrong")
	for _, r := range rules(t) {
		if !strings.Contains(table, "*"+r.Title+"*") {
			t.Errorf("docs/operations.md does not say what to do about the alert *%s*", r.Title)
		}
	}
}

func TestAlertRules(t *testing.T) {
	panels := map[string]map[int]bool{}
	for _, b := range boards(t) {
		panels[b.UID] = map[int]bool{}
		for _, p := range b.Panels {
			panels[b.UID][p.ID] = true
		}
	}
	uids := map[string]bool{}
	for _, r := range rules(t) {
		if r.UID == "" || len(r.UID) > 40 || uids[r.UID] {
			t.Errorf("rule %q has the uid %q, want one of its own of at most 40 letters", r.Title, r.UID)
		}
		uids[r.UID] = true
		if !panels[r.DashboardUID][r.PanelID] {
			t.Errorf("rule %q points to panel %d of %q, which is not there", r.Title, r.PanelID, r.DashboardUID)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("rule %q lacks summary, description or severity", r.Title)
		}
		if len(r.Data) != 2 || r.Data[0].DatasourceUID != prometheus || r.Data[0].Model.Expr == "" ||
			r.Data[1].DatasourceUID != "__expr__" || r.Data[1].Model.Expression != r.Data[0].RefID || r.Condition != r.Data[1].RefID {
			t.Errorf("rule %q: want a query to Prometheus and a threshold on it, have %+v", r.Title, r.Data)
		}
		for _, d := range r.Data {
			if d.RefID != d.Model.RefID {
				t.Errorf("rule %q: data %q has a model %q", r.Title, d.RefID, d.Model.RefID)
			}
		}
		// Grafana expands $NAME in provisioning files from its environment.
		for _, text := range r.Annotations {
			if strings.Contains(text, "$") {
				t.Errorf("rule %q: %q holds a $, which would be taken for an environment variable", r.Title, text)
			}
		}
	}
}

func TestProvisioning(t *testing.T) {
	err := fs.WalkDir(Files, "provisioning", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := Files.ReadFile(name)
		if err != nil {
			return err
		}
		var file struct {
			Version     int `yaml:"apiVersion"`
			Datasources []struct{ UID, Type string }
		}
		if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if file.Version != 1 {
			t.Errorf("%s: has apiVersion %d, want 1", name, file.Version)
		}
		if strings.HasPrefix(name, "provisioning/datasources/") {
			types := map[string]string{}
			for _, d := range file.Datasources {
				types[d.UID] = d.Type
			}
			for _, b := range boards(t) {
				for _, p := range b.Panels {
					if types[p.Datasource.UID] != p.Datasource.Type {
						t.Errorf("%s: panel %q wants data source %+v, %s has %v", b.Title, p.Title, p.Datasource, name, types)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
