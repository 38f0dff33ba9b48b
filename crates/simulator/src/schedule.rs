//! Things to do later, in order of their time; one structure for many, not a task for each.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// Items by the time they are due; those of one time in the order they were put in.
pub(crate) struct Schedule<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    next: u64,
}

struct Entry<T> {
    at: Instant,
    order: u64,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<T> Schedule<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }

    pub(crate) fn push(&mut self, at: Instant, item: T) {
        self.heap.push(Reverse(Entry { at, order: self.next, item }));
        self.next += 1;
    }

    /// The first item that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.item)
    }

    /// When the first item is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

/// A schedule that many put into and one task works off.
pub(crate) struct Agenda<T> {
    schedule: Mutex<Schedule<T>>,
    sooner: Notify,
}

impl<T> Agenda<T> {
    pub(crate) const fn new() -> Self {
        Self { schedule: Mutex::new(Schedule::new()), sooner: Notify::const_new() }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule<T>> {
        // Nothing panics while it holds this lock, and a schedule is whole between its calls anyway.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, at: Instant, item: T) {
        let mut schedule = self.lock();
        let is_first = schedule.next_at().is_none_or(|next| at < next);
        schedule.push(at, item);
        drop(schedule);
        if is_first {
            self.sooner.notify_one();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The next item, if one is due.
    pub(crate) fn try_due(&self) -> Option<T> {
        self.lock().pop_due(Instant::now())
    }

    /// Waits for the next item that is due. For one task; an item is not lost where the future is dropped.
    pub(crate) async fn due(&self) -> T {
        loop {
            let next = {
                let mut schedule = self.lock();
                if let Some(item) = schedule.pop_due(Instant::now()) {
                    return item;
                }
                schedule.next_at()
            };
            match next {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.sooner.notified() => {}
                    }
                }
                None => self.sooner.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn items_come_in_time_order_and_equal_times_in_order_of_arrival() {
        let now = Instant::now();
        let mut schedule = Schedule::new();
        for (ms, name) in [(20, "late"), (10, "first"), (10, "second")] {
            schedule.push(now + Duration::from_millis(ms), name);
        }
        assert_eq!(schedule.pop_due(now), None);
        let then = now + Duration::from_millis(15);
        assert_eq!(schedule.pop_due(then), Some("first"));
        assert_eq!(schedule.pop_due(then), Some("second"));
        assert_eq!(schedule.pop_due(then), None);
        assert_eq!(schedule.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_item_overtakes_the_one_waited_for() {
        let agenda = std::sync::Arc::new(Agenda::new());
        let start = Instant::now();
        agenda.push(start + Duration::from_mins(1), "later");
        let waiting = tokio::spawn({
            let agenda = std::sync::Arc::clone(&agenda);
            async move { (agenda.due().await, Instant::now()) }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        agenda.push(start + Duration::from_secs(5), "sooner");
        assert_eq!(waiting.await.unwrap(), ("sooner", start + Duration::from_secs(5)));
    }
}
