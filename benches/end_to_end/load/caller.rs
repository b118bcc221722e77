//! One connection with one call on it, driven without waiting.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
};

use rtaa_ingest::simulate::wire::{self, Names};
use rustls::ClientConnection;

use super::encoder::Encoder;

pub(crate) struct Caller {
    pub number: u32,
    pub names: Names,
    /// How many it has spoken.
    pub frames: u32,
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// What the socket did not take yet, and how much of it has left since.
    unsent: Vec<u8>,
    left: usize,
    gone: bool,
}

impl Caller {
    pub(super) fn new(
        run: &str,
        number: u32,
        socket: TcpStream,
        tls: Option<Box<ClientConnection>>,
    ) -> Self {
        let names = Names {
            stream_sid: format!("{run}{number:0>24}"),
            call_sid: format!("{run}-{number}"),
            account_sid: TENANT.to_owned(),
            from: format!("0999{number:07}"),
            to: "04440000001".to_owned(),
        };
        Self {
            number,
            names,
            frames: 0,
            socket,
            tls,
            unsent: Vec::new(),
            left: 0,
            gone: false,
        }
    }

    pub(crate) fn start(&mut self, encoder: &mut Encoder) {
        encoder.clear();
        encoder.text(wire::CONNECTED);
        encoder.text(&wire::exotel_start(
            &self.names,
            super::RATE,
            rtaa_ingest::simulate::sound::Encoding::Pcm16,
            &std::collections::BTreeMap::new(),
        ));
        self.send(encoder.bytes());
    }

    /// Says that the call is over, and closes.
    pub(crate) fn stop(&mut self, encoder: &mut Encoder) {
        encoder.clear();
        encoder.text(&wire::exotel_stop(&self.names, u64::from(self.frames)));
        encoder.close();
        self.send(encoder.bytes());
    }

    /// Closes a connection on which no call was.
    pub(crate) fn close(&mut self, encoder: &mut Encoder) {
        encoder.clear();
        encoder.close();
        self.send(encoder.bytes());
    }

    /// Writes what fits and keeps the rest; whether nothing is left.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        if let Some(tls) = &mut self.tls {
            tls.writer()
                .write_all(bytes)
                .expect("what is to be encrypted has no limit");
        } else if self.unsent.is_empty() {
            let written = self.write(bytes);
            self.unsent.extend_from_slice(&bytes[written..]);
        } else {
            self.unsent.extend_from_slice(bytes);
        }
        self.flush()
    }

    /// Goes on where [`Caller::send`] had to stop.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.gone
            && let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write())
        {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.gone = true,
            }
        }
        while !self.gone && self.left < self.unsent.len() {
            let unsent = std::mem::take(&mut self.unsent);
            let written = self.write(&unsent[self.left..]);
            self.unsent = unsent;
            if written == 0 {
                return self.gone;
            }
            self.left += written;
        }
        self.unsent.clear();
        self.left = 0;
        true
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.socket.write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.gone = true;
                0
            }
        }
    }

    /// Whether the server has hung up. What it sends is not looked at: Exotel's callers are told nothing.
    pub(crate) fn is_gone(&mut self) -> bool {
        let mut heard = [0; 4096];
        while !self.gone {
            match self.socket.read(&mut heard) {
                Ok(0) => self.gone = true,
                Ok(_) => {}
                Err(error) => {
                    self.gone = error.kind() != ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.gone
    }
}

impl AsFd for Caller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Letters and a digit, as Exotel's account names are.
pub(crate) const TENANT: &str = "bench1";
