//! A client of Einhorn's command socket that sends the bytes of einhornsh.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Fire;

/// A client of the command socket.
pub(crate) struct Shell {
    reader: BufReader<UnixStream>,
    id: u32,
}

/// One answer, unescaped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) message: String,
    pub(crate) id: Option<u32>,
    pub(crate) waits: bool,
}

impl Shell {
    pub(crate) fn connect(fire: &Fire) -> Shell {
        let stream = UnixStream::connect(fire.folder.join("e.sock")).expect("connect to the command socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        Shell { reader: BufReader::new(stream), id: 0 }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("write");
    }

    /// Sends what einhornsh sends for a line.
    pub(crate) fn send(&mut self, line: &str) {
        self.id += 1;
        let mut words = line.split(' ');
        let mut text = format!("---\nid: {}\ncommand: {}\n", self.id, words.next().expect("a command"));
        let args: Vec<String> = words.map(|word| format!("- {}\n", dumped(word))).collect();
        text.push_str(&if args.is_empty() { "args: []\n".to_owned() } else { format!("args:\n{}", args.concat()) });
        self.raw(format!("{}\n", text.replace('%', "%25").replace('\n', "%0A")).as_bytes());
    }

    /// The next answer; none if the connection has ended.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let text = line.trim_end_matches('\n').replace("%0A", "\n").replace("%25", "%");
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        assert!(text.starts_with("---\n"), "{text}");
        let message = serde_json::from_str(field("message").expect("a message")).expect("a string in quotes");
        let id = field("request_id").map(|id| id.parse().expect("a number"));
        Some(Answer { message, id, waits: field("wait") == Some("true") })
    }

    /// Sends a line; what comes until the last answer to it.
    pub(crate) fn ask_all(&mut self, line: &str) -> Vec<String> {
        self.send(line);
        let mut messages = Vec::new();
        loop {
            let Answer { message, id, waits } = self.answer().expect("an answer");
            assert_eq!(id, Some(self.id), "{message}");
            messages.push(message);
            if !waits {
                return messages;
            }
        }
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        let mut messages = self.ask_all(line);
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }
}

/// A string as Ruby dumps it: in quotes if it would be a number without.
fn dumped(word: &str) -> String {
    let number = word.bytes().all(|byte| byte.is_ascii_digit());
    if number {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}
