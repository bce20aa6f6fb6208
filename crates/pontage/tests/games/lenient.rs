//! An upstream as sloppy as they come: it writes down every request that reaches it, and answers with its line. Whether its paid
//! handler would have run is judged by [`runs_paid`], with all the liberties that frameworks take.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    /// What two readers could understand differently.
    pub(crate) ambiguous: Vec<&'static str>,
}

/// The upstream. Connections are kept alive, so that whatever is smuggled behind a request is read as the next one.
pub(crate) struct Lenient {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Lenient {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that has arrived since it was asked the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<Seen>>) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(request) = head(&mut reader) {
        let (length, chunked) = (request.get("content-length"), request.get("transfer-encoding").is_some());
        let (line, is_head) = (request.line.clone(), request.line.starts_with("HEAD "));
        // Noted before its body is read: a handler may run by then.
        seen.lock().unwrap().push(request);
        let read = if chunked { chunks(&mut reader) } else { skip(&mut reader, length) };
        let body = if is_head { "" } else { line.as_str() };
        let head = format!("HTTP/1.1 200 OK\r\nx-lenient: yes\r\ncontent-length: {}\r\n\r\n", line.len());
        let answered = (&mut &*stream).write_all(format!("{head}{body}").as_bytes());
        if read.is_none() || answered.is_err() {
            return;
        }
    }
}

impl Seen {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

fn head(reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
    let mut seen = Seen { line: String::new(), headers: Vec::new(), ambiguous: Vec::new() };
    loop {
        let mut bytes = Vec::new();
        reader.read_until(b'\n', &mut bytes).ok().filter(|count| *count > 0)?;
        if !bytes.ends_with(b"\r\n") || bytes[..bytes.len() - 2].contains(&b'\r') {
            seen.ambiguous.push("a line that does not end in CRLF alone");
        }
        if bytes.contains(&0) {
            seen.ambiguous.push("a null");
        }
        let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
        if seen.line.is_empty() {
            seen.line = line;
        } else if line.is_empty() {
            break;
        } else {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            if name.is_empty() || name.contains(char::is_whitespace) {
                seen.ambiguous.push("a name with white space");
            }
            seen.headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let count = |what: &str| seen.headers.iter().filter(|(name, _)| name == what).count();
    let length = seen.get("content-length");
    let framings = count("content-length") + count("transfer-encoding");
    if framings > 1 || count("host") != 1 {
        seen.ambiguous.push("two framings, or not one Host");
    }
    if length.is_some_and(|length| length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit())) {
        seen.ambiguous.push("an odd length");
    }
    if seen.get("transfer-encoding").is_some_and(|coding| coding != "chunked") {
        seen.ambiguous.push("an odd coding");
    }
    Some(seen)
}

fn skip(reader: &mut BufReader<&TcpStream>, length: Option<String>) -> Option<()> {
    let length = length.map_or(Some(0), |length| length.parse().ok())?;
    let read = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
    (read == length).then_some(())
}

fn chunks(reader: &mut BufReader<&TcpStream>) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let size = u64::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            loop {
                let mut trailer = String::new();
                reader.read_line(&mut trailer).ok().filter(|count| *count > 0)?;
                if trailer.trim().is_empty() {
                    return Some(());
                }
            }
        }
        skip(reader, Some((size + 2).to_string()))?;
    }
}

