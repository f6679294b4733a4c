//! A connection that waits for its client, but not for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Bytes that a client takes within the time, at least, while it is waited for.
const TAKEN: usize = 64 * 1024;

/// A stream whose writing fails when the other side takes next to nothing for too long. A client that takes a byte now and
/// then holds a connection and its answer as well as one that takes none.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs while the client is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    taken: usize,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, timer: None, taken: 0 }
    }

    fn settle(&mut self) {
        self.timer = None;
        self.taken = 0;
    }

    /// Notes what became of an attempt to write.
    fn note(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.taken = self.taken.saturating_add(count);
                if self.taken >= TAKEN {
                    self.settle();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let patience = self.patience;
                let timer =
                    self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                if timer.as_mut().poll(context).is_ready() {
                    let words = "the client takes too little of the answer";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)));
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.settle();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut() {
        let (near, _far) = tokio::io::duplex(1_000);
        let mut stream = Patient::new(near, Duration::from_secs(20));
        let error = stream.write_all(&[0; 10_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_now_and_then_is_cut_and_a_slow_one_is_not() {
        for (pause, whole) in [(Duration::from_secs(1), false), (Duration::from_millis(200), true)]
        {
            let (near, mut far) = tokio::io::duplex(1_000);
            let mut stream = Patient::new(near, Duration::from_secs(20));
            let writer = async move { stream.write_all(&vec![0; 1_000_000]).await.is_ok() };
            let reader = async move {
                let mut buffer = [0; 1_000];
                while matches!(far.read(&mut buffer).await, Ok(1..)) {
                    tokio::time::sleep(pause).await;
                }
            };
            let (written, ()) = tokio::join!(async { tokio::spawn(writer).await.unwrap() }, reader);
            assert_eq!(written, whole, "a kilobyte every {pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_between_answers_is_no_stall() {
        let (near, mut far) = tokio::io::duplex(1_000);
        let mut stream = Patient::new(near, Duration::from_secs(20));
        for _ in 0..3 {
            let reader = async {
                tokio::time::sleep(Duration::from_secs(15)).await;
                far.read_exact(&mut [0; 1_500]).await.unwrap();
            };
            let writer = async {
                stream.write_all(&[0; 1_500]).await.unwrap();
                stream.flush().await.unwrap();
            };
            tokio::join!(writer, reader);
        }
    }
}
