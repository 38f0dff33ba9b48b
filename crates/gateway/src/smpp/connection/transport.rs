//! The two directions of one connection, driven by one task: all that waits leaves in one write, all that came is read at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::dial::Wire;
use super::outbox::Outbox;
use crate::smpp::codec::pdu::{self, Header, Unframed};

/// Room for one read.
const READ_LEN: usize = 64 * 1024;

/// The direction in which octets went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::smpp) enum Went {
    /// To us, and perhaps to the provider, too.
    In,
    /// Only to the provider.
    Out,
}

/// A connection to an SMSC.
pub(in crate::smpp) struct Transport {
    wire: Box<dyn Wire>,
    outbox: Arc<Outbox>,
    /// Came and was not looked at.
    inbox: BytesMut,
    /// Taken from the outbox and not written.
    out: BytesMut,
    /// TLS may hold back what it took.
    unflushed: bool,
}

impl Transport {
    pub(in crate::smpp) fn new(wire: Box<dyn Wire>) -> Self {
        Self { wire, outbox: Arc::default(), inbox: BytesMut::new(), out: BytesMut::new(), unflushed: false }
    }

    /// The queue of octets to be written.
    pub(in crate::smpp) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Writes what waits, then reads what came. Ready when octets went either way.
    pub(in crate::smpp) fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Went>> {
        self.outbox.watch(cx.waker());
        let before = self.outbox.written();
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        let went = match self.poll_receive(cx)? {
            Poll::Ready(0) => {
                let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the provider");
                return Poll::Ready(Err(ended));
            }
            Poll::Ready(_) => Went::In,
            Poll::Pending if self.outbox.written() > before => Went::Out,
            Poll::Pending => return Poll::Pending,
        };
        self.outbox.unwatch();
        Poll::Ready(Ok(went))
    }

    /// [`Transport::poll_exchange`] as a future. Dropping it loses nothing.
    pub(in crate::smpp) async fn exchange(&mut self) -> io::Result<Went> {
        std::future::poll_fn(|cx| self.poll_exchange(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbox.reserve(READ_LEN);
        poll_read_buf(Pin::new(&mut self.wire), cx, &mut self.inbox)
    }

    /// Ready when nothing waits any more, not even inside TLS.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.out.is_empty() {
                self.outbox.take(&mut self.out);
            }
            if self.out.is_empty() {
                break;
            }
            ready!(self.poll_write(cx))?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.wire).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let count = ready!(poll_write_buf(Pin::new(&mut self.wire), cx, &mut self.out))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.outbox.wrote(count);
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    /// Hands every whole PDU that came to `take`, until it has an end to tell.
    ///
    /// # Errors
    /// Returns [`Unframed`] if the octets are no PDU; after it nothing more can be read.
    pub(in crate::smpp) fn take_all<E>(
        &mut self,
        mut take: impl FnMut(Header, &[u8]) -> Option<E>,
    ) -> Result<Option<E>, Unframed> {
        let mut at = 0;
        let end = loop {
            match pdu::next(&self.inbox[at..]) {
                Ok(Some((header, length))) => {
                    let body = &self.inbox[at + pdu::HEADER_LEN..at + length];
                    at += length;
                    if let Some(end) = take(header, body) {
                        break Ok(Some(end));
                    }
                }
                Ok(None) => break Ok(None),
                Err(unframed) => break Err(unframed),
            }
        };
        self.inbox.advance(at);
        end
    }

    /// Reads on what has come already, without waiting; `false` if there is nothing.
    pub(in crate::smpp) fn receive_now(&mut self) -> bool {
        // Without the runtime's budget, which would end this early.
        let receive = std::future::poll_fn(|cx| self.poll_receive(cx));
        matches!(tokio::task::unconstrained(receive).now_or_never(), Some(Ok(1..)))
    }

