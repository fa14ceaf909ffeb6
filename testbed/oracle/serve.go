package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"time"

	"k8s.io/kms/pkg/service"
)

const (
	keyID      = "oracle-v1"
	label      = "kdc-envelope oracle wrap"
	saltSize   = 16
	nonceSize  = 12
	callsLimit = 10 * time.Second
)

// serve runs a KMS v2 plugin on upstream's own gRPC server until it is killed.
func serve(arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	socket := flags.String("socket", "", "path of the unix socket")
	noop := flags.Bool("noop", false, "do no cryptography")
	_ = flags.Parse(arguments)
	if *socket == "" {
		return errors.New("serve needs --socket PATH")
	}
	var kms service.Service = noopKEK{}
	if !*noop {
		local, err := newLocalKEK()
		if err != nil {
			return err
		}
		kms = local
	}
	return service.NewGRPCService(*socket, callsLimit, kms).ListenAndServe()
}

// localKEK does the work of this project's local keyring: it writes under a key
// that is derived once, for a salt of its own, and reads under the key of the
// salt that the wrapped key names.
type localKEK struct {
	versions map[string][]byte
	salt     []byte
	writer   cipher.AEAD
}

func newLocalKEK() (*localKEK, error) {
	version, err := randomBytes(32)
	if err != nil {
		return nil, err
	}
	salt, err := randomBytes(saltSize)
	if err != nil {
		return nil, err
	}
	writer, err := derive(version, salt)
	if err != nil {
		return nil, err
	}
	return &localKEK{versions: map[string][]byte{keyID: version}, salt: salt, writer: writer}, nil
}

func (k *localKEK) Encrypt(_ context.Context, _ string, plaintext []byte) (*service.EncryptResponse, error) {
	nonce, err := randomBytes(nonceSize)
	if err != nil {
		return nil, err
	}
	wrapped := make([]byte, 0, saltSize+nonceSize+len(plaintext)+k.writer.Overhead())
	wrapped = append(append(wrapped, k.salt...), nonce...)
	wrapped = k.writer.Seal(wrapped, nonce, plaintext, []byte(keyID))
	return &service.EncryptResponse{Ciphertext: wrapped, KeyID: keyID}, nil
}

func (k *localKEK) Decrypt(_ context.Context, _ string, asked *service.DecryptRequest) ([]byte, error) {
	version, known := k.versions[asked.KeyID]
	if !known {
		return nil, errors.New("unknown key id")
	}
	if len(asked.Ciphertext) < saltSize+nonceSize {
		return nil, errors.New("the ciphertext is too short")
	}
	salt, rest := asked.Ciphertext[:saltSize], asked.Ciphertext[saltSize:]
	reader, err := derive(version, salt)
	if err != nil {
		return nil, err
	}
	return reader.Open(nil, rest[:nonceSize], rest[nonceSize:], []byte(asked.KeyID))
}

func (k *localKEK) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: keyID}, nil
}

func derive(version, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, version, label+string(salt), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func randomBytes(size int) ([]byte, error) {
	bytes := make([]byte, size)
	_, err := rand.Read(bytes)
	return bytes, err
}

// noopKEK shows what the server costs without a KEK.
type noopKEK struct{}

func (noopKEK) Encrypt(_ context.Context, _ string, plaintext []byte) (*service.EncryptResponse, error) {
	return &service.EncryptResponse{Ciphertext: plaintext, KeyID: keyID}, nil
}

func (noopKEK) Decrypt(_ context.Context, _ string, asked *service.DecryptRequest) ([]byte, error) {
	return asked.Ciphertext, nil
}

func (noopKEK) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: keyID}, nil
}
