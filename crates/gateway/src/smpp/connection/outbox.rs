//! Octets that wait to be written on a connection: whole PDUs, put here by any task and taken by the one writer.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;
use tokio_util::bytes::BytesMut;

/// The queue of one connection. Positions in it count from the connection's first octet.
#[derive(Default)]
pub(in crate::smpp) struct Outbox {
    queue: Mutex<Queue>,
    /// Octets that left for the socket.
    written: AtomicU64,
    writer: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    octets: BytesMut,
    /// Octets that were ever put.
    put: u64,
}

impl Outbox {
    /// Appends what `write` writes, which is whole PDUs, and gives the position of their end. The writer wakes at once: nothing
    /// waits for company.
    pub(in crate::smpp) fn put(&self, write: impl FnOnce(&mut BytesMut)) -> u64 {
        let mut queue = self.lock();
        let before = queue.octets.len();
        write(&mut queue.octets);
        queue.put += (queue.octets.len() - before) as u64;
        let end = queue.put;
        drop(queue);
        // If something waits already, the writer knows.
        if before == 0 {
            self.writer.wake();
        }
        end
    }

    /// Moves all that waits to `out`, which has to be empty.
    pub(in crate::smpp) fn take(&self, out: &mut BytesMut) {
        mem::swap(&mut self.lock().octets, out);
    }

    /// The writer looks again, though nothing was put.
    pub(in crate::smpp) fn wake(&self) {
        self.writer.wake();
    }

    /// Wakes `waker` at the next [`Outbox::put`].
    pub(in crate::smpp) fn watch(&self, waker: &Waker) {
        self.writer.register(waker);
    }

    /// The writer is awake, and looks before it sleeps.
    pub(in crate::smpp) fn unwatch(&self) {
        drop(self.writer.take());
    }

    /// `count` octets left for the socket. Only the writer says so.
    pub(in crate::smpp) fn wrote(&self, count: usize) {
        self.written.fetch_add(count as u64, Ordering::Release);
    }

    /// Octets that left for the socket: a PDU that ends here or before was written, one that ends later was not, and no SMSC can
    /// take a part of it.
    pub(in crate::smpp) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Octets that were put and did not leave.
    pub(in crate::smpp) fn backlog(&self) -> u64 {
        self.lock().put.saturating_sub(self.written())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while holding it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
