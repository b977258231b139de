package executor

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// setSigner signs security event tokens (RFC 8417) by RS256, as the
// interoperability profile of shared signals demands.
type setSigner struct {
	key *rsa.PrivateKey
	id  string // of the key, in the receiver's copy of our JWKS
}

// readSETSigner reads an RSA key of 2048 bits or more from a PEM file.
func readSETSigner(file, id string) (*setSigner, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", file)
	}
	var key any
	if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, fmt.Errorf("%s holds no private key of PKCS #8 or #1", file)
		}
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok || k.N.BitLen() < 2048 {
		return nil, fmt.Errorf("%s holds another key than RSA of 2048 bits or more", file)
	}
	return &setSigner{k, id}, nil
}

// set is what a security event token says. It has neither sub nor exp, which the
// specification forbids.
type set struct {
	Issuer   string         `json:"iss"`
	ID       string         `json:"jti"`
	IssuedAt int64          `json:"iat"`
	Audience string         `json:"aud"`
	Cause    string         `json:"txn"` // the same in all tokens because of one incident
	Subject  map[string]any `json:"sub_id"`
	Events   map[string]any `json:"events"` // one
}

// sign makes the compact form.
func (s *setSigner) sign(t set) ([]byte, error) {
	head := map[string]string{"alg": "RS256", "typ": "secevent+jwt"}
	if s.id != "" {
		head["kid"] = s.id
	}
	h, err := json.Marshal(head)
	claims, cerr := json.Marshal(t)
	if err := errors.Join(err, cerr); err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding
	token := b64.AppendEncode(nil, h)
	token = b64.AppendEncode(append(token, '.'), claims)
	sum := sha256.Sum256(token)
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, err
	}
	return b64.AppendEncode(append(token, '.'), sig), nil
}
