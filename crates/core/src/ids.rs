//! The names of things. An id is never used a second time; a pid is only shown to people and never decides anything.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A group, by its place in the configuration.
    GroupId(u32)
}
id! {
    /// The stable index of a worker's place in its group, from 0.
    Slot(u32)
}
id! {
    /// What one upgrade starts. The first generation of a group is 1; a failed attempt uses its number up.
    Generation(u32)
}
id! {
    /// The kernel's number of a process: for people, never an identity.
    Pid(u32)
}

/// One process of a group, from the decision to spawn it to its end. Never reused: it holds the number of the place where
/// the core keeps the worker, which is used again, below the worker's ordinal, which is not. So a worker is found in one
/// step, and a lower id is an older worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u64);

const PLACE_BITS: u32 = 20;

impl WorkerId {
    /// The worker at this place that was the `ordinal`-th of all to be born.
    pub fn new(ordinal: u64, place: u32) -> WorkerId {
        WorkerId(ordinal << PLACE_BITS | u64::from(place))
    }

    /// How many workers had been born when it was, itself counted.
    pub fn ordinal(self) -> u64 {
        self.0 >> PLACE_BITS
    }

    /// The id of a process that is no worker and has no place: no worker is ever at the last one.
    pub(crate) fn without_place(ordinal: u64) -> WorkerId {
        WorkerId::new(ordinal, (1 << PLACE_BITS) - 1)
    }

    pub(crate) fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ordinal().fmt(f)
    }
}

/// A request of a client: the connection it came over (never reused) and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The connection.
    pub client: u64,
    /// The request's number on it, from 1.
    pub seq: u32,
}

impl RequestId {
    /// The `seq`-th request of nobody: no connection has the number 0.
    pub fn of_nobody(seq: u32) -> RequestId {
        RequestId { client: 0, seq }
    }

    /// Whether nobody waits for a reply.
    pub fn is_nobodys(self) -> bool {
        self.client == 0
    }
}
