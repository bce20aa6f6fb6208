//! A wire between a proxy and the gate on which one can read what the gate is asked and told.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Tap {
    pub(crate) port: u16,
    heard: Arc<Mutex<String>>,
}

impl Tap {
    /// A wire to `http://address`.
    pub(crate) fn on(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(String::new()));
        let ears = Arc::clone(&heard);
        // The threads go with the test's process.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let (ears, back) = (Arc::clone(&ears), (far.try_clone().unwrap(), near.try_clone().unwrap()));
                thread::spawn(move || {
                    pass(near, far, |bytes| ears.lock().unwrap().push_str(&String::from_utf8_lossy(bytes)))
                });
                thread::spawn(move || pass(back.0, back.1, |_| {}));
            }
        });
        Self { port, heard }
    }

    /// Everything that went to the gate since the last look, in lower case.
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut *self.heard.lock().unwrap()).to_ascii_lowercase()
    }

    /// How often something went to the gate since the last look.
    pub(crate) fn heard(&self, what: &str) -> usize {
        self.heard.lock().unwrap().matches(what).count()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut listen: impl FnMut(&[u8])) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        listen(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
