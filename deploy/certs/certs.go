// Package certs makes certificates for tests: by an authority that is trusted
// or by a stranger, valid or expired, for any name.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An Authority signs certificates.
type Authority struct {
	File string         // PEM of its own certificate
	Pool *x509.CertPool // holds it alone

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A Certificate is one that an [Authority] signed, with its key.
type Certificate struct {
	CertFile string
	KeyFile  string
	BothFile string // key and certificate, as Kafka wants them
	Pair     tls.Certificate
}

// New makes an authority.
func New(t testing.TB) *Authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &Authority{File: filepath.Join(t.TempDir(), "ca.pem"), Pool: x509.NewCertPool(), cert: template, key: newKey(t)}
	a.cert = a.sign(t, template, a.key)
	a.Pool.AddCert(a.cert)
	write(t, a.File, &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

// Issue makes a certificate that is valid now, for name and 127.0.0.1, for
// either end of a connection.
func (a *Authority) Issue(t testing.TB, name string) Certificate {
	t.Helper()
	return a.issue(t, name, time.Now().Add(time.Hour))
}

// Expired makes a certificate that was valid until a minute ago.
func (a *Authority) Expired(t testing.TB, name string) Certificate {
	t.Helper()
	return a.issue(t, name, time.Now().Add(-time.Minute))
}

func (a *Authority) issue(t testing.TB, name string, until time.Time) Certificate {
	t.Helper()
	key := newKey(t)
	cert := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := Certificate{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), BothFile: filepath.Join(dir, "both.pem"),
		Pair: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	certBlock, keyBlock := &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}, &pem.Block{Type: "PRIVATE KEY", Bytes: private}
	write(t, c.CertFile, certBlock)
	write(t, c.KeyFile, keyBlock)
	write(t, c.BothFile, keyBlock, certBlock)
	return c
}

func (a *Authority) sign(t testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, file string, blocks ...*pem.Block) {
	t.Helper()
	var text []byte
	for _, b := range blocks {
		text = append(text, pem.EncodeToMemory(b)...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
