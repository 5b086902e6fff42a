//! Where each plugin's state is, and where it was before: what a rollback goes back to.
//!
//! Promises: at most two keyspaces of a plugin are known, and the one at work is never cleared.

use weir_wire::keyspace::Keyspace;

/// The keyspaces of one plugin. The default: its state is in the first one, and was never elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyspaces {
    at_work: Keyspace,
    before: Option<Keyspace>,
}

impl Keyspaces {
    /// As a checkpoint has them; `None` if it has one twice.
    pub(crate) fn restore(at_work: Keyspace, before: Option<Keyspace>) -> Option<Self> {
        (before.as_ref() != Some(&at_work)).then_some(Self { at_work, before })
    }

    /// Where the state is.
    pub fn at_work(&self) -> &Keyspace {
        &self.at_work
    }

    /// Where it was before, if that is still there.
    pub fn before(&self) -> Option<&Keyspace> {
        self.before.as_ref()
    }

    /// The state is in `keyspace` from now on.
    pub(crate) fn put_to_work(&mut self, keyspace: Keyspace) {
        if self.at_work != keyspace {
            self.before = Some(std::mem::replace(&mut self.at_work, keyspace));
        }
    }

    /// `keyspace` is empty from now on.
    pub(crate) fn clear(&mut self, keyspace: &Keyspace) {
        assert!(self.at_work != *keyspace, "the keyspace at work is not cleared");
        self.before.take_if(|before| before == keyspace);
    }
}
