//! As much of Redis's protocol as a consumer needs.
//!
//! By hand, because the consumer shares its CPU with Redis and the callers: a library makes an object of every field of
//! every entry, 50,000 times a second, and would be the largest cost on that CPU. Answers are read in place.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    from: usize,
    until: usize,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            from: 0,
            until: 0,
        })
    }

    pub(crate) fn send(&mut self, words: &[&[u8]]) -> Result<()> {
        self.socket.write_all(&command(words))?;
        Ok(())
    }

    pub(crate) fn socket(&self) -> Result<TcpStream> {
        Ok(self.socket.try_clone()?)
    }

    /// How far the stream is.
    pub(crate) fn mark(&mut self, stream: &str) -> Result<Mark> {
        let mut mark = Mark {
            added: 0,
            last: b"0-0".to_vec(),
        };
        self.send(&[b"XINFO", b"STREAM", stream.as_bytes()])?;
        if self.peek()? == b'-' {
            // No such key before the first entry.
            self.line()?;
            return Ok(mark);
        }
        for _ in 0..self.length()? / 2 {
            match self.text()? {
                b"entries-added" => mark.added = self.number()?,
                b"last-generated-id" => mark.last = self.text()?.to_vec(),
                _ => self.skip()?,
            }
        }
        Ok(mark)
    }

    /// The length of an array; 0 for none.
    pub(crate) fn length(&mut self) -> Result<usize> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().context("an empty answer")?;
        ensure!(
            *kind == b'*',
            "not an array: {}",
            String::from_utf8_lossy(line)
        );
        if rest.starts_with(b"-") {
            return Ok(0);
        }
        digits(rest)
    }

    /// A text, valid until the next read.
    pub(crate) fn text(&mut self) -> Result<&[u8]> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().context("an empty answer")?;
        ensure!(
            *kind == b'$',
            "not a text: {}",
            String::from_utf8_lossy(line)
        );
        let length = digits(rest)?;
        while self.until - self.from < length + 2 {
            self.more()?;
        }
        let from = self.from;
        self.from += length + 2;
        Ok(&self.buffer[from..from + length])
    }

    fn number(&mut self) -> Result<u64> {
        let line = self.line()?;
        Ok(digits(line.get(1..).unwrap_or_default())? as u64)
    }

    /// Passes over one value, whatever it is.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            b'$' if self.buffer[self.from..self.until].starts_with(b"$-") => {
                self.line()?;
            }
            b'$' => {
                self.text()?;
            }
            b'*' => {
                for _ in 0..self.length()? {
                    self.skip()?;
                }
            }
            _ => {
                self.line()?;
            }
        }
        Ok(())
    }

    /// What comes next is of which kind?
    fn peek(&mut self) -> Result<u8> {
        while self.until - self.from < 2 {
            self.more()?;
        }
        Ok(self.buffer[self.from])
    }

    fn line(&mut self) -> Result<&[u8]> {
        loop {
            let unread = &self.buffer[self.from..self.until];
            if let Some(length) = unread.iter().position(|byte| *byte == b'\r')
                && length + 1 < unread.len()
            {
                let from = self.from;
                self.from += length + 2;
                return Ok(&self.buffer[from..from + length]);
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<()> {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.until, 0);
            self.until -= self.from;
            self.from = 0;
        }
        if self.until == self.buffer.len() {
            self.buffer.resize(self.until * 2, 0);
        }
        let length = self.socket.read(&mut self.buffer[self.until..])?;
        if length == 0 {
            bail!("Redis hung up");
        }
        self.until += length;
        Ok(())
    }
}

/// A place in a stream.
pub(crate) struct Mark {
    /// How many entries were ever added.
    pub added: u64,
    /// The id of the newest.
    pub last: Vec<u8>,
}

pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn digits(text: &[u8]) -> Result<usize> {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.with_context(|| format!("not a length: {}", String::from_utf8_lossy(text)))
}

/// A few hundred entries.
const BUFFER: usize = 256 << 10;

/// Longer than any stall that a workload makes.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
