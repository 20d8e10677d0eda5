//! Reads permissions in octal: a `umask`, the `mode` of a socket's path.
//!
//! Called by `keys` and `sockets`. A plain number is refused: 22 may be meant as 022, which is another number.

use toml::de::DeValue;

use super::fault::Ledger;
use super::value::{integer, Item};

/// All permissions of owner, group and others.
const MOST: u32 = 0o777;

/// Reads `"022"`, `"0o022"` or `0o022`.
pub(crate) fn read(item: &Item<'_>, ledger: &mut Ledger<'_>) -> Option<u32> {
    let read = match item.value {
        DeValue::String(text) => digits(text),
        DeValue::Integer(number) if number.radix() == 8 => integer(number).and_then(|n| u32::try_from(n).ok()),
        DeValue::Integer(number) => {
            let digits = number.as_str().trim_start_matches('-');
            let octal =
                number.radix() == 10 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) && digits.len() <= 3;
            let meant = if octal { format!("{digits:0>3}") } else { "022".to_owned() };
            let message = "a plain number is not octal, and so is easily another one than was meant";
            item.note(message, ledger).advise(format!("write {} = \"{meant}\"", item.key));
            return None;
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    let read = read.filter(|bits| *bits <= MOST);
    if read.is_none() {
        let example = if item.key == "mode" { "660" } else { "022" };
        item.mismatch("octal digits in quotes, from \"0\" to \"777\"", ledger)
            .advise(format!("write {} = \"{example}\"", item.key));
    }
    read
}

/// Octal digits, perhaps behind `0o`, and nothing else: no sign, no blank.
fn digits(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    u32::from_str_radix(digits, 8).ok().filter(|_| octal)
}
