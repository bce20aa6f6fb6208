use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// A server that answers every request with this status, and what it lists.
fn server(status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = r#"{"kinds":[{"x402Version":1,"scheme":"exact","network":"base"}]}"#;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok() {
                stream.write_all(format!("{head}{body}").as_bytes()).ok();
            }
        }
    });
    url
}

fn nowhere() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn sites(urls: &[String]) -> Sites {
    let terms = Terms {
        bearer: Bearer::new("a-token"),
        domain: Some("api.example".to_owned()),
        verify_timeout_ms: 1_000,
        settle_timeout_ms: 1_000,
    };
    Sites::new(urls, terms)
}

#[tokio::test]
async fn who_is_there() {
    let (base, other) = (Network { chain_id: 8_453 }, Network { chain_id: 1 });
    for (url, reachable, speaks) in [
        (server(200), true, (Some(Version::V1), None)),
        // One that does not know the path is there all the same, and is asked in v2.
        (server(404), true, (Some(Version::V2), Some(Version::V2))),
        (server(500), false, (Some(Version::V2), Some(Version::V2))),
        (nowhere(), false, (Some(Version::V2), Some(Version::V2))),
    ] {
        let sites = sites(&[url]);
        assert!(!sites.answer(), "nobody has looked");
        let health = sites.health().await.unwrap();
        assert_eq!((health.len(), health[0].reachable, health[0].resting), (1, reachable, false));
        assert_eq!(sites.answer(), reachable);
        assert_eq!((sites.sites[0].speaks(base), sites.sites[0].speaks(other)), speaks);
    }
    let both = sites(&[nowhere(), server(200)]);
    both.health().await.unwrap();
    assert!(both.answer(), "one is enough");
}

#[test]
fn nothing_secret_is_printed() {
    let sites = sites(&["https://a.example/a-key".to_owned()]);
    let remote = sites.remote(Network::BASE_SEPOLIA, &[]).unwrap();
    let printed = format!("{sites:?} {remote:?} {:?}", sites.terms);
    assert!(!printed.contains("a-token") && !printed.contains("a-key"), "{printed}");
}
