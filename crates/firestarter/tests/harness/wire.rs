//! A client that speaks the control protocol byte by byte, as rudely as a test wants.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{json, Value};

/// A connection to the control socket.
pub(crate) struct Wire {
    pub(crate) stream: UnixStream,
    unread: Vec<u8>,
    next_id: u64,
}

impl Wire {
    pub(crate) fn connect(socket: &Path) -> io::Result<Wire> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Wire { stream, unread: Vec::new(), next_id: 1 })
    }

    /// Sends a request; its id.
    pub(crate) fn send(&mut self, method: &str, params: Value) -> io::Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.raw(format!("{request}\n").as_bytes())?;
        Ok(id)
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request as often as is taken, and reads no reply: in the end the daemon can send no more, and takes no more
    /// requests. How often.
    pub(crate) fn send_deafly(&mut self, request: impl Fn(u32) -> String) -> u32 {
        self.stream.set_nonblocking(true).expect("set");
        let (mut sent, mut idle) = (0, 0);
        while idle < 20 {
            let request = request(sent + 1);
            match self.stream.write(request.as_bytes()) {
                Ok(written) => {
                    assert_eq!(written, request.len());
                    (sent, idle) = (sent + 1, 0);
                }
                Err(_) => {
                    idle += 1;
                    super::pause();
                }
            }
        }
        self.stream.set_nonblocking(false).expect("set");
        sent
    }

    /// The next line, without its newline; none if the connection has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(end + 1);
                let line = std::mem::replace(&mut self.unread, rest);
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no reply within a minute"),
                Err(_) => return None,
            }
        }
    }

    /// The next reply; none if the connection has ended.
    pub(crate) fn reply(&mut self) -> Option<Value> {
        let line = self.line()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("no reply: {error}: {line:?}")))
    }

    /// The next reply, whatever dies meanwhile: what was sent in part before a crash is none, nor is progress.
    pub(crate) fn reply_over_crashes(&mut self) -> Option<Value> {
        loop {
            let line = self.line()?;
            match serde_json::from_str::<Value>(&line) {
                Ok(reply) if reply.get("id").is_some() => return Some(reply),
                Ok(_) => {}
                Err(_) => assert!(line.is_empty() || line.starts_with('{'), "{line:?}"),
            }
        }
    }

    /// The one reply to what was asked, whatever dies meanwhile; none if the connection ends without. It may come once more,
    /// equal, from who could not know that it was sent: what is asked next shows that nothing else has come.
    pub(crate) fn one_reply(&mut self) -> Option<Value> {
        let reply = self.reply_over_crashes()?;
        let Ok(next) = self.send("list", json!({})) else { return Some(reply) };
        while let Some(other) = self.reply_over_crashes().filter(|other| other["id"] != next) {
            assert_eq!(other, reply, "one reply, or an equal one");
        }
        Some(reply)
    }

    /// Asks, and returns the whole reply.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).expect("send a request");
        let reply = self.reply().expect("a reply");
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }

    /// Whether the other side has closed, without a word.
    pub(crate) fn closed(&mut self) -> bool {
        self.line().is_none()
    }
}
