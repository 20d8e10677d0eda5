//! Whether a line is a JSON value that may stand in ours as it is. Used by `form`.
//!
//! Only objects and arrays are: a program that writes one means JSON, while a bare number or `true` may be anything, and the
//! field of a log in which all of them stand would have as many types. Nothing is built: it is read once, as strictly as by
//! those who will read the log, so that no line of a worker can make ours one that they refuse. So an unpaired surrogate, a
//! number beyond all doubles and what lies deeper than most readers go leave a line a string. A key that stands twice does
//! no harm: readers take the last one.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deep values may lie in each other. Some readers end at 128 levels, and ours stands around it.
const DEEPEST: u32 = 100;

/// The value, without blanks around it. None: the line is no object and no array.
pub(super) fn of_line(line: &[u8]) -> Option<&[u8]> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let begin = line.iter().position(|byte| !blank(byte))?;
    let end = line.iter().rposition(|byte| !blank(byte))? + 1;
    let value = &line[begin..end];
    if !matches!((value.first(), value.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))) {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(value).ok()?);
    Level(DEEPEST).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(value)
}

/// What may be so deep still.
struct Level(u32);

impl Level {
    fn below<E: Error>(&self) -> Result<Level, E> {
        self.0.checked_sub(1).map(Level).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(self.below()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_key_seed(self.below()?)?.is_some() {
            values.next_value_seed(self.below()?)?;
        }
        Ok(())
    }
}
