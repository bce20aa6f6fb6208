//! Bytes that were read and not taken yet.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// One read. A message that fits into it costs one allocation of its own size.
const READ_BYTES: usize = 16 * 1024;
/// One read of a stream that filled the last one.
const BULK_BYTES: usize = 64 * 1024;

thread_local! {
    /// Every connection of a core reads into the same place, so that those that wait hold no memory.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Bytes of one connection. Empty, it holds no memory, unless it was made to.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: BytesMut,
    is_bulk: bool,
    keeps: bool,
}

impl Inbox {
    /// One that keeps its memory for the next message: where connections are few, and each has one message after another.
    pub(crate) fn that_keeps() -> Inbox {
        Inbox { keeps: true, ..Inbox::default() }
    }

    /// Reads once and returns how many bytes came; none is the end of the stream.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.is_bulk || self.keeps {
            self.bytes.reserve(if self.is_bulk { BULK_BYTES } else { READ_BYTES });
            let polled = pin!(stream.read_buf(&mut self.bytes)).poll(cx);
            if polled.is_pending() && self.is_bulk && self.bytes.is_empty() {
                // Whoever waits needs no such room.
                (self.bytes, self.is_bulk) = (BytesMut::new(), false);
            }
            let read = ready!(polled)?;
            self.is_bulk = read >= READ_BYTES;
            return Poll::Ready(Ok(read));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(stream).poll_read(cx, &mut read))?;
            self.is_bulk = read.remaining() == 0;
            self.bytes.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets the first bytes.
    pub(crate) fn skip(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
        self.let_go();
    }

    /// Takes the first bytes, or as many as there are.
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        if count >= self.bytes.len() && !self.keeps {
            return std::mem::take(&mut self.bytes).freeze();
        }
        self.bytes.split_to(count.min(self.bytes.len())).freeze()
    }

    fn let_go(&mut self) {
        if self.bytes.is_empty() && !self.is_bulk && !self.keeps {
            self.bytes = BytesMut::new();
        }
    }
}
