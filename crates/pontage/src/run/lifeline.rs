//! The threads that money depends on.

use std::thread;

use tokio::sync::mpsc;
use tracing::error;

/// The threads that money depends on. When one of them ends, the process stops: it would go on serving what nobody settles.
#[derive(Clone, Debug)]
pub(crate) struct Lifeline(mpsc::UnboundedSender<&'static str>);

impl Lifeline {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Starts a thread whose end, also by a panic, is told.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<thread::JoinHandle<()>> {
        let end = End { name, lifeline: self.clone() };
        let run = move || {
            let _end = end;
            if let Err(error) = run() {
                error!(thread = name, error = format!("{error:#}"), "a thread failed");
            }
        };
        Ok(thread::Builder::new().name(name.to_owned()).spawn(run)?)
    }
}

/// Tells of a thread's end when it is dropped.
struct End {
    name: &'static str,
    lifeline: Lifeline,
}

impl Drop for End {
    fn drop(&mut self) {
        // Nobody listens any more once the process is stopping.
        self.lifeline.0.send(self.name).ok();
    }
}
