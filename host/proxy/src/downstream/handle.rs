//! A listener as its connections hold on to it: by name, whatever the config says about it at the moment.

use std::cell::RefCell;
use std::rc::Rc;

use crate::downstream::local::LocalListener;
use crate::transport::drain::Drain;

/// A listener by name, whatever the config says about it at the moment.
pub(crate) struct Handle {
    current: RefCell<Rc<LocalListener>>,
    pub(crate) drain: Rc<Drain>,
}

impl Handle {
    pub(crate) fn new(listener: Rc<LocalListener>) -> Rc<Self> {
        Rc::new(Handle { current: RefCell::new(listener), drain: Rc::default() })
    }

    /// What the config says now. An exchange asks once.
    pub(crate) fn current(&self) -> Rc<LocalListener> {
        self.current.borrow().clone()
    }

    pub(crate) fn replace(&self, listener: Rc<LocalListener>) {
        *self.current.borrow_mut() = listener;
    }
}

/// What the sockets of a listener lead to. Another handle takes the place of the first when the listener changes so
/// much that its open connections cannot follow.
pub(crate) struct Door(RefCell<Rc<Handle>>);

impl Door {
    pub(crate) fn new(handle: Rc<Handle>) -> Rc<Self> {
        Rc::new(Door(RefCell::new(handle)))
    }

    pub(crate) fn handle(&self) -> Rc<Handle> {
        self.0.borrow().clone()
    }

    /// Answers the handle of before.
    pub(crate) fn replace(&self, handle: Rc<Handle>) -> Rc<Handle> {
        self.0.replace(handle)
    }
}
