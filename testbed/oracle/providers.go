package main

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	"k8s.io/kms/pkg/service"
)

// provider is one way to seal and open rows.
type provider struct {
	// Type is kmsv2, kmsv2-legacy (an AES-GCM key as DEK source), kmsv1,
	// kmsv1-cbc (as Kubernetes wrote it up to 1.24) or config.
	Type string `json:"type"`

	// Config is the text of an EncryptionConfiguration file, loaded by upstream;
	// Resource is the one whose providers count, such as "secrets".
	Config   string `json:"config,omitempty"`
	Resource string `json:"resource,omitempty"`

	// Name is the name of a KMS provider.
	Name string `json:"name,omitempty"`
	// DEKSource is what the KMS gives for Wrapped, KeyID and Annotations, and
	// refuses to give for anything else. To seal with kmsv2 it is the seed; if
	// it is left out, and with all other types, upstream makes its own.
	DEKSource   []byte            `json:"dek_source,omitempty"`
	Wrapped     []byte            `json:"wrapped,omitempty"`
	KeyID       string            `json:"key_id,omitempty"`
	Annotations map[string][]byte `json:"annotations,omitempty"`
}

// transformer gives upstream's transformer, and a function that tells which DEK
// source the last row was sealed with.
func (p *provider) transformer(ctx context.Context) (value.Transformer, func() []byte, error) {
	kms := &knownKey{provider: *p}
	used := func() []byte { return kms.wrote }
	switch p.Type {
	case "config":
		transformer, err := p.configured(ctx)
		return transformer, used, err
	case "kmsv2":
		transformer, err := p.kmsV2(ctx, kms, true)
		return transformer, used, err
	case "kmsv2-legacy":
		transformer, err := p.kmsV2(ctx, kms, false)
		return transformer, used, err
	case "kmsv1":
		return p.kmsV1(kms, gcmThenCBC), used, nil
	case "kmsv1-cbc":
		return p.kmsV1(kms, cbc), used, nil
	}
	return nil, nil, fmt.Errorf("bad request: unknown provider type %q", p.Type)
}

// configured loads the configuration as kube-apiserver does at its start.
func (p *provider) configured(ctx context.Context) (value.Transformer, error) {
	file, err := os.CreateTemp("", "encryption-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(p.Config); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, file.Name(), false, "oracle")
	if err != nil {
		return nil, err
	}
	resource := schema.ParseGroupResource(p.Resource)
	return encryptionconfig.StaticTransformers(config.Transformers).TransformerForResource(resource), nil
}

func (p *provider) kmsV2(ctx context.Context, kms *knownKey, useSeed bool) (value.Transformer, error) {
	state, err := p.state(ctx, kms, useSeed)
	if err != nil {
		return nil, err
	}
	transformer := kmsv2.NewEnvelopeTransformer(kms, p.Name, func() (kmsv2.State, error) { return state, nil }, "oracle")
	return prefixed("k8s:enc:kms:v2:"+p.Name+":", transformer), nil
}

// state is what kube-apiserver holds for writing.
func (p *provider) state(ctx context.Context, kms *knownKey, useSeed bool) (kmsv2.State, error) {
	// This lets upstream make, wrap and validate a DEK source of its own.
	transformer, object, cacheKey, err := kmsv2.GenerateTransformer(ctx, "oracle", kms, useSeed)
	if err != nil {
		return kmsv2.State{}, err
	}
	if useSeed && p.DEKSource != nil {
		if transformer, err = aestransformer.NewHKDFExtendedNonceGCMTransformer(p.DEKSource); err != nil {
			return kmsv2.State{}, err
		}
		kms.wrote = p.DEKSource
	}
	return kmsv2.State{
		Transformer:                           transformer,
		EncryptedObjectKeyID:                  object.KeyID,
		EncryptedObjectEncryptedDEKSource:     object.EncryptedDEKSource,
		EncryptedObjectAnnotations:            object.Annotations,
		EncryptedObjectEncryptedDEKSourceType: object.EncryptedDEKSourceType,
		UID:                                   "oracle",
		ExpirationTimestamp:                   time.Now().Add(time.Hour),
		CacheKey:                              cacheKey,
		KMSProviderName:                       p.Name,
	}, nil
}

func (p *provider) kmsV1(kms *knownKey, base func(cipher.Block) (value.Transformer, error)) value.Transformer {
	transformer := envelope.NewEnvelopeTransformer(kmsV1Service{kms}, 0, base)
	return prefixed("k8s:enc:kms:v1:"+p.Name+":", transformer)
}

func prefixed(prefix string, transformer value.Transformer) value.Transformer {
	return value.NewPrefixTransformers(
		errors.New("no matching prefix found"),
		value.PrefixTransformer{Prefix: []byte(prefix), Transformer: transformer},
	)
}

func cbc(block cipher.Block) (value.Transformer, error) {
	return aestransformer.NewCBCTransformer(block), nil
}

// gcmThenCBC writes AES-GCM and reads both, as the KMS v1 provider does.
// Upstream's own union of the two is private.
func gcmThenCBC(block cipher.Block) (value.Transformer, error) {
	gcm, err := aestransformer.NewGCMTransformer(block)
	return &union{Transformer: gcm, fallback: aestransformer.NewCBCTransformer(block)}, err
}

type union struct {
	value.Transformer
	fallback value.Transformer
}

func (u *union) TransformFromStorage(ctx context.Context, data []byte, where value.Context) ([]byte, bool, error) {
	plaintext, stale, err := u.Transformer.TransformFromStorage(ctx, data, where)
	if err == nil {
		return plaintext, stale, nil
	}
	plaintext, _, fallbackErr := u.fallback.TransformFromStorage(ctx, data, where)
	if fallbackErr != nil {
		return nil, false, errors.Join(err, fallbackErr)
	}
	return plaintext, true, nil
}

// knownKey is a KMS that knows one wrapped key.
type knownKey struct {
	provider
	// wrote is the DEK source that upstream made for writing.
	wrote []byte
}

var _ service.Service = (*knownKey)(nil)

func (k *knownKey) Encrypt(_ context.Context, _ string, plaintext []byte) (*service.EncryptResponse, error) {
	k.wrote = plaintext
	return &service.EncryptResponse{Ciphertext: k.Wrapped, KeyID: k.KeyID, Annotations: k.Annotations}, nil
}

func (k *knownKey) Decrypt(_ context.Context, _ string, asked *service.DecryptRequest) ([]byte, error) {
	known := bytes.Equal(asked.Ciphertext, k.Wrapped) && asked.KeyID == k.KeyID &&
		maps.EqualFunc(asked.Annotations, k.Annotations, slices.Equal)
	if !known {
		return nil, errors.New("the KMS does not know this wrapped key")
	}
	return k.DEKSource, nil
}

func (k *knownKey) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: k.KeyID}, nil
}

// kmsV1Service is the same for KMS v1, which knows no key ids.
type kmsV1Service struct{ key *knownKey }

var _ envelope.Service = kmsV1Service{}

func (s kmsV1Service) Encrypt(plaintext []byte) ([]byte, error) {
	answer, err := s.key.Encrypt(context.Background(), "", plaintext)
	if err != nil {
		return nil, err
	}
	return answer.Ciphertext, nil
}

func (s kmsV1Service) Decrypt(wrapped []byte) ([]byte, error) {
	return s.key.Decrypt(context.Background(), "", &service.DecryptRequest{
		Ciphertext: wrapped, KeyID: s.key.KeyID, Annotations: s.key.Annotations,
	})
}
