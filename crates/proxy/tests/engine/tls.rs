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
fn what_is_behind_an_answer_is_no_answer_to_another_call() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Upstream::with_tls(target(&listener).await, UpstreamLimits::default(), trusting()).unwrap();
        // One record, so that nothing of the next one is read with it.
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 16342\r\n\r\n";
        let whole = format!("{head}{}", "x".repeat(16_342));
        assert_eq!(whole.len(), 16 * 1024);
        let serve = async |answer: &str, behind: &str| {
            let tcp = listener.accept().await.unwrap().0;
            let mut tls = acceptor().accept(tcp).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tls.read_u8().await.unwrap());
            }
            tls.write_all(answer.as_bytes()).await.unwrap();
            tls.write_all(behind.as_bytes()).await.unwrap();
            tls.flush().await.unwrap();
            tls
        };
        let call = async || text(pool.send(get("/"), || {}).await.unwrap().into_body()).await;
        let stolen = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nSTOLEN";
        let (answer, _first) = tokio::join!(call(), serve(&whole, stolen));
        assert_eq!(answer.len(), 16_342);
        let (answer, _second) = tokio::join!(call(), serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", ""));
        assert_eq!(answer, "hi");
    });
}

/// The upstream reads nothing for a while: what TLS holds must follow without being asked again.
#[test]
fn a_large_request_reaches_an_upstream_that_reads_late() {
    const SIZE: usize = 8 << 20;
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Upstream::with_tls(target(&listener).await, UpstreamLimits::default(), trusting()).unwrap();
        for odd in [0, 1, 4_096, 16_383, 16_384] {
            let size = SIZE + odd;
            let serve = async {
                let tcp = listener.accept().await.unwrap().0;
                let mut tls = acceptor().accept(tcp).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let (mut read, mut piece, mut tail) = (0, vec![0; 64 * 1024], Vec::new());
                while !tail.ends_with(b"end") {
                    let count = tls.read(&mut piece).await.unwrap();
                    assert_ne!(count, 0);
                    read += count;
                    tail.extend_from_slice(&piece[..count]);
                    tail.drain(..tail.len().saturating_sub(3));
                }
                tls.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                tls.shutdown().await.ok();
                read
            };
            let body = [vec![b'x'; size], b"end".to_vec()].concat();
            let request = http::Request::post("/").body(http_body_util::Full::new(bytes::Bytes::from(body))).unwrap();
            let (answer, read) = tokio::join!(pool.send(request, || {}), serve);
            assert_eq!(text(answer.unwrap().into_body()).await, "hi");
            assert!(read > size, "{read}");
        }
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
