package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// format writes the configuration and makes the storage ready.
func (b *Broker) format(ctx context.Context) error {
	settings := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"listeners":                                        fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", b.port, b.controller),
		"advertised.listeners":                             fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", b.port),
		"listener.security.protocol.map":                   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"controller.listener.names":                        "CONTROLLER",
		"controller.quorum.bootstrap.servers":              fmt.Sprintf("127.0.0.1:%d", b.controller),
		"log.dirs":                                         filepath.Join(b.opts.Dir, "data"),
		"auto.create.topics.enable":                        "false",
		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 "1",
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"broker.session.timeout.ms":                        "3000",
		"broker.heartbeat.interval.ms":                     "500",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "1000",
		"log.cleaner.backoff.ms":                           "100",
		"log.initial.task.delay.ms":                        "100",
		"log.retention.check.interval.ms":                  "200",
	}
	format := []string{"format", "--standalone", "--ignore-formatted",
		"-t", "c3Rha2VvdXQtbG9jYWwtMQ", "-c", filepath.Join(b.opts.Dir, "server.properties")}
	if b.sasl != 0 {
		format = append(format, b.addUsers(settings)...)
	}
	for k, v := range b.opts.Settings {
		settings[k] = v
	}
	var text strings.Builder
	for k, v := range settings {
		fmt.Fprintf(&text, "%s=%s\n", k, strings.ReplaceAll(v, `\`, `\\`))
	}
	const logging = "rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\n" +
		"appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n" +
		"appender.out.layout.pattern=%d{ISO8601} %p %c{1} %m%n\n"
	if err := os.MkdirAll(b.opts.Dir, 0o700); err != nil {
		return err
	}
	for name, content := range map[string]string{"server.properties": text.String(), "log4j2.properties": logging} {
		if err := os.WriteFile(filepath.Join(b.opts.Dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	if out, err := runWithin(ctx, b.command("kafka.tools.StorageTool", format...)); err != nil {
		return fmt.Errorf("format storage: %w: %s", err, out)
	}
	return nil
}

// addUsers adds a listener that wants authentication, and returns what makes
// the storage know the users. PLAIN has them in the settings, SCRAM in the storage.
func (b *Broker) addUsers(settings map[string]string) (format []string) {
	const modules = "org.apache.kafka.common.security."
	listen := func(name, protocol string, port int) {
		listener := fmt.Sprintf(",%s://127.0.0.1:%d", name, port)
		settings["listeners"] += listener
		settings["advertised.listeners"] += listener
		settings["listener.security.protocol.map"] += "," + name + ":" + protocol
	}
	listen("SASL", "SASL_PLAINTEXT", b.sasl)
	for name, port := range b.tls {
		listen(strings.ToUpper(name), "SASL_SSL", port)
		ours := "listener.name." + strings.ToLower(name) + "."
		settings[ours+"ssl.keystore.type"] = "PEM"
		settings[ours+"ssl.keystore.location"] = b.opts.KeyStores[name]
		settings[ours+"sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
		settings[ours+"scram-sha-512.sasl.jaas.config"] = modules + "scram.ScramLoginModule required;"
	}
	settings["sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
	plain := modules + "plain.PlainLoginModule required"
	for name, password := range b.opts.Users {
		plain += fmt.Sprintf(" user_%s=%q", name, password)
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			format = append(format, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, name, password))
		}
	}
	settings["listener.name.sasl.plain.sasl.jaas.config"] = plain + ";"
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
		settings["listener.name.sasl."+mechanism+".sasl.jaas.config"] = modules + "scram.ScramLoginModule required;"
	}
	return format
}

// freePorts sets ports that are free and differ: all are held until all are found.
func freePorts(ports []*int) (err error) {
	for _, p := range ports {
		ln, lerr := net.Listen("tcp", "127.0.0.1:0")
		if lerr != nil {
			return errors.Join(err, lerr)
		}
		defer func() { err = errors.Join(err, ln.Close()) }()
		*p = ln.Addr().(*net.TCPAddr).Port
	}
	return nil
}
