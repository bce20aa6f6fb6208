//! HTTP/1.1 messages as bytes (RFC 9112), for both halves of the engine.

mod body;
mod head;
mod inbox;
mod out;
mod transmit;

#[cfg(test)]
mod tests;

pub(crate) use body::{Decoded, Decoder, Length};
pub(crate) use head::{AnswerHead, HeadFault, HeadReader, answer_head};
pub(crate) use inbox::Inbox;
pub(crate) use out::{Out, error_answer, is_close, with_date, write_field, write_length};
pub(crate) use transmit::{Coding, Progress, Transmit, TransmitFault, poll_write};

/// The number of fields in a head, of a caller's or an upstream's message.
pub(crate) const HEADERS_MAX: usize = 100;

pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;
