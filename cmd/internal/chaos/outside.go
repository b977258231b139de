package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What follows looks at the servers from outside, with clients that are not ours.

// topic reads all that a topic holds, partition by partition in offset order.
func (w *world) topic(ctx context.Context, name string) ([]*kgo.Record, error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.kafkaAddr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: from}),
		kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer client.Close()
	ends, err := ends(ctx, client, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var records []*kgo.Record
	next := map[int32]int64{}
	for {
		behind := false
		for p, end := range ends {
			behind = behind || next[p] < end
		}
		if !behind {
			break
		}
		// Compaction may leave nothing at the end: when nothing comes, that was all.
		patience, cancel := context.WithTimeout(ctx, 3*time.Second)
		fetches := client.PollFetches(patience)
		cancel()
		if fetches.NumRecords() == 0 && errors.Is(fetches.Err0(), context.DeadlineExceeded) {
			break
		}
		for _, r := range fetches.Records() {
			if r.Offset < ends[r.Partition] {
				records = append(records, r)
			}
			next[r.Partition] = r.Offset + 1
		}
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return records, ctx.Err()
}

// ends are the offsets after the last records.
func ends(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range int32(partitions) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, -1
		t.Partitions = append(t.Partitions, part)
	}
	req.Topics = append(req.Topics, t)
	res, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	found := map[int32]int64{}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, fmt.Errorf("offsets of partition %d: error %d", p.Partition, p.ErrorCode)
			}
			found[p.Partition] = p.Offset
		}
	}
	return found, nil
}

// counted asks ClickHouse over plain HTTP for rows of an id and a count.
func (w *world) counted(ctx context.Context, query string) (map[string]int, error) {
	body, err := w.sql(ctx, query+" FORMAT JSONCompactEachRow SETTINGS output_format_json_quote_64bit_integers=0")
	if err != nil {
		return nil, err
	}
	rows := map[string]int{}
	for line := range strings.Lines(body) {
		var id string
		var n int
		if err := json.Unmarshal([]byte(line), &[]any{&id, &n}); err != nil {
			return nil, fmt.Errorf("clickhouse answers %q: %w", line, err)
		}
		rows[id] = n
	}
	return rows, nil
}

func (w *world) sql(ctx context.Context, query string) (string, error) {
	password, err := os.ReadFile(w.click.PasswordFile)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.app.Store.URL+"/", strings.NewReader(query))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(w.click.User, strings.TrimSpace(string(password)))
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("clickhouse answers %s: %.300s", res.Status, body)
	}
	return string(body), nil
}

// An action as it was commanded.
type commanded struct {
	id, agent, session string
}

// commands reads every command in JetStream, as often as it stands there.
func (w *world) commands(ctx context.Context) (all []commanded, err error) {
	role := w.nats.Roles["operator"]
	login, err := nats.NkeyOptionFromSeed(role["seed_file"])
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect("nats://"+w.proxies["nats"].addr(), login, nats.CustomInboxPrefix(role["inbox_prefix"]))
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, "ACTIONS")
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read command %d: %w", seq, err)
		}
		if !strings.HasPrefix(m.Subject, "stakeout.action.") {
			continue
		}
		var e struct {
			Data struct {
				ID     string `json:"id"`
				Target struct {
					Agent   string `json:"agent"`
					Session string `json:"session"`
				} `json:"target"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &e); err != nil {
			return nil, fmt.Errorf("read command %d: %w", seq, err)
		}
		all = append(all, commanded{e.Data.ID, e.Data.Target.Agent, e.Data.Target.Session})
	}
	return all, nil
}

// behind is how many records of a topic a group has not committed.
func behind(ctx context.Context, addr, group, topic string, ends []int64) (lag int64, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic = topic
	for p := range ends {
		t.Partitions = append(t.Partitions, int32(p))
	}
	req.Topics = append(req.Topics, t)
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic, gt.Partitions = topic, t.Partitions
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	res, err := req.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	committed := map[int32]int64{}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			committed[p.Partition] = p.Offset
		}
	}
	for _, g := range res.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				committed[p.Partition] = p.Offset
			}
		}
	}
	for p, end := range ends {
		lag += end - max(committed[int32(p)], 0)
	}
	return lag, nil
}