    /// Writes a last PDU in the place of what still waits, which is never written: the peer is not to take it any more.
    ///
    /// # Errors
    /// Returns the error of the connection if it cannot be written to.
    pub(in crate::smpp) async fn say_goodbye(&mut self, mut last: BytesMut) -> io::Result<()> {
        // Only what has begun is finished.
        while !self.out.is_empty() {
            std::future::poll_fn(|cx| self.poll_write(cx)).await?;
        }
        self.wire.write_all_buf(&mut last).await?;
        self.wire.flush().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;
    use crate::smpp::codec::command_id::CommandId;

    /// Our end, and the provider's behind a pipe of so many octets.
    fn pipe(capacity: usize) -> (Transport, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(capacity);
        (Transport::new(Box::new(ours)), theirs)
    }

    /// A PDU of 16 octets, and where it ends.
    fn put(transport: &Transport, sequence_number: u32) -> u64 {
        transport.outbox().put(|out| pdu::put(out, CommandId::ENQUIRE_LINK, 0, sequence_number, &[]))
    }

    fn exchange_now(transport: &mut Transport) -> Option<io::Result<Went>> {
        transport.exchange().now_or_never()
    }

    #[tokio::test]
    async fn what_waits_leaves_together_and_counts_as_written_when_all_of_it_left() {
        let (mut transport, mut peer) = pipe(40);
        let ends = [1, 2, 3].map(|number| put(&transport, number));
        assert_eq!(ends, [16, 32, 48]);
        assert!(matches!(exchange_now(&mut transport), Some(Ok(Went::Out))));
        assert_eq!(transport.outbox().written(), 40, "two of them, and a part that nobody can take");
        assert_eq!(transport.outbox().backlog(), 8);
        let mut octets = [0; 40];
        peer.read_exact(&mut octets).await.unwrap();
        assert!(matches!(exchange_now(&mut transport), Some(Ok(Went::Out))));
        assert_eq!((transport.outbox().written(), transport.outbox().backlog()), (48, 0));
        assert!(exchange_now(&mut transport).is_none(), "nothing is left to do");
    }

    #[tokio::test]
    async fn what_is_put_while_the_writer_sleeps_wakes_it() {
        let (mut transport, mut peer) = pipe(1_000);
        let outbox = Arc::clone(transport.outbox());
        let writer = tokio::spawn(async move { transport.exchange().await });
        tokio::task::yield_now().await;
        outbox.put(|out| pdu::put(out, CommandId::ENQUIRE_LINK, 0, 1, &[]));
        let mut octets = [0; 16];
        peer.read_exact(&mut octets).await.unwrap();
        assert_eq!(writer.await.unwrap().unwrap(), Went::Out);
    }

    #[tokio::test]
    async fn pdus_are_taken_whatever_the_pieces() {
        let (mut transport, mut peer) = pipe(7);
        let mut sent = BytesMut::new();
        for number in 1..=3 {
            pdu::put(&mut sent, CommandId::SUBMIT_SM_RESP, 0, number, b"4711\0");
        }
        let writer = tokio::spawn(async move { peer.write_all_buf(&mut sent).await.map(|()| peer) });
        let mut came = Vec::new();
        while came.len() < 3 {
            transport.exchange().await.unwrap();
            let end = transport.take_all(|header, body| {
                came.push((header.sequence_number, body.to_vec()));
                None::<()>
            });
            assert_eq!(end, Ok(None));
        }
        assert_eq!(came, [1, 2, 3].map(|number| (number, b"4711\0".to_vec())));
        drop(writer.await.unwrap().unwrap());
        assert_eq!(transport.exchange().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_goodbye_finishes_what_has_begun_and_takes_the_place_of_the_rest() {
        let (mut transport, mut peer) = pipe(20);
        put(&transport, 1);
        put(&transport, 2);
        assert!(matches!(exchange_now(&mut transport), Some(Ok(Went::Out))));
        let never = put(&transport, 3);
        let mut last = BytesMut::new();
        pdu::put(&mut last, CommandId::UNBIND_RESP, 0, 8, &[]);
        let read = async {
            let mut octets = vec![0; 48];
            peer.read_exact(&mut octets).await.unwrap();
            octets
        };
        let (said, octets) = futures::join!(transport.say_goodbye(last), read);
        said.unwrap();
        let numbers: Vec<u8> = octets.chunks(16).map(|pdu| pdu[15]).collect();
        assert_eq!(numbers, [1, 2, 8]);
        assert!(transport.outbox().written() < never, "so it is certain not to be taken");
    }
}
