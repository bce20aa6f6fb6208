//! An origin that serves only what pontage has let through. Run: PONTAGE_TRUST_SECRET=... PORT=3000 cargo run

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether pontage wrote these X-Pay-* headers for this very request, at most a minute ago. The names are lower-case.
pub fn from_pontage(method: &str, url: &str, headers: &HashMap<String, String>, secret: &str, now_s: u64) -> bool {
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let signature = header("x-pay-signature").strip_prefix("t=").and_then(|rest| rest.split_once(",v1="));
    let Some((t, v1)) = signature.filter(|(_, v1)| v1.len() == 64 && v1.bytes().all(|b| b.is_ascii_hexdigit())) else {
        return false;
    };
    let hex: Result<Vec<u8>, _> = (0..64).step_by(2).map(|at| u8::from_str_radix(&v1[at..at + 2], 16)).collect();
    let (Ok(hex), Ok(signed_s)) = (hex, t.parse::<u64>()) else { return false };
    let pay = ["verified", "from", "amount", "settlement", "tab"].map(|name| header(&format!("x-pay-{name}")));
    let message = [&[t, method, url], &pay[..]].concat().join("\n");
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a secret may have any length");
    now_s.abs_diff(signed_s) <= 60 && mac.chain_update(message).verify_slice(&hex).is_ok()
}

fn main() -> std::io::Result<()> {
    let secret = std::env::var("PONTAGE_TRUST_SECRET").expect("it is `proxy.trust_secret` of pontage's configuration");
    let port = std::env::var("PORT").unwrap_or("3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("listening on {}", listener.local_addr()?.port());
    serve(&listener, &secret);
    Ok(())
}

/// One request after the other, without a body: only to show the check. Use your own server.
pub fn serve(listener: &TcpListener, secret: &str) {
    for stream in listener.incoming().flatten() {
        // A caller who breaks off is not the next one's concern.
        let _ = answer(&stream, secret);
    }
}

fn answer(mut stream: &TcpStream, secret: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = request.split(' ');
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    // `free` and `false` are signed as well: that pontage spoke does not mean that somebody paid.
    let paid =
        headers.get("x-pay-verified").is_some_and(|v| ["true", "allowlisted", "paid-before"].contains(&v.as_str()));
    let served = paid && from_pontage(method, url, &headers, secret, now_s);
    let (status, body) = if served { ("200 OK", "served\n") } else { ("403 Forbidden", "not from pontage\n") };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
