package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"
)

// metadataTTL is the most by which the transport's picture of the cluster may
// be behind: how late a new leader is noticed.
const metadataTTL = 2 * time.Second

// A Client reads and writes one Kafka cluster. It is safe for concurrent use.
type Client struct {
	cfg       Config
	codec     uint16
	log       *slog.Logger
	metrics   *metrics
	addr      net.Addr
	transport *kafka.Transport
	login     *login // nil without SASL
	kafka     *kafka.Client
	dialer    kafka.Dialer // for group membership, which does not use the transport
	health    health
}

// Open makes a client. It reads the files the configuration names and connects
// to nothing yet: a cluster that is down is waited for where it is needed.
func Open(cfg Config, reg prometheus.Registerer, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	tlsConfig, err := cfg.TLS.load()
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	login, err := cfg.SASL.load()
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	var mechanism sasl.Mechanism // a nil one, not one that holds nil
	if login != nil {
		mechanism = login
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	codec, err := codecOf(cfg.Compression)
	if err != nil {
		return nil, fmt.Errorf("open stream: compression: %w", err)
	}
	dial := net.Dialer{Timeout: min(5*time.Second, cfg.RequestTimeout)}
	transport := &kafka.Transport{
		Dial:        dial.DialContext,
		DialTimeout: cfg.RequestTimeout,
		MetadataTTL: metadataTTL,
		ClientID:    cfg.ClientID,
		TLS:         tlsConfig,
		SASL:        mechanism,
	}
	addr := kafka.TCP(cfg.Brokers...)
	return &Client{
		cfg:       cfg,
		codec:     codec,
		log:       log,
		metrics:   m,
		addr:      addr,
		transport: transport,
		login:     login,
		kafka:     &kafka.Client{Addr: addr, Transport: transport, Timeout: cfg.RequestTimeout},
		dialer: kafka.Dialer{
			ClientID:      cfg.ClientID,
			Timeout:       cfg.RequestTimeout,
			TLS:           tlsConfig,
			SASLMechanism: mechanism,
		},
	}, nil
}

// Close drops the connections. Run and every other call must have returned.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// roundTrip sends one request and waits for its answer, at most timeout.
func (c *Client) roundTrip(ctx context.Context, timeout time.Duration, req protocol.Message) (protocol.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := c.transport.RoundTrip(ctx, c.addr, req)
	if err != nil {
		return nil, c.cause(ctx, err)
	}
	if o, ok := res.(*produceOutcome); !ok || o.answered {
		c.health.answer()
	}
	return res, nil
}

// cause finds out what is behind an error of the transport. It does not know a
// topic or a leader also while it could not learn anything from any broker, and
// a broker that closes the connection does not say why.
func (c *Client) cause(ctx context.Context, err error) error {
	if errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition) ||
		errors.Is(err, protocol.ErrNoLeader) || errors.Is(err, kafka.BrokerNotAvailable) {
		if _, why := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{}}); why != nil {
			err = why
		}
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	if c.login != nil && c.login.unanswered.Load() {
		return fmt.Errorf("%w: the broker closed the connection during authentication", kafka.SASLAuthenticationFailed)
	}
	return err
}

// retry repeats op until it succeeds, fails for good, or ctx ends.
func (c *Client) retry(ctx context.Context, what string, op func(context.Context) error) (err error) {
	defer func() { c.settled(what, err) }()
	for b := (backoff{}); ; {
		err := op(ctx)
		if err == nil {
			return nil
		}
		err = c.advise(err)
		if permanent(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), err))
		}
		c.trouble(what, err)
		if b.wait(ctx) != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

// trouble notes that something fails, and logs once when it goes on.
func (c *Client) trouble(what string, err error) {
	err = c.advise(err)
	if c.health.fail(what, err) {
		c.log.Warn("kafka keeps failing, retrying", "op", what, "err", err)
	}
}

// settled notes that what may have been in trouble works, or was given up with err.
func (c *Client) settled(what string, err error) {
	if err == nil {
		c.recovered(what)
		return
	}
	c.health.clear(what)
}

// recovered notes that what was in trouble works, or that the trouble is nobody's any more.
func (c *Client) recovered(what string) {
	if t := c.health.clear(what); t.told {
		c.log.Info("kafka works again", "op", what, "after", time.Since(t.since).Round(time.Millisecond))
	}
}

// permanent reports whether trying again cannot help: someone has to change
// the configuration or the rights.
func permanent(err error) bool {
	if errors.Is(err, ErrFenced) {
		return true
	}
	var code kafka.Error
	if errors.As(err, &code) {
		switch code {
		case kafka.InvalidTopic, kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed,
			kafka.ClusterAuthorizationFailed, kafka.TransactionalIDAuthorizationFailed, kafka.UnsupportedSASLMechanism, kafka.SASLAuthenticationFailed, kafka.IllegalSASLState,
			kafka.InvalidPartitionNumber, kafka.InvalidReplicationFactor, kafka.InvalidConfiguration,
			kafka.PolicyViolation, kafka.UnsupportedVersion, kafka.UnsupportedForMessageFormat,
			kafka.InvalidTimestamp, kafka.InvalidRecord, kafka.InvalidRequiredAcks, kafka.MessageSizeTooLarge,
			kafka.UnsupportedCompressionType, kafka.InvalidGroupId, kafka.InvalidSessionTimeout:
			return true
		}
		return false
	}
	var (
		cert   *tls.CertificateVerificationError
		host   x509.HostnameError
		remote *net.OpError
		record tls.RecordHeaderError
		size   *TooLargeError
		absent *noPartitionError
		over   *oversizeError
		stop   *stopError
	)
	return errors.As(err, &cert) || errors.As(err, &host) || errors.As(err, &remote) && remote.Op == "remote error" || errors.As(err, &record) ||
		errors.As(err, &size) || errors.As(err, &absent) ||
		errors.As(err, &over) || errors.As(err, &stop)
}

// codeError is the error of a code in an answer, nil for zero.
func codeError(code int16) error {
	if code == 0 {
		return nil
	}
	return kafka.Error(code)
}

func partitionKey(topic string, partition int) string {
	return topic + "/" + strconv.Itoa(partition)
}
