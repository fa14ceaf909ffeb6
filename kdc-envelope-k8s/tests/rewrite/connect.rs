//! Clients for one API server of many: its kubeconfig comes from memory, and its pod is asked by IP under a server name.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kdc_envelope_k8s::cluster::{
    ClusterError, Kubeconfig, KubeconfigInMemory, KubeconfigSource, Overrides, connect,
    connect_kubeconfig, probe,
};
use kube::Client;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{ControlPlane, kube_config, run};

/// An address that is in no certificate, and leads to the API server; it stands for the IP of a pod.
async fn pod_of(control_plane: &ControlPlane) -> String {
    let server = control_plane
        .server
        .url()
        .trim_start_matches("https://")
        .to_owned();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    format!("https://{address}")
}

/// As a Secret holds it: everything inside.
fn in_memory(control_plane: &ControlPlane) -> Kubeconfig {
    let text = std::fs::read_to_string(control_plane.server.kubeconfig()).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let cluster = value["clusters"][0]["cluster"].as_object_mut().unwrap();
    let file = cluster.remove("certificate-authority").unwrap();
    let data = BASE64.encode(std::fs::read(file.as_str().unwrap()).unwrap());
    cluster.insert("certificate-authority-data".to_owned(), data.into());
    let text = value.to_string();
    Kubeconfig {
        source: KubeconfigSource::Memory(KubeconfigInMemory::new("Secret t/admin", text)),
        context: None,
    }
}

async fn answers(client: &Client) -> Result<u32, ClusterError> {
    probe(client).await.map(|state| state.minor)
}

#[test]
fn a_pod_is_asked_by_ip_with_a_kubeconfig_from_memory() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let (kubeconfig, pod) = (in_memory(&control_plane), pod_of(&control_plane).await);
        let whole = connect_kubeconfig(&kubeconfig, Overrides::default()).await;
        let minor = answers(&whole.unwrap()).await.unwrap();
        let by_ip = connect_kubeconfig(&kubeconfig, Overrides::server(Some(&pod))).await;
        let error = answers(&by_ip.unwrap()).await.unwrap_err().to_string();
        assert!(
            error.contains(&pod) && error.contains("certificate"),
            "{error}"
        );
        for (name, fits) in [("localhost", true), ("another.example.com", false)] {
            let overrides = Overrides {
                server: Some(&pod),
                tls_server_name: Some(name),
            };
            let of_text = connect_kubeconfig(&kubeconfig, overrides).await.unwrap();
            let of_settings = connect(kube_config(&control_plane.server).await, overrides).unwrap();
            for client in [of_text, of_settings] {
                match answers(&client).await {
                    Ok(found) => assert_eq!((found, fits), (minor, true)),
                    Err(error) => assert!(!fits && error.to_string().contains(&pod), "{error}"),
                }
            }
        }
    });
}

#[test]
fn what_cannot_be_a_name_or_an_address_is_refused_before_anything_is_sent() {
    run(async {
        let control_plane = ControlPlane::shared().await;
        let config = kube_config(&control_plane.server).await;
        let refused = |overrides| connect(config.clone(), overrides).map(drop).unwrap_err();
        let plain = refused(Overrides::server(Some("http://127.0.0.1:1")));
        assert!(matches!(plain, ClusterError::Address { .. }), "{plain}");
        let name = refused(Overrides {
            server: None,
            tls_server_name: Some("no name"),
        });
        assert!(matches!(name, ClusterError::TlsServerName { .. }), "{name}");
    });
}
