//! How a verb and a signal are written on the wire, for serde's `with`. Called by the messages of this room; knows only
//! the words, never what they do.

use firestarter_core::command::Verb;
use firestarter_core::spec::Signal;

/// The verb of that word.
pub(super) fn verb_of(word: &str) -> Option<Verb> {
    Verb::ALL.into_iter().find(|verb| verb.word() == word)
}

/// The signal that a number on the wire means.
pub(super) fn signal_of(number: u64) -> Option<Signal> {
    u8::try_from(number).ok().and_then(Signal::from_number)
}

/// A verb that may be missing: its word or null.
pub(super) mod verb {
    use super::{verb_of, Verb};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(verb: &Option<Verb>, to: S) -> Result<S::Ok, S::Error> {
        verb.map(Verb::word).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Verb>, D::Error> {
        match Option::<String>::deserialize(from)? {
            Some(word) => verb_of(&word).map(Some).ok_or_else(|| D::Error::custom(format!("unknown verb {word:?}"))),
            None => Ok(None),
        }
    }
}

/// A signal that may be missing: as `signal`, or null.
pub(super) mod maybe_signal {
    use super::{signal, Signal};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Written(#[serde(with = "signal")] Signal);

    pub(crate) fn serialize<S: Serializer>(signal: &Option<Signal>, to: S) -> Result<S::Ok, S::Error> {
        signal.map(Written).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Signal>, D::Error> {
        Ok(Option::<Written>::deserialize(from)?.map(|written| written.0))
    }
}

/// A signal: `"SIGTERM"`, or the number of one that has no name.
pub(super) mod signal {
    use super::{signal_of, Signal};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Name(String),
    }

    pub(crate) fn serialize<S: Serializer>(signal: &Signal, to: S) -> Result<S::Ok, S::Error> {
        let name = signal.to_string();
        match Signal::parse(&name) {
            Some(_) => to.serialize_str(&name),
            None => to.serialize_u8(signal.number()),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Signal, D::Error> {
        let signal = match Written::deserialize(from)? {
            Written::Number(number) => signal_of(number),
            Written::Name(name) => Signal::parse(&name),
        };
        signal.ok_or_else(|| D::Error::custom("no such signal"))
    }
}
