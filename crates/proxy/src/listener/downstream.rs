//! The byte stream of a caller: framing watched on the way in, patience limited on the way out.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};

use super::framing::{Framing, Scan};

/// What hyper reads in place of the rest of an ambiguous head: a byte that no head may hold, and an end that makes it parse
/// the head now. It answers 400 and closes.
const POISON: &[u8] = b"\0\r\n\r\n";
/// Bytes and time spent on a caller who still sends while he has been answered.
const LINGER_MAX_BYTES: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A caller's connection as hyper sees it.
pub(super) struct Downstream {
    tcp: TcpStream,
    framing: Framing,
    /// What is left of the poison; `None` as long as nothing was ambiguous.
    poison: Option<&'static [u8]>,
    write_idle_time: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
    write_waits: bool,
}

impl Downstream {
    pub(super) fn new(tcp: TcpStream, write_idle_time: Duration) -> Downstream {
        Downstream {
            tcp,
            framing: Framing::new(),
            poison: None,
            write_idle_time,
            write_timer: None,
            write_waits: false,
        }
    }

    /// Closes so that the caller sees an error rather than an end of file.
    pub(super) fn reset(self) {
        if let Err(error) = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "a connection could not be set to reset");
        }
    }

    /// Reads and forgets for a while when the caller is in the middle of a message, so that the answer he has been given is
    /// not destroyed by the reset that closing with unread bytes would send.
    pub(super) async fn linger(mut self) {
        if self.poison.is_none() && !self.framing.is_mid_message() {
            return;
        }
        let mut scrap = vec![0_u8; 8 * 1024];
        let mut left = LINGER_MAX_BYTES;
        let drain = async {
            while let Ok(read @ 1..) = self.tcp.read(&mut scrap).await {
                left = left.saturating_sub(read);
                if left == 0 {
                    return;
                }
            }
        };
        if timeout(LINGER_TIME, drain).await.is_err() {
            tracing::debug!("a caller went on sending after its answer");
        }
    }

    /// Turns a write that waits for too long into an error: a caller who does not read would keep an upstream busy.
    fn limit<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_waits = false;
            return polled;
        }
        let deadline = Instant::now() + self.write_idle_time;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.write_waits {
            timer.as_mut().reset(deadline);
            self.write_waits = true;
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Downstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.poison.is_none() {
            std::task::ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
            match this.framing.scan(buf.filled().get(before..).unwrap_or_default()) {
                Scan::Clear => return Poll::Ready(Ok(())),
                Scan::BadBody => {
                    let error = "the request body's framing is ambiguous";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Scan::BadHead(at) => {
                    buf.set_filled(before.saturating_add(at));
                    this.poison = Some(POISON);
                }
            }
        }
        let poison = this.poison.unwrap_or_default();
        let (now, later) = poison.split_at(poison.len().min(buf.remaining()));
        buf.put_slice(now);
        this.poison = Some(later);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.limit(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.limit(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
