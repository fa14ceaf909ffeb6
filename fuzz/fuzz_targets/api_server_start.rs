//! Descriptions of how kube-apiserver is started, in any form: no panic and no endless work, and what was understood answers
//! all questions.
#![no_main]

use std::io;
use std::path::{Path, PathBuf};

use kdc_envelope_k8s::api_server::{ApiServer, CONFIG_FLAG, Files, KmsChecks, Place};
use libfuzzer_sys::fuzz_target;

/// What a description names has the description's own text.
struct Same<'t>(&'t str);

impl Files for Same<'_> {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.to_owned())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![folder.join("10.conf"), folder.join("10.yaml")])
    }
}

fuzz_target!(|text: &str| {
    if let Ok(server) = ApiServer::parse(text, Path::new("kube-apiserver"), &Same(text)) {
        let _ = server.flags.value(CONFIG_FLAG);
        let _ = server.on_host(Path::new("/etc/kubernetes/enc/config.yaml"));
        if let Place::Pod(pod) = &server.place {
            for probe in &pod.probes {
                let _ = probe.dependence(KmsChecks::One);
                let _ = probe.dependence(KmsChecks::Each(2));
            }
        }
    }
});
