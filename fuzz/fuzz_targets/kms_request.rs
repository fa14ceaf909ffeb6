//! Requests to the KMS v2 service, decoded from hostile bytes: answered or refused, never a panic.
#![no_main]

use std::sync::{Arc, LazyLock};

use kdc_envelope_kms::proto::key_management_service_server::KeyManagementService;
use kdc_envelope_kms::proto::{DecryptRequest, EncryptRequest};
use kdc_envelope_kms::service::KmsService;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tonic::Request;

static SERVICE: LazyLock<KmsService> =
    LazyLock::new(|| KmsService::new(Arc::new(kdc_fuzz::fixed_kek()), "fuzz"));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = DecryptRequest::decode(bytes) {
        assert!(kdc_fuzz::ready(SERVICE.decrypt(Request::new(request))).is_err());
    }
    if let Ok(request) = EncryptRequest::decode(bytes) {
        let len = request.plaintext.len();
        let answer = kdc_fuzz::ready(SERVICE.encrypt(Request::new(request)));
        assert_eq!(answer.is_ok(), (1..=256).contains(&len));
    }
});
