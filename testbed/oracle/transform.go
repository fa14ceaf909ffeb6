package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

// request is one line of input. Bytes are base64 in JSON.
type request struct {
	// Op is seal, open, validate-kmsv2, load-config or is-fqdn.
	Op string `json:"op"`
	// Provider says how to seal and open.
	Provider *provider `json:"provider,omitempty"`
	// AAD is the etcd key.
	AAD []byte `json:"aad,omitempty"`
	// Value is what to seal, or the row to open, with its prefix; for
	// validate-kmsv2 the EncryptedObject alone, for load-config the file.
	Value []byte `json:"value,omitempty"`
	// Text is the name of is-fqdn.
	Text string `json:"text,omitempty"`
}

// answer is one line of output: an error, or what the request asked for.
type answer struct {
	Error string `json:"error,omitempty"`
	Value []byte `json:"value"`
	// Stale is upstream's wish to rewrite the row it has opened.
	Stale bool `json:"stale"`
	// DEKSource is the seed or DEK that a row was sealed with.
	DEKSource []byte          `json:"dek_source,omitempty"`
	Object    *encryptedEntry `json:"object,omitempty"`
}

// encryptedEntry is a valid EncryptedObject, as upstream reads it.
type encryptedEntry struct {
	EncryptedData []byte            `json:"encrypted_data"`
	KeyID         string            `json:"key_id"`
	DEKSource     []byte            `json:"encrypted_dek_source"`
	DEKSourceType int32             `json:"dek_source_type"`
	Annotations   map[string][]byte `json:"annotations"`
}

// transform answers requests until the input ends.
func transform(input io.Reader, output io.Writer) error {
	lines := bufio.NewReaderSize(input, 1<<20)
	answers := json.NewEncoder(output)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := answers.Encode(respond(line)); err != nil {
			return err
		}
	}
}

// respond turns every failure into an answer, also upstream's panics.
func respond(line []byte) (result answer) {
	defer func() {
		if cause := recover(); cause != nil {
			result = answer{Error: fmt.Sprintf("panic: %v", cause)}
		}
	}()
	var asked request
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		return answer{Error: fmt.Sprintf("bad request: %v", err)}
	}
	result, err := execute(context.Background(), &asked)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return result
}

func execute(ctx context.Context, asked *request) (answer, error) {
	switch asked.Op {
	case "validate-kmsv2":
		return validate(asked.Value)
	case "is-fqdn":
		problems := validation.IsFullyQualifiedDomainName(field.NewPath("name"), asked.Text)
		return answer{}, problems.ToAggregate()
	case "load-config":
		return answer{}, load(ctx, asked.Value)
	}
	if asked.Provider == nil {
		return answer{}, fmt.Errorf("bad request: %s needs a provider", asked.Op)
	}
	transformer, opened, err := asked.Provider.transformer(ctx)
	if err != nil {
		return answer{}, err
	}
	where := value.DefaultContext(asked.AAD)
	switch asked.Op {
	case "seal":
		row, err := transformer.TransformToStorage(ctx, asked.Value, where)
		return answer{Value: row, DEKSource: opened()}, err
	case "open":
		plaintext, stale, err := transformer.TransformFromStorage(ctx, asked.Value, where)
		return answer{Value: plaintext, Stale: stale}, err
	}
	return answer{}, fmt.Errorf("bad request: unknown op %q", asked.Op)
}

// load loads a configuration as kube-apiserver does when it starts. Nothing is left of its context, so that
// no plugin is waited for; whether one answers is of no matter to the outcome.
func load(ctx context.Context, config []byte) error {
	ended, end := context.WithCancel(ctx)
	end()
	file := provider{Config: string(config), Resource: "secrets"}
	_, err := file.configured(ended)
	return err
}

// validate reads an EncryptedObject exactly as the transformer does.
func validate(encoded []byte) (answer, error) {
	object := &kmstypes.EncryptedObject{}
	if err := proto.Unmarshal(encoded, object); err != nil {
		return answer{}, err
	}
	if err := kmsv2.ValidateEncryptedObject(object); err != nil {
		return answer{}, err
	}
	return answer{Object: &encryptedEntry{
		EncryptedData: object.EncryptedData,
		KeyID:         object.KeyID,
		DEKSource:     object.EncryptedDEKSource,
		DEKSourceType: int32(object.EncryptedDEKSourceType),
		Annotations:   object.Annotations,
	}}, nil
}
