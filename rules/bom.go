package rules

import (
	"go.yaml.in/yaml/v3"

	"github.com/stakeout-project/stakeout/detect"
)

// BOMSection writes a bill of materials as the section of a file of detection rules.
func BOMSection(b *detect.BOM) ([]byte, error) {
	type tool struct {
		Name string `yaml:"name"`
		Hash string `yaml:"hash,omitempty"`
	}
	type server struct {
		Address string `yaml:"address"`
		Tools   []tool `yaml:"tools,omitempty"`
	}
	var section struct {
		BOM struct {
			Models  []string          `yaml:"models,omitempty"`
			Servers []server          `yaml:"servers,omitempty"`
			Builds  []detect.BOMBuild `yaml:"builds,omitempty"`
		} `yaml:"bom"`
	}
	section.BOM.Models, section.BOM.Builds = b.Models, b.Builds
	for _, s := range b.Servers {
		out := server{Address: s.Address}
		for _, t := range s.Tools {
			out.Tools = append(out.Tools, tool(t))
		}
		section.BOM.Servers = append(section.BOM.Servers, out)
	}
	return yaml.Marshal(section)
}
