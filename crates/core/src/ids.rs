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
    /// One process of a group, from the decision to spawn it to its end. Never reused.
    WorkerId(u64)
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

/// A request of a client: the connection it came over (never reused) and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The connection.
    pub client: u64,
    /// The request's number on it, from 1.
    pub seq: u32,
}
