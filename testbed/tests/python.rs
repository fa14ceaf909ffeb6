//! The Python of the vector scripts has what they need.

use std::process::Command;

#[test]
fn python_has_cryptography() {
    let python = kdc_testbed::python::interpreter(&mut |_| {}).unwrap();
    let script = "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n\
                  print(AESGCM(bytes(32)).encrypt(bytes(12), b'', b'').hex())";
    let output = Command::new(python).args(["-c", script]).output().unwrap();
    // NIST's AES-256-GCM test case 13.
    assert_eq!(output.stdout, b"530f8afbc74536b9a963b4f1c4cb738b\n");
}
