//! Lines on their way to standard error, by a thread of their own.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. With a line's bound that is 32 MiB at the very most, and about 4 MiB of usual ones.
const WAITING_MAX: usize = 8_192;
const LINE_MAX_BYTES: usize = 4_096;
/// What is written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// How long the end waits for a reader that does not read.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

enum Item {
    Line(Vec<u8>),
    /// Everything before it is written: tell.
    Flush(SyncSender<()>),
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the thread. It ends with the process.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, items) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(out, &items))?;
        Ok(Self { queue, lost: Arc::default() })
    }

    /// Hands a line over, with its line feed, or loses it.
    pub(super) fn send(&self, mut line: Vec<u8>) {
        if line.len() > LINE_MAX_BYTES {
            line.truncate(LINE_MAX_BYTES - 1);
            line.push(b'\n');
        }
        if self.queue.try_send(Item::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Waits until everything so far is written, or nobody has read for a while.
    pub(super) fn flush(&self) {
        let end = Instant::now() + FLUSH_WAIT;
        let (tell, told) = sync_channel(1);
        let mut item = Item::Flush(tell);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(item) {
            if Instant::now() > end {
                return;
            }
            item = back;
            thread::park_timeout(Duration::from_millis(5));
        }
        // An error means that the wait is over, or the thread: there is nobody to tell either way.
        told.recv_timeout(end.saturating_duration_since(Instant::now())).ok();
    }
}

/// Writes whatever has come together, in one go. A failed write is not tried again: there is nowhere to say so.
fn write_all(mut out: impl Write, items: &Receiver<Item>) {
    let mut bytes = Vec::with_capacity(WRITE_BYTES);
    while let Ok(first) = items.recv() {
        let mut told = Vec::new();
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Line(line) => bytes.extend_from_slice(&line),
                Item::Flush(tell) => told.push(tell),
            }
            next = if bytes.len() < WRITE_BYTES { items.try_recv().ok() } else { None };
        }
        out.write_all(&bytes).ok();
        out.flush().ok();
        bytes.clear();
        for tell in told {
            tell.send(()).ok();
        }
    }
}

/// One event of `tracing`, which comes in one piece.
pub(super) struct Event<'a>(&'a Lines);

impl Write for Event<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Event(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flush_has_everything() {
        let out = Shared::default();
        let lines = Lines::start(out.clone()).unwrap();
        for at in 0..1_000 {
            lines.send(format!("{at}\n").into_bytes());
        }
        lines.send(vec![b'x'; 10_000]);
        lines.flush();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1_001);
        assert!(text.starts_with("0\n1\n2\n") && text.ends_with("x\n"));
        assert_eq!(text.lines().last().unwrap().len(), LINE_MAX_BYTES - 1, "a long line is cut");
    }

    /// A reader that never reads.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_the_lost_are_counted() {
        let (go, stuck) = sync_channel(0);
        let lines = Lines::start(Stuck(stuck)).unwrap();
        for _ in 0..3 * WAITING_MAX {
            lines.send(vec![b'x'; 100]);
        }
        let lost = lines.lost().load(Ordering::Relaxed);
        assert!(lost as usize >= WAITING_MAX && lost as usize <= 2 * WAITING_MAX, "{lost}");
        drop(go);
    }
}
