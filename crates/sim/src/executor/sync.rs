//! How tasks hand things to each other.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

struct Slot<T> {
    value: Option<T>,
    closed: bool,
    waker: Option<Waker>,
}

/// Sends one value. Dropped unsent, it tells the receiver that none will come.
pub(crate) struct Sender<T>(Rc<RefCell<Slot<T>>>);

/// Waits for one value.
pub(crate) struct Receiver<T>(Rc<RefCell<Slot<T>>>);

pub(crate) fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Rc::new(RefCell::new(Slot { value: None, closed: false, waker: None }));
    (Sender(Rc::clone(&slot)), Receiver(slot))
}

impl<T> Sender<T> {
    /// Sends; a receiver that has gone gets nothing, and the value is dropped with the last of the two.
    pub(crate) fn send(self, value: T) {
        self.0.borrow_mut().value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = self.0.borrow_mut();
            slot.closed = true;
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The value, or `None` when the sender has gone.
    pub(crate) async fn receive(self) -> Option<T> {
        std::future::poll_fn(|context| {
            let mut slot = self.0.borrow_mut();
            if let Some(value) = slot.value.take() {
                return Poll::Ready(Some(value));
            }
            if slot.closed {
                return Poll::Ready(None);
            }
            slot.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

struct Line<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
}

/// A line of things to do, with one reader.
pub(crate) struct Inbox<T>(Rc<RefCell<Line<T>>>);

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(Line { items: VecDeque::new(), waker: None })))
    }

    pub(crate) fn push(&self, item: T) {
        let waker = {
            let mut line = self.0.borrow_mut();
            line.items.push_back(item);
            line.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().items.len()
    }

    /// Everything that has come together, at most `max`; waits for the first.
    pub(crate) async fn take(&self, max: usize) -> Vec<T> {
        std::future::poll_fn(|context| {
            let mut line = self.0.borrow_mut();
            if line.items.is_empty() {
                line.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            let some = line.items.len().min(max);
            Poll::Ready(line.items.drain(..some).collect())
        })
        .await
    }
}
