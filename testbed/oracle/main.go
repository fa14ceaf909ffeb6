// Oracle answers for upstream: Kubernetes' own storage transformers and its own
// KMS v2 server, driven by the tests and benches of this project.
//
//	oracle transform             requests and answers as lines of JSON
//	oracle bench                 times upstream's KMS v2 transformer
//	oracle serve --socket PATH   a KMS v2 plugin on k8s.io/kms/pkg/service
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: oracle transform|bench|serve"))
	}
	// Upstream logs each refusal, and the answers say it already.
	logging := flag.NewFlagSet("logging", flag.ExitOnError)
	klog.InitFlags(logging)
	_ = logging.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"})
	klog.SetOutput(io.Discard)

	// KMS v1 is part of the format, although nobody gets it without this gate.
	err := utilfeature.DefaultMutableFeatureGate.Set("KMSv1=true")
	if err != nil {
		fail(err)
	}
	switch arguments := os.Args[2:]; os.Args[1] {
	case "transform":
		err = transform(os.Stdin, os.Stdout)
	case "bench":
		err = bench(arguments, os.Stdout)
	case "serve":
		err = serve(arguments)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "oracle:", err)
	os.Exit(1)
}
