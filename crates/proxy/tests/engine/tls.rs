//! https upstreams: a private root, and what fails without it.
//!
//! `tls/key.pem` is a throw-away key for `localhost`; nothing trusts it but these tests.

use std::sync::Arc;

use proxy::{Target, Upstream, UpstreamFaultKind, UpstreamLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};

use crate::harness::{get, local, text};

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("tls/cert.pem")).unwrap()
}

fn acceptor() -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn trusting() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn target(listener: &TcpListener) -> Target {
    let port = listener.local_addr().unwrap().port();
    Target::parse(&format!("https://127.0.0.1:{port}")).unwrap()
}

#[test]
fn calls_go_through_tls_and_a_closed_connection_is_replaced() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Upstream::with_tls(target(&listener).await, UpstreamLimits::default(), trusting());
        let pool = pool.unwrap();
        let accept = async |calls: usize| {
            let tcp = listener.accept().await.unwrap().0;
            let mut tls = acceptor().accept(tcp).await.unwrap();
            for _ in 0..calls {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tls.read_u8().await.unwrap());
                }
                tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                tls.flush().await.unwrap();
            }
            tls
        };
        let call = async || text(pool.send(get("/"), || {}).await.unwrap().into_body()).await;
        let two = async { (call().await, call().await) };
        let (answers, mut tls) = tokio::join!(two, accept(2));
        assert_eq!(answers, ("hi".to_owned(), "hi".to_owned()), "one connection for both");
        tls.shutdown().await.unwrap();
        drop(tls);
        let (answer, _tls) = tokio::join!(call(), accept(1));
        assert_eq!(answer, "hi");
    });
}

#[test]
fn an_untrusted_upstream_is_sent_nothing() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Upstream::new(target(&listener).await, UpstreamLimits::default()).unwrap();
        let played = async {
            let tcp = listener.accept().await.unwrap().0;
            assert!(acceptor().accept(tcp).await.is_err());
        };
        let (fault, ()) = tokio::join!(pool.send(get("/"), || panic!("sent")), played);
        let fault = fault.unwrap_err();
        assert_eq!((fault.sent, fault.kind), (false, UpstreamFaultKind::Tls));
    });
}

#[test]
fn a_silent_handshake_is_a_connect_timeout() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = UpstreamLimits { connect_timeout_ms: 20, ..UpstreamLimits::default() };
        let pool = Upstream::with_tls(target(&listener).await, limits, trusting()).unwrap();
        let fault = pool.send(get("/"), || panic!("sent")).await.unwrap_err();
        assert_eq!((fault.sent, fault.kind), (false, UpstreamFaultKind::ConnectTimeout));
    });
}
