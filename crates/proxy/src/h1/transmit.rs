//! A message on its way out: its head, then its body as it comes, never more of it at once than the other side takes.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::{Cause, Out};

/// A smaller piece is copied behind what waits to be written: that is cheaper than a list of pieces.
const COPY_MAX_BYTES: usize = 8 * 1024;
/// No more is gathered before it is written.
const GATHER_MAX_BYTES: usize = 32 * 1024;

/// How the other side will know where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Bytes that are still owed.
    Length(u64),
    Chunked,
    UntilClose,
}

/// How far a message has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Over,
    /// The other side takes nothing more for now.
    Blocked,
    /// Everything is written that the body has given.
    Waits,
}

/// Why a message did not get out.
#[derive(Debug)]
pub(crate) enum TransmitFault {
    /// The body failed. What it gave before has been written.
    Body(Cause),
    /// The body was longer or shorter than declared.
    Length,
    Write(io::Error),
}

/// One message.
pub(crate) struct Transmit {
    out: Out,
    written: usize,
    /// A large piece of the body, behind `out`.
    data: Bytes,
    /// What follows `data`.
    tail: &'static [u8],
    coding: Coding,
    is_over: bool,
    failed: Option<TransmitFault>,
    has_moved: bool,
}

impl Transmit {
    /// `head` is written first. A body of no bytes is not asked for any.
    pub(crate) fn new(head: Out, coding: Coding) -> Transmit {
        let is_over = coding == Coding::Length(0);
        Transmit {
            out: head,
            written: 0,
            data: Bytes::new(),
            tail: b"",
            coding,
            is_over,
            failed: None,
            has_moved: false,
        }
    }

    /// Whether the last `poll` got anything out.
    pub(crate) fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Sends as much as can be sent now. `write` puts pieces into the stream; it is not called while the body is asked, which
    /// may be reading from the same connection.
    pub(crate) fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
        mut write: impl FnMut(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Result<Progress, TransmitFault>
    where
        B: Body<Data = Bytes> + ?Sized,
        B::Error: Into<Cause>,
    {
        self.has_moved = false;
        loop {
            self.gather(cx, body.as_mut());
            while !self.is_written() {
                let out = self.out.0.get(self.written..).unwrap_or_default();
                match write(cx, &[IoSlice::new(out), IoSlice::new(&self.data), IoSlice::new(self.tail)]) {
                    Poll::Pending => return Ok(Progress::Blocked),
                    Poll::Ready(Ok(0)) => return Err(TransmitFault::Write(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => self.advance(count),
                    Poll::Ready(Err(error)) => return Err(TransmitFault::Write(error)),
                }
            }
            self.out.0.clear();
            self.written = 0;
            if let Some(fault) = self.failed.take() {
                return Err(fault);
            }
            if self.is_over {
                return Ok(Progress::Over);
            }
            if !self.gather(cx, body.as_mut()) {
                return Ok(Progress::Waits);
            }
        }
    }

    /// Takes from the body what is there. Whether anything has changed.
    fn gather<B>(&mut self, cx: &mut Context<'_>, mut body: Pin<&mut B>) -> bool
    where
        B: Body<Data = Bytes> + ?Sized,
        B::Error: Into<Cause>,
    {
        let mut has_changed = false;
        while !self.is_over && self.failed.is_none() && self.has_room() {
            match body.as_mut().poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers end here: nobody announced them.
                    let data = frame.into_data().unwrap_or_default();
                    let ends = body.is_end_stream();
                    self.piece(data, ends);
                }
                Poll::Ready(Some(Err(error))) => self.failed = Some(TransmitFault::Body(error.into())),
                Poll::Ready(None) => self.piece(Bytes::new(), true),
            }
            has_changed = true;
        }
        has_changed
    }

    /// Puts a piece of the body behind what waits, and the body's end behind that.
    fn piece(&mut self, data: Bytes, ends: bool) {
        self.is_over = ends;
        match &mut self.coding {
            Coding::Length(owed) => {
                let left = owed.checked_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
                *owed = left.unwrap_or(0);
                if left.is_none() || (ends && *owed > 0) {
                    self.failed = Some(TransmitFault::Length);
                }
                match left {
                    None => return,
                    Some(left) => self.is_over |= left == 0,
                }
                self.tail = b"";
            }
            Coding::Chunked if data.is_empty() => {
                self.out.0.extend_from_slice(if ends { b"0\r\n\r\n" } else { b"" });
                return;
            }
            Coding::Chunked => {
                write!(self.out.0, "{:X}\r\n", data.len()).expect("memory takes every byte");
                self.tail = if ends { b"\r\n0\r\n\r\n" } else { b"\r\n" };
            }
            Coding::UntilClose => self.tail = b"",
        }
        if data.len() <= COPY_MAX_BYTES {
            self.out.0.extend_from_slice(&data);
            self.out.0.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.data = data;
        }
    }

    /// Whether another piece can be put behind what waits: not before a large one and its tail are gone.
    fn has_room(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.out.0.len() < GATHER_MAX_BYTES
    }

    fn is_written(&self) -> bool {
        self.written >= self.out.0.len() && self.data.is_empty() && self.tail.is_empty()
    }

    fn advance(&mut self, count: usize) {
        self.has_moved = true;
        let of_out = count.min(self.out.0.len().saturating_sub(self.written));
        self.written = self.written.saturating_add(of_out);
        let rest = count.saturating_sub(of_out);
        let of_data = rest.min(self.data.len());
        drop(self.data.split_to(of_data));
        let of_tail = rest.saturating_sub(of_data);
        self.tail = self.tail.get(of_tail..).unwrap_or_default();
    }
}

/// Writes what there is of some pieces, which is most often one.
pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut there = pieces.iter().filter(|piece| !piece.is_empty());
    match (there.next(), there.next()) {
        (Some(only), None) => Pin::new(stream).poll_write(cx, only),
        _ => Pin::new(stream).poll_write_vectored(cx, pieces),
    }
}
