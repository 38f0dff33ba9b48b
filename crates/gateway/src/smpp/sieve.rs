//! A byte stream that hands the codec only PDUs that it can decode.
//!
//! The codec ends the connection at the first field that it does not like, and reads past the end of a PDU whose parameter
//! has the wrong length. The SMSC would then send the same `deliver_sm` on every new link: one citizen with an odd sender name, or a
//! receipt id without its terminator, would keep the gateway down. So each PDU is tried by itself; one that fails is
//! reduced to what matters here, or to its header, which is then refused by number.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use rusmpp::tokio_codec::CommandCodec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

/// Longest PDU: `message_payload` may have 64 KiB less its header, real ones a few hundred octets.
pub(super) const PDU_LEN_MAX: usize = 64 * 1024;
/// Length, id, status and sequence number (SMPP 3.4 §3.2).
const HEADER_LEN: usize = 16;

/// A command id that is reserved: the session refuses it with a `generic_nack`.
const NO_COMMAND: u32 = 0x0000_0FFE;
const DELIVER_SM: u32 = 0x0000_0005;
const RESPONSE: u32 = 0x8000_0000;

/// The stream.
pub(super) struct Sieve<S> {
    inner: S,
    /// As it came.
    raw: BytesMut,
    /// Whole PDUs for the codec.
    sound: BytesMut,
    /// The peer is gone, so nothing is written any more: a PDU that was reported as unsent must not leave with a late flush.
    ended: bool,
    traces: Arc<Traces>,
}

/// What the sieve leaves for others to see: it runs where nothing is logged.
#[derive(Default)]
pub(super) struct Traces {
    /// Something was written since [`run`] last looked.
    wrote: AtomicBool,
    /// PDUs that did not decode since [`Traces::take_mended`].
    mended: AtomicU32,
}

impl Traces {
    /// How many PDUs did not decode since the last call.
    pub(super) fn take_mended(&self) -> u32 {
        self.mended.swap(0, Ordering::Relaxed)
    }
}

