//! The stop, as the connections hear of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Waker};

/// Whether the listener has been stopped, and who must be told.
#[derive(Default)]
pub(super) struct Drain {
    has_begun: Cell<bool>,
    next: Cell<u64>,
    wakers: RefCell<HashMap<u64, Waker>>,
}

/// One connection that will hear of the stop.
pub(super) struct Seat {
    drain: Rc<Drain>,
    number: u64,
    is_taken: Cell<bool>,
}

impl Drain {
    pub(super) fn seat(self: &Rc<Self>) -> Seat {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        Seat { drain: Rc::clone(self), number, is_taken: Cell::new(false) }
    }

    pub(super) fn begin(&self) {
        self.has_begun.set(true);
        self.wakers.borrow_mut().drain().for_each(|(_, waker)| waker.wake());
    }
}

impl Seat {
    /// Whether the stop has begun. The task that asks, which must be one and the same, is woken when it does.
    pub(super) fn must_end(&self, cx: &Context<'_>) -> bool {
        if !self.is_taken.replace(true) {
            self.drain.wakers.borrow_mut().insert(self.number, cx.waker().clone());
        }
        self.has_begun()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.drain.has_begun.get()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.drain.wakers.borrow_mut().remove(&self.number);
    }
}