/// Which reading of a request, if any, would run the paid handler of a framework.
pub(crate) fn runs_paid(seen: &Seen) -> Option<String> {
    let mut words = seen.line.splitn(3, ' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut methods = vec![method.to_ascii_uppercase()];
    for name in ["x-http-method-override", "x-method-override", "x-http-method"] {
        methods
            .extend(seen.headers.iter().filter(|(known, _)| spelt(known, name)).map(|(_, m)| m.to_ascii_uppercase()));
    }
    let mut targets = vec![target.to_owned()];
    for name in ["x-original-url", "x-rewrite-url"] {
        targets.extend(seen.headers.iter().filter(|(known, _)| spelt(known, name)).map(|(_, url)| url.clone()));
    }
    for target in targets {
        for path in readings(&target) {
            for method in &methods {
                if is_paid(method, &path) {
                    return Some(format!("{method} {path}"));
                }
            }
        }
    }
    None
}

/// CGI and its kin read an underscore as a hyphen.
fn spelt(known: &str, name: &str) -> bool {
    known.replace('_', "-") == name
}

fn is_paid(method: &str, path: &str) -> bool {
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments[..] {
        ["paid", ..] | ["users", _, "report"] => true,
        ["get-only"] => matches!(method, "GET" | "HEAD"),
        _ => false,
    }
}

/// Every path that some framework makes of a target: any of its liberties, in any order, decoding at most twice.
fn readings(target: &str) -> BTreeSet<String> {
    let bare = target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    let bare = bare.split(['?', '#']).next().unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut open = vec![(bare.to_owned(), 0)];
    while let Some((path, decoded)) = open.pop() {
        if !found.insert(path.clone()) {
            continue;
        }
        let mut next = vec![
            path.replace('\\', "/"),
            path.to_lowercase(),
            collapse(&path),
            without_parameters(&path),
            resolve(&path),
            path.trim().to_owned(),
        ];
        for end in ['?', '#', '\0'] {
            next.push(path.split(end).next().unwrap_or_default().to_owned());
        }
        open.extend(next.into_iter().map(|path| (path, decoded)));
        if decoded < 2 {
            open.push((decode(&path), decoded + 1));
        }
    }
    found
}

fn collapse(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

fn without_parameters(path: &str) -> String {
    let bare = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    bare.collect::<Vec<_>>().join("/")
}

fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            // A climb above the root stays there.
            ".." if kept.len() > 1 => drop(kept.pop()),
            ".." => {}
            other => kept.push(other),
        }
    }
    kept.join("/")
}

/// Percent-decodes once, as carelessly as can be: overlong forms and `%u` count, what is malformed stays.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let hex = |from: usize, to: usize| {
        let digits = bytes.get(from..to).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (value, length) = match bytes[at] {
            b'%' if matches!(bytes.get(at + 1), Some(b'u' | b'U')) => (hex(at + 2, at + 6), 6),
            b'%' => match (hex(at + 1, at + 3), hex(at + 4, at + 6)) {
                // Overlong: the low bits of the second byte are the character.
                (Some(0xC0), Some(low)) => (Some(low & 0x3F), 6),
                (Some(0xC1), Some(low)) => (Some(0x40 | (low & 0x3F)), 6),
                (value, _) => (value, 3),
            },
            _ => (None, 0),
        };
        match value.map(u8::try_from) {
            Some(Ok(byte)) => {
                out.push(byte);
                at += length;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The judge itself: without this, a table that finds nothing would say nothing.
#[test]
fn the_upstream_is_as_lenient_as_it_says() {
    let seen = |line: &str, header: &str| {
        let headers = header.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Seen { line: format!("{line} HTTP/1.1"), headers: headers.into_iter().collect(), ambiguous: Vec::new() }
    };
    for (line, header) in [
        ("GET /paid/ok", ""),
        ("PUT /PAID", ""),
        ("GET //paid//ok?x", ""),
        ("GET /%70aid/ok", ""),
        ("GET /%2570aid/ok", ""),
        ("GET /free/%252e%252e/paid/ok", ""),
        ("GET /free/..%2f..%2fpaid%2fok", ""),
        ("GET /free\\..\\paid\\ok", ""),
        ("GET /free/..;x/paid/ok", ""),
        ("GET /free/%c0%ae%c0%ae/paid/ok", ""),
        ("GET /%u0070aid/ok", ""),
        ("GET /paid%00/ok", ""),
        ("GET /paid;v=1/ok", ""),
        ("GET /paid%3bv/ok", ""),
        ("GET http://h/paid/ok", ""),
        ("GET /users/7;x/Report/", ""),
        ("HEAD /get-only", ""),
        ("POST /get-only", "x-http-method-override: get"),
        ("POST /get-only", "x_method_override: GET"),
        ("GET /free/ok", "x-original-url: /paid/ok"),
    ] {
        assert!(runs_paid(&seen(line, header)).is_some(), "{line} {header}");
    }
    for (line, header) in [
        ("GET /free/ok", ""),
        ("GET /free/paid/ok", ""),
        ("POST /get-only", ""),
        ("GET /users/report", ""),
        ("GET /paidx", ""),
        ("GET /%252570aid/ok", ""),
    ] {
        assert_eq!(runs_paid(&seen(line, header)), None, "{line} {header}");
    }
}