/// Runs the library's connection over its sieve, and wakes it as long as it writes.
///
/// It takes up to five requests at a time and then sleeps until the peer sends something, though more requests wait or the
/// last PDU is not flushed. An SMSC that waits for that very PDU would wait for the next `enquire_link`.
pub(super) async fn run(connection: impl Future<Output = ()>, traces: Arc<Traces>) {
    let mut connection = pin!(connection);
    std::future::poll_fn(|cx| {
        let poll = connection.as_mut().poll(cx);
        if poll.is_pending() && traces.wrote.swap(false, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        poll
    })
    .await;
}

impl<S> Sieve<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, raw: BytesMut::new(), sound: BytesMut::new(), ended: false, traces: Arc::default() }
    }

    /// For [`run`] and for the session's log.
    pub(super) fn traces(&self) -> Arc<Traces> {
        Arc::clone(&self.traces)
    }

    /// Moves what is whole from `raw` to `sound`.
    fn sift(&mut self) -> io::Result<()> {
        while let Some((length, _)) = self.raw.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if !(HEADER_LEN..=PDU_LEN_MAX).contains(&length) {
                self.ended = true;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "PDU of an impossible length"));
            }
            if self.raw.len() < length {
                break;
            }
            let pdu = self.raw.split_to(length);
            if decodes(&pdu) {
                self.sound.extend_from_slice(&pdu);
            } else {
                self.traces.mended.fetch_add(1, Ordering::Relaxed);
                self.sound.extend_from_slice(&mend(&pdu));
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieve<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.sound.is_empty() {
            match ready!(poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.raw)) {
                Ok(0) => {
                    this.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => this.sift()?,
                Err(error) => {
                    this.ended = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let n = this.sound.len().min(buf.remaining());
        buf.put_slice(&this.sound[..n]);
        this.sound.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sieve<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        self.traces.wrote.store(true, Ordering::Relaxed);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What matters of a PDU that does not decode, or a header that stands for it.
fn mend(pdu: &[u8]) -> Vec<u8> {
    reduce(pdu)
        .filter(|mended| decodes(mended))
        .unwrap_or_else(|| frame(NO_COMMAND, pdu.get(8..HEADER_LEN).unwrap_or(&[0; 8]), &[]))
}

/// Decodes, and to its very end.
fn decodes(pdu: &[u8]) -> bool {
    let mut bytes = BytesMut::from(pdu);
    matches!(CommandCodec::new().with_max_length(PDU_LEN_MAX).decode(&mut bytes), Ok(Some(_)))
        && bytes.is_empty()
}

fn frame(id: u32, status_and_sequence: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &id.to_be_bytes(), status_and_sequence, body].concat()
}

fn reduce(pdu: &[u8]) -> Option<Vec<u8>> {
    let id = u32::from_be_bytes(pdu.get(4..8)?.try_into().ok()?);
    let (rest, body) = (pdu.get(8..HEADER_LEN)?, pdu.get(HEADER_LEN..)?);
    let body = match id {
        DELIVER_SM => reduce_deliver_sm(body)?,
        // Binds answer with a system id (16 octets), submits with a message id (65).
        0x8000_0001 | 0x8000_0002 | 0x8000_0009 => c_string(&mut { body }, 16),
        0x8000_0004 => c_string(&mut { body }, 65),
        // Enquiries and unbinds have no body, nor do other answers that matter.
        0x0000_0015 | 0x0000_0006 => Vec::new(),
        id if id & RESPONSE != 0 => Vec::new(),
        _ => return None,
    };
    Some(frame(id, rest, &body))
}

/// The mandatory parameters of SMPP 3.4 §4.6.1 in their order, and the optional ones that are read here.
fn reduce_deliver_sm(mut body: &[u8]) -> Option<Vec<u8>> {
    let body = &mut body;
    let mut out = c_string(body, 6); // service_type
    for _address in 0..2 {
        out.extend_from_slice(take(body, 2)?); // TON, NPI
        out.extend_from_slice(&c_string(body, 21));
    }
    out.extend_from_slice(take(body, 3)?); // esm_class, protocol_id, priority_flag
    c_string(body, 17); // schedule_delivery_time and validity_period mean nothing here
    c_string(body, 17);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(take(body, 4)?); // registered_delivery to sm_default_msg_id
    let length = *take(body, 1)?.first()?;
    let text = take(body, usize::from(length))?;
    out.push(length);
    out.extend_from_slice(text);
    // What is left of a cut parameter is dropped.
    while let Some(tag) = take_u16(body) {
        let Some(value) = take_u16(body).and_then(|length| take(body, usize::from(length))) else { break };
        let value = match (tag, value.len()) {
            (0x001E, _) => c_string(&mut { value }, 65), // receipted_message_id
            (0x0427 | 0x020E | 0x020F, 1) | (0x020C, 2) | (0x0423, 3) | (0x0424, _) => value.to_vec(),
            _ => continue,
        };
        out.extend_from_slice(&tag.to_be_bytes());
        out.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&value);
    }
    Some(out)
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn take_u16(from: &mut &[u8]) -> Option<u16> {
    take(from, 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
}

/// A C string up to its terminator or the end, as ASCII, at most `max` octets with a terminator.
fn c_string(from: &mut &[u8], max: usize) -> Vec<u8> {
    let end = from.iter().position(|b| *b == 0).unwrap_or(from.len());
    let text = &from[..end];
    *from = from.get(end + 1..).unwrap_or_default();
    let mut text: Vec<u8> =
        text.iter().take(max - 1).map(|b| if (0x20..0x7F).contains(b) { *b } else { b'?' }).collect();
    text.push(0);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusmpp::tlvs::TlvValue;
    use rusmpp::{Command, CommandId, Pdu};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn decode(pdu: &[u8]) -> Command {
        let mut bytes = BytesMut::from(pdu);
        let command = CommandCodec::new().decode(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty());
        command
    }

    fn deliver_sm(source: &[u8], tlvs: &[u8]) -> Vec<u8> {
        let body =
            [&[0, 5, 0][..], source, &[0, 1, 1], b"1000\0", &[4, 0, 0, 0, 0, 0, 0, 0, 0, 2], b"hi", tlvs]
                .concat();
        frame(DELIVER_SM, &[0, 0, 0, 0, 0, 0, 0, 9], &body)
    }

    #[tokio::test]
    async fn what_decodes_passes_as_it_is() {
        let odd_but_sound = deliver_sm(b"31612345678", b"\x14\x00\x00\x01x\x00\x1E\x00\x03ab\0");
        let mut sieve = Sieve::new(tokio::io::join(&odd_but_sound[..], tokio::io::sink()));
        let mut got = Vec::new();
        sieve.read_to_end(&mut got).await.unwrap();
        assert_eq!((got, sieve.traces().take_mended()), (odd_but_sound, 0));
    }

    #[test]
    fn a_receipt_id_without_terminator_keeps_the_link_and_the_id() {
        let tlvs = b"\x00\x1E\x00\x02ab\x04\x27\x00\x01\x02\x14\x00\x00\x01x";
        let pdu = deliver_sm(b"31612345678", tlvs);
        assert!(!decodes(&pdu), "or this test tests nothing");
        let command = decode(&mend(&pdu));
        let Some(Pdu::DeliverSm(deliver)) = command.pdu() else { panic!("{command:?}") };
        assert_eq!(command.sequence_number(), 9);
        assert_eq!(deliver.short_message().as_ref(), b"hi");
        let id = deliver.tlvs().iter().find_map(|tlv| match tlv.value() {
            Some(TlvValue::ReceiptedMessageId(id)) => Some(id.as_str().to_owned()),
            _ => None,
        });
        assert_eq!(id.as_deref(), Some("ab"));
    }

    #[test]
    fn a_sender_that_is_not_ascii_or_too_long_keeps_the_link() {
        for source in [&b"Caf\xE9"[..], &[b'9'; 40]] {
            let pdu = deliver_sm(source, b"");
            assert!(!decodes(&pdu), "or this test tests nothing");
            let command = decode(&mend(&pdu));
            let Some(Pdu::DeliverSm(deliver)) = command.pdu() else { panic!("{command:?}") };
            assert_eq!(deliver.destination_addr.as_str(), "1000");
            assert_eq!(u8::from(deliver.esm_class), 4);
        }
    }

    #[test]
    fn what_cannot_be_saved_can_be_refused() {
        let command = decode(&mend(&frame(DELIVER_SM, &[0, 0, 0, 0, 0, 0, 0, 9], b"\0\x05")));
        assert_eq!((command.sequence_number(), command.id()), (9, CommandId::Other(NO_COMMAND)));
    }

    #[test]
    fn a_submit_answer_without_terminator_keeps_its_id() {
        let command = decode(&mend(&frame(0x8000_0004, &[0, 0, 0, 0, 0, 0, 0, 9], b"4711")));
        let Some(Pdu::SubmitSmResp(response)) = command.pdu() else { panic!("{command:?}") };
        assert_eq!(response.message_id().as_str(), "4711");
    }

    #[tokio::test]
    async fn pdus_pass_whatever_the_pieces_and_nothing_is_written_after_the_end() {
        let pdu = deliver_sm(b"31612345678", b"");
        let (mut peer, stream) = tokio::io::duplex(7);
        let mut sieve = Sieve::new(stream);
        let sent = [pdu.clone(), pdu.clone()].concat();
        let writer = tokio::spawn(async move {
            peer.write_all(&sent).await.unwrap();
            peer
        });
        let mut got = vec![0; pdu.len() * 2];
        sieve.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [pdu.clone(), pdu].concat());
        sieve.write_all(b"x").await.unwrap();
        drop(writer.await.unwrap());
        assert_eq!(sieve.read(&mut got).await.unwrap(), 0);
        assert_eq!(sieve.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn an_impossible_length_ends_the_link() {
        for length in [15, u32::try_from(PDU_LEN_MAX).unwrap() + 1] {
            let bytes = [&length.to_be_bytes()[..], &[0; 12]].concat();
            let error =
                Sieve::new(tokio::io::join(&bytes[..], tokio::io::sink())).read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_decodes_in_the_end(
            id in prop_oneof![Just(DELIVER_SM), Just(0x8000_0004), Just(0x8000_0009), Just(0x15), any::<u32>()],
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            prop_assert!(decodes(&mend(&frame(id, &[0, 0, 0, 0, 0, 0, 0, 9], &body))));
        }
    }
}
