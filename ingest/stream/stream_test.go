package stream

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"

	broker "github.com/stakeout-project/stakeout/deploy/kafka"
)

func TestStreamEmbedded(t *testing.T) { suite(t, startEmbedded(t)) }

func TestStreamRealKafka(t *testing.T) {
	b := startReal(t, broker.Options{})
	suite(t, b)
	t.Run("Pause", func(t *testing.T) { testPause(t, b) })
}

// suite is what holds for every Kafka.
func suite(t *testing.T, b testBroker) {
	for _, tt := range []struct {
		name string
		f    func(*testing.T, testBroker)
	}{
		{"Topics", testTopics},
		{"OtherSettings", testOtherSettings},
		{"Codecs", testCodecs},
		{"ReadsOthers", testReadsOthers},
		{"OthersReadUs", testOthersReadUs},
		{"Run", testRun},
		{"Lag", testLag},
		{"Progress", testProgress},
		{"Resume", testResume},
		{"Partial", testPartial},
		{"ProcessorErrors", testProcessorErrors},
		{"Rebalance", testRebalance},
		{"Compacted", testCompacted},
		{"AbortedTransaction", testAbortedTransaction},
		{"OpenTransaction", testOpenTransaction},
		{"TooLarge", testTooLarge},
		{"LargeBatch", testLargeBatch},
		{"Retention", testRetention},
		{"NewPartitions", testNewPartitions},
		{"Outage", testOutage},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, b) })
	}
}

func testTopics(t *testing.T, b testBroker) {
	c := testClient(t, b.Addr())
	topic := testTopic(t, c, 3, map[string]string{"retention.ms": "1000000"})
	again := testClient(t, b.Addr())
	if err := again.EnsureTopics(testContext(t), Topic{Name: topic, Partitions: 5}); err != nil {
		t.Errorf("EnsureTopics of a topic that is there: %v", err)
	}
	if n, err := again.Partitions(testContext(t), topic); n != 3 || err != nil {
		t.Errorf("Partitions = %d, %v, want 3", n, err)
	}
	got, err := c.Offsets(testContext(t), topic)
	if diff := cmp.Diff([]Range{{}, {}, {}}, got); diff != "" || err != nil {
		t.Errorf("Offsets of an empty topic: %v (-want +got):\n%s", err, diff)
	}
	bad := Topic{Name: topic + ".bad"}
	if err := c.EnsureTopics(testContext(t), bad); !errors.Is(err, kafka.InvalidPartitionNumber) {
		t.Errorf("EnsureTopics without partitions = %v, want %v", err, kafka.InvalidPartitionNumber)
	}
	if err := c.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// testOtherSettings starts over a topic that somebody else has made.
func testOtherSettings(t *testing.T, b testBroker) {
	topic := testTopic(t, testClient(t, b.Addr()), 1, map[string]string{"message.timestamp.type": "CreateTime", "retention.ms": "1000000"})
	var log bytes.Buffer
	c, err := Open(testConfig(b.Addr()), prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := func(settings map[string]string, want ...string) {
		t.Helper()
		log.Reset()
		if err := c.EnsureTopics(testContext(t), Topic{Name: topic, Partitions: 1, Settings: settings}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "another setting"); n != len(want) {
			t.Errorf("%d settings are told of, want %q:\n%s", n, want, log.String())
		}
		for _, w := range want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("told\n%s, want %s", log.String(), w)
			}
		}
	}
	f(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": "1000000"}, "topic="+topic+" setting=message.timestamp.type is=CreateTime configured=LogAppendTime")
	f(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}, "is=CreateTime", "setting=retention.ms is=1000000 configured=-1")
	f(map[string]string{"retention.ms": "1000000"})
	f(nil)
}
