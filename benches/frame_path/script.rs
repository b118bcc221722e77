//! A Redis that says what is expected of it, on threads that are not counted.
//!
//! It answers a transaction when all of it has come, with one write, so that the lane always reads it with one read.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

/// Takes this many connections and serves them until they are closed.
pub(crate) fn serve(listener: &TcpListener, connections: usize) {
    std::thread::scope(|scope| {
        for _ in 0..connections {
            let (stream, _) = listener.accept().expect("a connection");
            scope.spawn(move || Session::default().run(stream));
        }
    });
}

#[derive(Default)]
struct Session {
    replies: Vec<u8>,
    /// The replies that EXEC will give.
    outcomes: Option<Vec<&'static str>>,
}

impl Session {
    fn run(mut self, mut stream: TcpStream) {
        stream.set_nodelay(true).expect("a socket");
        let (mut unread, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            unread.extend_from_slice(&buffer[..count]);
            let mut at = 0;
            while let Some((words, end)) = command(&unread[at..]) {
                self.answer(&words);
                at += end;
            }
            unread.drain(..at);
            if unread.is_empty() && self.outcomes.is_none() {
                let sent = stream.write_all(&self.replies);
                self.replies.clear();
                if sent.is_err() {
                    return;
                }
            }
        }
    }

    fn answer(&mut self, words: &[&[u8]; 2]) {
        let reply = match *words {
            [b"MULTI", _] => {
                self.outcomes = Some(Vec::new());
                OK
            }
            [b"EXEC", _] => {
                let outcomes = self.outcomes.take().unwrap_or_default();
                self.replies
                    .extend(format!("*{}\r\n", outcomes.len()).bytes());
                self.replies.extend(outcomes.concat().bytes());
                return;
            }
            [b"XADD", _] => ID,
            [b"XRANGE" | b"XREVRANGE", _] => "*0\r\n",
            [b"XINFO", _] => "-ERR no such key\r\n",
            [b"INFO", _] | [b"CLIENT", b"INFO"] => "-NOPERM not here\r\n",
            _ => OK,
        };
        let now = match &mut self.outcomes {
            Some(outcomes) if words[0] != b"MULTI" => {
                outcomes.push(reply);
                QUEUED
            }
            _ => reply,
        };
        self.replies.extend(now.bytes());
    }
}

/// The first two words of the command at the front, and its length.
fn command(bytes: &[u8]) -> Option<([&[u8]; 2], usize)> {
    let (count, mut at) = number(bytes, 0)?;
    let mut words: [&[u8]; 2] = [b""; 2];
    for index in 0..count {
        let (length, start) = number(bytes, at)?;
        let word = bytes.get(start..start + length)?;
        if let Some(slot) = words.get_mut(index) {
            *slot = word;
        }
        at = start + length + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

/// Reads `*5\r\n` or `$5\r\n`; where it ends.
fn number(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let line = bytes.get(at + 1..)?;
    let length = line.iter().position(|&byte| byte == b'\r')?;
    let digits = str::from_utf8(&line[..length]).ok()?;
    Some((digits.parse().ok()?, at + 1 + length + 2))
}

/// What comes back of a transaction of frames.
pub(crate) fn transaction_replies(frames: usize) -> String {
    let (queued, ids) = (QUEUED.repeat(frames), ID.repeat(frames));
    format!("{OK}{queued}*{frames}\r\n{ids}")
}

const OK: &str = "+OK\r\n";
const QUEUED: &str = "+QUEUED\r\n";
const ID: &str = "$15\r\n1762500000000-0\r\n";
