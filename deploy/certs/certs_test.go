package certs

import (
	"crypto/x509"
	"errors"
	"testing"
)

func TestIssue(t *testing.T) {
	ours, stranger := New(t), New(t)
	verify := func(a *Authority, c Certificate, name string) error {
		t.Helper()
		cert, err := x509.ParseCertificate(c.Pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		_, err = cert.Verify(x509.VerifyOptions{Roots: a.Pool, DNSName: name})
		return err
	}
	good := ours.Issue(t, "broker")
	for _, name := range []string{"broker", "127.0.0.1"} {
		if err := verify(ours, good, name); err != nil {
			t.Errorf("valid for %s: %v", name, err)
		}
	}
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	if err := verify(ours, good, "other"); !errors.As(err, &name) {
		t.Errorf("for another name: %v", err)
	}
	if err := verify(stranger, good, "broker"); !errors.As(err, &unknown) {
		t.Errorf("by another authority: %v", err)
	}
	if err := verify(ours, ours.Expired(t, "broker"), "broker"); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("expired: %v", err)
	}
}
