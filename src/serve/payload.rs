//! The body of an answer: bytes in memory, or a part of an open file that is read as the client takes it.

use std::future::Future as _;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::content::{Source, read_chunk};

/// A body.
#[derive(Debug)]
pub(super) struct Payload {
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    /// Taken when it is sent.
    Memory(Bytes),
    File {
        source: Source,
        range: Range<u64>,
        reading: Option<JoinHandle<io::Result<Bytes>>>,
    },
}

impl Payload {
    pub(super) fn empty() -> Self {
        Self { rest: Rest::Memory(Bytes::new()) }
    }

    pub(super) fn memory(bytes: impl Into<Bytes>) -> Self {
        Self { rest: Rest::Memory(bytes.into()) }
    }

    /// These bytes of a source; the range lies within it.
    pub(super) fn part(source: Source, range: Range<u64>) -> Self {
        let rest = match source {
            Source::Memory(bytes) => {
                let place =
                    |offset| usize::try_from(offset).map_or(bytes.len(), |o| o.min(bytes.len()));
                let (start, end) = (place(range.start), place(range.end));
                Rest::Memory(bytes.slice(start.min(end)..end))
            }
            source @ Source::File { .. } => Rest::File { source, range, reading: None },
        };
        Self { rest }
    }

    pub(super) fn length(&self) -> u64 {
        match &self.rest {
            Rest::Memory(bytes) => bytes.len() as u64,
            Rest::File { range, .. } => range.end.saturating_sub(range.start),
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.rest {
            Rest::Memory(bytes) if bytes.is_empty() => Poll::Ready(None),
            Rest::Memory(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Rest::File { source: Source::File { file, .. }, range, reading } => {
                if range.is_empty() {
                    return Poll::Ready(None);
                }
                // A disk that hangs must not hold up the other clients.
                let task = reading.get_or_insert_with(|| {
                    let (file, Range { start, end }) = (file.clone(), range.clone());
                    tokio::task::spawn_blocking(move || read_chunk(&file, start, end))
                });
                let read = ready!(Pin::new(task).poll(context)).map_err(io::Error::other);
                *reading = None;
                let chunk = match read.and_then(std::convert::identity) {
                    Ok(chunk) => chunk,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                };
                range.start += chunk.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Rest::File { .. } => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}
