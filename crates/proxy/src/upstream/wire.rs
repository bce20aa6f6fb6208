//! The byte stream under a pooled connection: plain or TLS, with a gate before the first byte of every request.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The transport of one connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The switches that the owner of a connection keeps while hyper owns the stream.
#[derive(Default)]
pub(super) struct Switches {
    gate: Cell<Gate>,
    probe: Cell<bool>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    /// Nothing of the present request has been written.
    #[default]
    Shut,
    /// hyper wants to write and has been told to wait.
    Knocked,
    Open,
}

impl Switches {
    /// Before a request: nothing may be written until `open`.
    pub(super) fn shut(&self) {
        self.gate.set(Gate::Shut);
    }

    /// On a connection that was idle: reads ask the kernel too, until `open`. A fresh one is not probed, because TLS 1.3
    /// session tickets may be on their way.
    pub(super) fn start_probing(&self) {
        self.probe.set(true);
    }

    pub(super) fn has_knocked(&self) -> bool {
        self.gate.get() == Gate::Knocked
    }

    /// Whether a byte of the present request may have left.
    pub(super) fn is_open(&self) -> bool {
        self.gate.get() == Gate::Open
    }

    pub(super) fn open(&self) {
        self.gate.set(Gate::Open);
        self.probe.set(false);
    }

    /// Whether a write is to wait; remembers that one was tried.
    fn holds_back(&self) -> bool {
        match self.gate.get() {
            Gate::Open => false,
            Gate::Shut | Gate::Knocked => {
                self.gate.set(Gate::Knocked);
                true
            }
        }
    }
}

/// A stream that tells its owner before the first byte of a request leaves, and that hears of a closed peer early.
///
/// While the gate is not open a write waits without a waker: the owner polls the connection himself and looks at
/// `has_knocked` at once. While probing, a read that tokio believes not ready is checked against the kernel, because tokio
/// learns of a hang-up only when its driver runs; a request written into a closed connection could not be sent again.
pub(super) struct Wire {
    stream: Stream,
    switches: Rc<Switches>,
    /// After a failed write only the reading side decides: an upstream that answers early and closes has left its answer
    /// in our receive buffer, and the write's error would hide it.
    write_failed: bool,
}

impl Wire {
    pub(super) fn new(stream: Stream, switches: Rc<Switches>) -> Wire {
        Wire { stream, switches, write_failed: false }
    }

    /// Runs a write unless it must wait; a failed one waits for ever.
    fn write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.write_failed || self.switches.holds_back() {
            return Poll::Pending;
        }
        match write(Pin::new(&mut self.stream), cx) {
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "upstream write failed, reading on");
                self.write_failed = true;
                // The read side was polled before this write; look again, its error or its bytes are there now.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Asks the kernel whether the peer has closed. `Some` ends the reading.
    fn probe(&self) -> Option<io::Result<()>> {
        let mut byte = [MaybeUninit::<u8>::uninit(); 1];
        match SockRef::from(self.tcp()).peek(&mut byte) {
            Ok(0) => Some(Ok(())),
            // Bytes on an idle connection belong to no request; on TLS they are most likely the close notification.
            Ok(_) => Some(Err(io::ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending if self.switches.probe.get() => match self.stream.probe() {
                Some(end) => Poll::Ready(end),
                None => Poll::Pending,
            },
            other => other,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write_with(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_with(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.write_failed {
            true => Poll::Pending,
            false => Pin::new(&mut self.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.write_failed {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
