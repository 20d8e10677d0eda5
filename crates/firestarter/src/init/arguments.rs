//! The words of a command, from which options are taken out. Called by `recipe`.

use crate::config::parse_address;

/// The words after a server's program.
pub(super) struct Arguments(pub(super) Vec<String>);

impl Arguments {
    /// Takes an option out with every value it is given, as `--name VALUE`, `--name=VALUE`, `-n VALUE` or `-nVALUE`.
    pub(super) fn take(&mut self, names: &[&str]) -> Vec<String> {
        let (mut values, mut kept) = (Vec::new(), Vec::new());
        let mut words = std::mem::take(&mut self.0).into_iter();
        while let Some(word) = words.next() {
            if names.contains(&word.as_str()) {
                values.extend(words.next());
            } else if let Some(value) = names.iter().find_map(|name| joined(&word, name)) {
                values.push(value.to_owned());
            } else {
                kept.push(word);
            }
        }
        self.0 = kept;
        values
    }

    /// The values of an option, which stays.
    pub(super) fn see(&self, names: &[&str]) -> Vec<String> {
        Arguments(self.0.clone()).take(names)
    }

    /// Takes a flag out; whether it was there.
    pub(super) fn drop(&mut self, names: &[&str]) -> bool {
        let before = self.0.len();
        self.0.retain(|word| !names.contains(&word.as_str()));
        self.0.len() < before
    }

    /// Whether a word is there.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.0.iter().any(|word| names.contains(&word.as_str()))
    }

    /// Puts words in front.
    pub(super) fn put(&mut self, words: &[&str]) {
        self.0.splice(0..0, words.iter().map(|word| (*word).to_owned()));
    }
}

/// The value in a word that holds the option too.
fn joined<'w>(word: &'w str, name: &str) -> Option<&'w str> {
    let rest = word.strip_prefix(name)?;
    match rest.strip_prefix('=') {
        Some(value) => Some(value),
        None if !name.starts_with("--") && !rest.is_empty() => Some(rest),
        None => None,
    }
}

/// An address as servers are given it, as `socket_address` has it; none if it cannot be said so.
pub(super) fn address(given: &str, host: &str) -> Option<String> {
    let given = given.strip_prefix("tcp://").unwrap_or(given);
    if let Some(path) = given.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = if path.contains('/') { path.to_owned() } else { format!("./{path}") };
        return Some(path).filter(|path| is_address(path));
    }
    if given.starts_with(['/', '.']) {
        return Some(given.to_owned()).filter(|path| is_address(path));
    }
    let (name, port) = given.rsplit_once(':').unwrap_or((host, given));
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let name = match name {
        "localhost" => "127.0.0.1",
        "" | "*" => "0.0.0.0",
        name => name,
    };
    // An IPv6 address stands in brackets before a port.
    let bare_v6 = name.contains(':') && !name.starts_with('[');
    let address = if bare_v6 { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
    Some(address).filter(|address| is_address(address))
}

fn is_address(text: &str) -> bool {
    parse_address(text, std::path::Path::new("/")).is_ok()
}
