//! The socket of one connection: everything that is there is read and handled before anything is
//! written, so that a window of submits is answered in one write.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::bytes::{Buf, BytesMut};

use crate::smsc::core::SmscCore;
use crate::smsc::protocol::{Connection, FRAME_MAX, Next};
use crate::smsc::wire::{Header, status};

/// Octets that are read at once: several windows of submits.
const READ_CHUNK: usize = 64 * 1024;

/// Octets that may wait to be written; beyond them nothing is read, so that a client that does not read is slowed.
const OUTPUT_HIGH: usize = 256 * 1024;

struct Session {
    stream: TcpStream,
    input: BytesMut,
    link: Connection,
}

/// Serves a connection until it ends; dropping the future drops the connection.
pub(crate) async fn serve(stream: TcpStream, core: Arc<SmscCore>) -> io::Result<()> {
    // With Nagle's algorithm a small window waits for delayed acknowledgements.
    stream.set_nodelay(true)?;
    Session { stream, input: BytesMut::with_capacity(READ_CHUNK), link: Connection::new(core) }.run().await
}

impl Session {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let next = self.read()?;
            let account = self.link.receiving();
            // Made before the queue is looked at: what is put in between still wakes this connection.
            let arrived = account.as_ref().map(|account| account.arrived.notified());
            if next == Next::Close {
                return self.write();
            }
            self.link.advance(Instant::now())?;
            self.write()?;
            let wake = self.link.next_at();
            let interest = match (self.link.output.is_empty(), self.link.output.len() < OUTPUT_HIGH) {
                (true, _) => Interest::READABLE,
                (false, true) => Interest::READABLE | Interest::WRITABLE,
                (false, false) => Interest::WRITABLE,
            };
            tokio::select! {
                ready = self.stream.ready(interest) => { ready?; }
                () = or_never(arrived) => {}
                () = or_never(wake.map(sleep_until)) => {}
            }
        }
    }

    /// Reads and handles all that is there.
    fn read(&mut self) -> io::Result<Next> {
        while self.link.output.len() < OUTPUT_HIGH {
            self.input.reserve(READ_CHUNK);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Ok(Next::Close),
                Ok(_) => {
                    if self.frames()? == Next::Close {
                        return Ok(Next::Close);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Next::Go)
    }

    /// Handles every whole PDU of the input. The boundaries are those of the command lengths, whatever stands inside:
    /// a PDU that cannot be read costs that PDU and not the connection.
    fn frames(&mut self) -> io::Result<Next> {
        while let Some(header) = Header::read(&self.input) {
            if !(Header::LENGTH..=FRAME_MAX).contains(&header.length) {
                // The start of the next PDU is not known any more.
                self.link.nack(header.sequence, status::INVALID_LENGTH)?;
                return Ok(Next::Close);
            }
            if self.input.len() < header.length {
                break;
            }
            let frame = self.input.split_to(header.length);
            if self.link.frame(header, frame)? == Next::Close {
                return Ok(Next::Close);
            }
        }
        Ok(Next::Go)
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while !self.link.output.is_empty() {
            match self.stream.try_write(&self.link.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.link.output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The future, or one that never ends.
async fn or_never<F: Future<Output = ()>>(future: Option<F>) {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}
