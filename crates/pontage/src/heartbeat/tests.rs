//! A directory that answers as it is told to.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use super::*;
use crate::config;

const QUICK: Pace = Pace {
    every: Duration::from_millis(300),
    back_off: [Duration::from_millis(20), Duration::from_millis(40)],
    timeout: Duration::from_secs(5),
};

fn config(more: &str) -> Config {
    let text = format!(
        "version: 1\nprovider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"\n\
         proxy: {{ target: \"http://upstream.internal:3000\" }}\n\
         networks: {{ eip155:8453: {{ rpc_urls: [\"http://127.0.0.1:8545\"] }} }}\n\
         routes: [{{ path: /health, free: true }}, {{ path: /paid/*, price: \"0.01\" }}{more}]\n"
    );
    let mut config = config::parse(&text, "pontage.yaml", Path::new("/"), &|_| None).unwrap();
    config.discovery.heartbeat_url = Some("http://127.0.0.1:1/heartbeat".to_owned());
    config.discovery.base_url = Some("https://api.example/".to_owned());
    config
}

/// Answers with each status in turn, the last one for ever, and gives out when and what came.
fn directory(statuses: &'static [u16]) -> (String, Receiver<(Instant, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v1/discover/heartbeat", listener.local_addr().unwrap());
    let (tell, told) = channel();
    thread::spawn(move || {
        for at in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut text = String::new();
            let mut piece = [0; 4096];
            while !text.ends_with('}') {
                let count = stream.read(&mut piece).unwrap_or_default();
                if count == 0 {
                    break;
                }
                text.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
            let status = statuses.get(at).or(statuses.last()).unwrap();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
            if tell.send((Instant::now(), text)).is_err() {
                return;
            }
        }
    });
    (url, told)
}

#[test]
fn g_080_payload() {
    let payload = Heartbeat::of(&config("")).unwrap().payload;
    assert_eq!((&payload["domain"], &payload["name"]), (&json!("api.example"), &json!("api.example")));
    assert_eq!(
        payload["routes"],
        json!([{ "path": "/paid/*", "method": "GET", "price": "0.01", "settlement": "tab" }])
    );
    assert_eq!(
        (&payload["settlement_mode"], &payload["gate_version"]),
        (&json!("tab"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert!(!payload.to_string().contains("upstream.internal"));
    let mixed = config(", { path: /dear, price: \"5\" }");
    assert_eq!(Heartbeat::of(&mixed).unwrap().payload["settlement_mode"], "mixed");
    let mut hidden = config("");
    hidden.discovery.discoverable = false;
    assert!(Heartbeat::of(&hidden).is_none());
    let mut quiet = config("");
    quiet.discovery.heartbeat_url = None;
    assert!(Heartbeat::of(&quiet).is_none());
    assert_eq!((PACE.every.as_secs(), PACE.back_off.map(|pause| pause.as_secs())), (3_600, [2, 4]));
}

#[test]
fn three_attempts_and_then_again_at_its_time() {
    let (url, told) = directory(&[500, 500, 500, 200]);
    let heartbeat = Heartbeat { url, ..Heartbeat::of(&config("")).unwrap() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = heartbeat.run_at(QUICK) => {}
                _ = stopped => {}
            }
        });
    });
    let came: Vec<_> = (0..5).map(|_| told.recv_timeout(Duration::from_secs(20)).expect("a heartbeat")).collect();
    stop.send(()).unwrap();
    running.join().unwrap();
    let gaps: Vec<_> = came.windows(2).map(|two| two[1].0 - two[0].0).collect();
    let least = [QUICK.back_off[0], QUICK.back_off[1], QUICK.every, QUICK.every];
    for (at, (gap, least)) in gaps.iter().zip(least).enumerate() {
        // The clock of the one who sleeps and of the one who looks differ by what a request takes.
        assert!(*gap + Duration::from_millis(15) >= least, "pause {at} was {gap:?}");
    }
    for (_, text) in &came {
        assert!(text.starts_with("POST /api/v1/discover/heartbeat HTTP/1.1"), "{text}");
        assert!(text.contains("\"provider_address\":\"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\""));
    }
}
