//! Frames by hand, in whatever pieces: what is given out, what is kept, what leaves. What is refused: `rules.rs`.

mod reference;
mod rules;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Message, READ_BYTES, Violation, WebSocket, frame};

/// The first byte of a whole frame of each kind; without `FINAL` it is the beginning of one in fragments.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;
const CONTINUATION: u8 = 0x80;
const FINAL: u8 = 0x80;

/// A client's frame, masked.
pub(crate) fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        long @ 126..0x1_0000 => {
            bytes.push(0xfe);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
        huge => {
            bytes.push(0xff);
            bytes.extend((huge as u64).to_be_bytes());
        }
    }
    let mask = [0x11, 0xf2, 0x43, 0xe4];
    bytes.extend(mask);
    let at = bytes.len();
    bytes.extend(payload);
    frame::unmask(&mut bytes[at..], mask);
    bytes
}

/// A stream that gives what it has in the given pieces, then ends or waits, and takes what it is told to.
#[derive(Debug, Default)]
struct Pieces {
    left: VecDeque<Vec<u8>>,
    ends: bool,
    reads: usize,
    taken: Vec<u8>,
    room: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.left.pop_front() else {
            return if self.ends {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        };
        self.reads += 1;
        let rest = piece.split_off(piece.len().min(space.remaining()));
        space.put_slice(&piece);
        if !rest.is_empty() {
            self.left.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Poll::Pending;
        }
        self.room -= count;
        self.taken.extend(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a reader was given, so that it can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, String),
    Forbidden(Violation),
    Gone,
}

impl From<Message<'_>> for Heard {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong => Self::Pong,
            Message::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

fn socket(pieces: impl IntoIterator<Item = Vec<u8>>, max: usize) -> WebSocket<Pieces> {
    let pieces = Pieces {
        left: pieces.into_iter().collect(),
        ..Pieces::default()
    };
    WebSocket::new(pieces, &[], max)
}

/// Reads until nothing more comes, at most so many messages of each batch.
fn read(socket: &mut WebSocket<Pieces>, at_once: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(polled) = socket.poll_read(&mut cx) {
        let Some(mut batch) = polled else {
            heard.push(Heard::Gone);
            break;
        };
        for _ in 0..at_once {
            match batch.next_message() {
                None => break,
                Some(Ok(message)) => heard.push(message.into()),
                Some(Err(violation)) => heard.push(Heard::Forbidden(violation)),
            }
        }
        socket.put_back(batch);
    }
    heard
}

/// What is kept for a peer.
fn kept(socket: &WebSocket<Pieces>) -> usize {
    socket.tail.capacity() + socket.course.kept()
}

fn whole(frames: &[Vec<u8>]) -> Vec<Heard> {
    read(&mut socket([frames.concat()], 1000), usize::MAX)
}

fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

#[test]
fn one_read_gives_every_message_that_it_brought() {
    let frames = [
        from_client(TEXT, b"hello"),
        from_client(PING, b"?"),
        from_client(BINARY, &[7; 300]),
        from_client(PONG, &[]),
    ];
    let heard = [
        text("hello"),
        Heard::Ping(b"?".to_vec()),
        Heard::Binary(vec![7; 300]),
        Heard::Pong,
    ];
    let mut socket = socket([frames.concat()], 1000);
    assert_eq!(read(&mut socket, usize::MAX), heard);
    assert_eq!((socket.io.reads, kept(&socket)), (1, 0));
}

#[test]
fn what_came_with_the_handshake_comes_first() {
    let first = from_client(TEXT, b"first");
    let second = from_client(TEXT, b"second");
    for cut in 0..first.len() {
        let io = Pieces {
            left: [[&first[cut..], &second].concat()].into(),
            ..Pieces::default()
        };
        let mut socket = WebSocket::new(io, &first[..cut], 1000);
        assert_eq!(
            read(&mut socket, usize::MAX),
            [text("first"), text("second")]
        );
    }
}

#[test]
fn where_the_reader_stops_the_rest_waits() {
    let frames: Vec<_> = (0..9_u8).map(|n| from_client(BINARY, &[n])).collect();
    let mut socket = socket([frames.concat()], 1000);
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(mut batch)) = socket.poll_read(&mut cx) else {
        panic!("something has come");
    };
    assert_eq!(batch.next_message(), Some(Ok(Message::Binary(&[0]))));
    socket.put_back(batch);
    let rest: Vec<_> = (1..9).map(|n| Heard::Binary(vec![n])).collect();
    assert_eq!(read(&mut socket, 2), rest);
    assert_eq!((socket.io.reads, kept(&socket)), (1, 0));
}

#[test]
fn fragments_are_one_message_whatever_comes_between() {
    let frames = [
        from_client(TEXT & !FINAL, "ä".as_bytes()),
        from_client(CONTINUATION & !FINAL, &"ö".as_bytes()[..1]),
        from_client(PING, &[]),
        from_client(CONTINUATION & !FINAL, &[]),
        from_client(CONTINUATION, &"ö".as_bytes()[1..]),
        from_client(BINARY & !FINAL, &[1]),
        from_client(CONTINUATION, &[2]),
    ];
    let heard = [Heard::Ping(vec![]), text("äö"), Heard::Binary(vec![1, 2])];
    assert_eq!(whole(&frames), heard);
    let bytes = frames.concat();
    let mut socket = socket(bytes.chunks(1).map(<[u8]>::to_vec), 1000);
    assert_eq!(read(&mut socket, usize::MAX), heard);
    assert_eq!(kept(&socket), 0);
}

#[test]
fn a_peer_that_leaves_is_gone() {
    let mut socket = socket([from_client(TEXT, b"half")[..7].to_vec()], 1000);
    socket.io.ends = true;
    assert_eq!(read(&mut socket, usize::MAX), [Heard::Gone]);
}

#[test]
fn who_reads_nothing_is_kept_little() {
    let mut socket = socket([], 1000);
    let mut cx = Context::from_waker(Waker::noop());
    let taken = (0..10_000)
        .filter(|_| socket.send_text("an answer"))
        .count();
    assert!((1000..2000).contains(&taken), "{taken}");
    for n in 0..100_u8 {
        socket.send_ping();
        socket.send_pong(&[n]);
    }
    assert!(socket.poll_write(&mut cx).is_pending());
    socket.send_close(Some(1000), &"x".repeat(200));
    socket.send_ping();
    assert!(!socket.send_text("nothing follows a close"));
    let mut most = 0;
    while socket.poll_write(&mut cx).is_pending() {
        socket.io.room = 100;
        most = most.max(socket.outgoing.unsent().len());
    }
    assert!(most < 17 * 1024, "{most}");
    let written = &socket.io.taken;
    let mut text = Vec::new();
    frame::write(&mut text, frame::Kind::Text, [b"an answer", &[]]);
    assert_eq!(written[..taken * text.len()], text.repeat(taken));
    let close = &written[taken * text.len()..];
    assert_eq!(close[..4], [CLOSE, 125, 0x03, 0xe8]);
    assert_eq!(close.len(), 127);
}
