//! A wire between the gate and its chain node that a test can cut, and on which it can hold requests up.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Default)]
struct State {
    cut: bool,
    open: Vec<TcpStream>,
    /// Requests that hold the first text and not the second are held up.
    rules: Vec<(String, String)>,
    held: usize,
}

impl State {
    fn holds(&self, request: &[u8]) -> bool {
        let text = String::from_utf8_lossy(request);
        self.rules.iter().any(|(what, but)| text.contains(what) && !text.contains(but))
    }
}

/// Passes connections on to a node until it is cut.
pub(crate) struct Link {
    url: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Link {
    /// A wire to `http://address`.
    pub(crate) fn to(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut state = shared.0.lock().unwrap();
                if state.cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for stream in [&near, &far] {
                    stream.set_nodelay(true).expect("a socket");
                    state.open.push(stream.try_clone().expect("a socket"));
                }
                let (mut up, mut up_to) = (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    forward(&mut up, &mut up_to, &shared);
                    // Either end may go at any time; the other must hear of it.
                    drop(up_to.shutdown(Shutdown::Both));
                });
                let (mut down, mut down_to) = (far, near);
                thread::spawn(move || {
                    drop(std::io::copy(&mut down, &mut down_to));
                    drop(down_to.shutdown(Shutdown::Both));
                });
            }
        });
        Self { url, state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Breaks every connection and takes no more.
    pub(crate) fn cut(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.cut = true;
        for stream in state.open.drain(..) {
            // It may be gone already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    pub(crate) fn mend(&self) {
        self.state.0.lock().unwrap().cut = false;
    }

    /// Holds up every request that contains one text and not another, until `let_go`.
    pub(crate) fn hold(&self, what: &str, but: &str) {
        self.state.0.lock().unwrap().rules.push((what.to_owned(), but.to_owned()));
    }

    /// How many requests wait.
    pub(crate) fn held(&self) -> usize {
        self.state.0.lock().unwrap().held
    }

    /// Lets those go that a rule for this text holds up.
    pub(crate) fn let_go(&self, what: &str) {
        self.state.0.lock().unwrap().rules.retain(|(rule, _)| rule != what);
        self.state.1.notify_all();
    }
}

/// Passes requests on, each as it was written: the gate writes head and body of a request at once.
fn forward(from: &mut TcpStream, to: &mut TcpStream, state: &(Mutex<State>, Condvar)) {
    let mut bytes = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let request = &bytes[..count];
        let mut now = state.0.lock().unwrap();
        if now.holds(request) {
            now.held += 1;
            now = state.1.wait_timeout_while(now, Duration::from_secs(60), |now| now.holds(request)).unwrap().0;
            now.held -= 1;
        }
        drop(now);
        if to.write_all(request).is_err() {
            return;
        }
    }
}
