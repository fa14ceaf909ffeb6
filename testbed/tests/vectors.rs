//! Vectors and corpus in the repository are what the independent programs compute.

use std::path::Path;
use std::process::Command;

/// Runs a script of `testbed/python` on data below `kdc-envelope/tests`; it fails where the two differ.
fn agrees(script: &str, arguments: &[&str], data: &str) {
    let testbed = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = kdc_testbed::python::interpreter(&mut |_| ()).expect("a Python with the packages");
    let output = Command::new(python)
        .arg(testbed.join("python").join(script))
        .args(arguments)
        .arg(testbed.join("../kdc-envelope/tests").join(data))
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("agree, 0 differ"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn derivation() {
    agrees("derivation_vectors.py", &[], "vectors/hkdf-sha512-v1.json");
}

#[test]
fn formats() {
    agrees("corpus.py", &["--check"], "corpus");
}

#[test]
fn key_histories() {
    let corpus = "../../kdc-envelope-k8s/tests/corpus/key-history";
    agrees("key_history.py", &["--check"], corpus);
}
