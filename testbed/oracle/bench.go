package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"k8s.io/apiserver/pkg/storage/value"
)

// operationsPerTransformer bounds what one transformer does. Upstream's caches
// remember each write for ten minutes; a benchmark that writes millions of rows
// at once would measure a heap that no API server has.
const operationsPerTransformer = 10_000

// figures is what the benchmark prints.
type figures struct {
	Go         string   `json:"go"`
	GOMAXPROCS int      `json:"gomaxprocs"`
	Cached     string   `json:"cached"`
	Results    []figure `json:"results"`
}

// figure is the median of several rounds.
type figure struct {
	// Op is seal, open or open-uncached.
	Op    string  `json:"op"`
	Bytes int     `json:"bytes"`
	Nanos float64 `json:"ns_per_op"`
	// Rounds are all of them, in order.
	Rounds []float64 `json:"rounds"`
}

const cached = "seal: the seed is wrapped and its transformer kept, each row derives its own key, as upstream always does. " +
	"open: seed and derived key are in upstream's caches, as for a row read before. " +
	"open-uncached: the seed is cached, the row's derived key is not."

// bench times what kube-apiserver runs for each row: the prefix transformer
// around the KMS v2 transformer, on one goroutine and one thread.
func bench(arguments []string, output io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	round := flags.Duration("round", 200*time.Millisecond, "least time of one round")
	rounds := flags.Int("rounds", 7, "rounds for each figure")
	_ = flags.Parse(arguments)

	runtime.GOMAXPROCS(1)
	result := figures{Go: runtime.Version(), GOMAXPROCS: runtime.GOMAXPROCS(0), Cached: cached}
	for _, size := range []int{64, 1 << 10, 16 << 10, 1 << 20} {
		for _, op := range []string{"seal", "open", "open-uncached"} {
			one, err := measure(op, size, *round, *rounds)
			if err != nil {
				return fmt.Errorf("%s of %d bytes: %w", op, size, err)
			}
			result.Results = append(result.Results, one)
		}
	}
	encoder := json.NewEncoder(output)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

func measure(op string, size int, least time.Duration, rounds int) (figure, error) {
	result := figure{Op: op, Bytes: size}
	for range rounds {
		var spent time.Duration
		var done int
		for spent < least {
			run, err := prepare(op, size)
			if err != nil {
				return result, err
			}
			took, count, err := timed(run, least-spent)
			if err != nil {
				return result, err
			}
			spent += took
			done += count
		}
		result.Rounds = append(result.Rounds, float64(spent.Nanoseconds())/float64(done))
	}
	result.Nanos = median(result.Rounds)
	return result, nil
}

// timed runs in batches, so that the clock costs nothing, until the time is
// over or the transformer has done its share.
func timed(run func() error, limit time.Duration) (time.Duration, int, error) {
	const batch = 16
	done := 0
	start := time.Now()
	for {
		for range batch {
			if err := run(); err != nil {
				return 0, 0, err
			}
		}
		done += batch
		if took := time.Since(start); took >= limit || done >= operationsPerTransformer {
			return took, done, nil
		}
	}
}

// prepare gives one operation on a warm transformer.
func prepare(op string, size int) (func() error, error) {
	ctx := context.Background()
	where := value.DefaultContext("/registry/secrets/default/benchmark")
	p := provider{
		Type: "kmsv2", Name: "benchmark", KeyID: "key-1",
		Wrapped:     make([]byte, 120),
		Annotations: map[string][]byte{"benchmark.example.com": []byte("1")},
		DEKSource:   make([]byte, 32),
	}
	transformer, _, err := p.transformer(ctx)
	if err != nil {
		return nil, err
	}
	plaintext := make([]byte, size)
	var rows [2][]byte
	for i := range rows {
		if rows[i], err = transformer.TransformToStorage(ctx, plaintext, where); err != nil {
			return nil, err
		}
	}
	open := func(row []byte) error {
		opened, _, err := transformer.TransformFromStorage(ctx, row, where)
		if err == nil && len(opened) != size {
			err = fmt.Errorf("opened %d bytes", len(opened))
		}
		return err
	}
	turn := 0
	operations := map[string]func() error{
		"seal": func() error {
			_, err := transformer.TransformToStorage(ctx, plaintext, where)
			return err
		},
		"open": func() error { return open(rows[0]) },
		// Derived keys are cached by etcd key: two rows in turn under one key
		// drive each other out.
		"open-uncached": func() error {
			turn++
			return open(rows[turn%2])
		},
	}
	run := operations[op]
	for range 100 {
		if err := run(); err != nil {
			return nil, err
		}
	}
	return run, nil
}

func median(rounds []float64) float64 {
	sorted := slices.Sorted(slices.Values(rounds))
	return sorted[len(sorted)/2]
}
