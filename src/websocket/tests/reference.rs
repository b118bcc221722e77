//! Our reader against tungstenite's server side on the same bytes: the same messages, and the same class of failure.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::{
    Error, Message as Theirs, WebSocket as Reference,
    error::CapacityError,
    protocol::{Role, WebSocketConfig},
};

use super::{
    BINARY, CLOSE, CONTINUATION, FINAL, Heard, PING, PONG, READ_BYTES, TEXT, Violation,
    from_client, kept, read, socket,
};

const MAX: usize = 300;

struct Bytes<'b>(&'b [u8]);

impl Read for Bytes<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}

impl Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite hears, up to the first failure or the close.
fn reference(bytes: &[u8]) -> Vec<Heard> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX))
        .max_frame_size(Some(MAX));
    let mut socket = Reference::from_raw_socket(Bytes(bytes), Role::Server, Some(config));
    let mut heard = Vec::new();
    while !is_over(&heard) {
        heard.push(match socket.read() {
            Ok(Theirs::Text(text)) => Heard::Text(text.to_string()),
            Ok(Theirs::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            Ok(Theirs::Ping(bytes)) => Heard::Ping(bytes.to_vec()),
            Ok(Theirs::Pong(_)) => Heard::Pong,
            Ok(Theirs::Close(close)) => Heard::Close(
                close.as_ref().map(|close| close.code.into()),
                close.map_or(String::new(), |close| close.reason.to_string()),
            ),
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                Heard::Forbidden(Violation::TooLarge { max: MAX })
            }
            Err(Error::Utf8(_)) => Heard::Forbidden(Violation::NotUtf8),
            Err(Error::Protocol(_)) => Heard::Forbidden(Violation::Protocol("")),
            other => panic!("{other:?}"),
        });
    }
    heard.iter_mut().for_each(forget_words);
    heard
}

fn ours(bytes: &[u8], cuts: &[usize], at_once: usize) -> Vec<Heard> {
    let mut pieces = Vec::new();
    let mut left = bytes;
    for cut in cuts.iter().cycle().take(bytes.len()) {
        let (piece, rest) = left.split_at(left.len().min(*cut));
        pieces.push(piece.to_vec());
        left = rest;
        if left.is_empty() {
            break;
        }
    }
    pieces.push(left.to_vec());
    pieces.retain(|piece| !piece.is_empty());
    let mut socket = socket(pieces, MAX);
    let mut heard = read(&mut socket, at_once);
    assert!(kept(&socket) <= MAX + 14 + READ_BYTES);
    let over = (0..heard.len()).find(|&n| is_over(&heard[..=n]));
    heard.truncate(over.map_or(heard.len(), |over| over + 1));
    heard.iter_mut().for_each(forget_words);
    heard
}

fn is_over(heard: &[Heard]) -> bool {
    matches!(
        heard.last(),
        Some(Heard::Close(..) | Heard::Forbidden(_) | Heard::Gone)
    )
}

/// Which rule was broken is said in words of one's own.
fn forget_words(heard: &mut Heard) {
    match heard {
        Heard::Forbidden(Violation::Protocol(words)) => *words = "",
        Heard::Close(Some(1002), words) => words.clear(),
        _ => {}
    }
}

/// Zeros complete whatever was left half said, and are themselves against the protocol.
fn finished(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len() + MAX + 100, 0);
    bytes
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-zäß€😀]{0,40}".prop_map(String::into_bytes),
        1 => "\\PC{0,90}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (0..320_usize).prop_map(|length| vec![b'x'; length]),
    ]
}

/// A message in fragments, with other frames between them.
fn fragmented() -> impl Strategy<Value = Vec<u8>> {
    let between = prop::collection::vec(control(), 0..2);
    let fragment = (0..20_usize, between);
    let opcode = prop_oneof![3 => Just(TEXT), 1 => Just(BINARY)];
    (opcode, payload(), prop::collection::vec(fragment, 1..6)).prop_map(
        |(opcode, payload, fragments)| {
            let mut bytes = Vec::new();
            let (mut left, mut first) = (&payload[..], opcode & !FINAL);
            for (length, between) in fragments {
                let (piece, rest) = left.split_at(length.min(left.len()));
                bytes.extend(from_client(first, piece));
                bytes.extend(between.concat());
                (left, first) = (rest, CONTINUATION & !FINAL);
            }
            bytes.extend(from_client(CONTINUATION, left));
            bytes
        },
    )
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..130);
    (prop_oneof![Just(PING), Just(PONG)], payload)
        .prop_map(|(first, payload)| from_client(first, &payload))
}

fn close() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![990..1020_u16, any::<u16>()];
    let payload = (code, payload()).prop_map(|(code, mut reason)| {
        reason.truncate(123);
        [&code.to_be_bytes()[..], &reason].concat()
    });
    let short = prop::collection::vec(any::<u8>(), 0..3);
    prop_oneof![payload, short].prop_map(|payload| from_client(CLOSE, &payload))
}

/// The length is written longer than it needs to be.
fn roundabout(frame: &[u8]) -> Vec<u8> {
    let length = frame[1] & 0x7f;
    if length >= 126 {
        return frame.to_vec();
    }
    [&[frame[0], 0xff, 0, 0, 0, 0, 0, 0, 0, length], &frame[2..]].concat()
}

fn step() -> impl Strategy<Value = Vec<u8>> {
    let whole = || {
        let first = prop_oneof![Just(TEXT), Just(BINARY)];
        (first, payload()).prop_map(|(first, payload)| from_client(first, &payload))
    };
    let odd = (any::<u8>(), payload()).prop_map(|(first, payload)| from_client(first, &payload));
    let junk = prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        30 => whole(),
        10 => fragmented(),
        5 => control(),
        2 => whole().prop_map(|frame| roundabout(&frame)),
        1 => close(),
        1 => odd,
        1 => junk,
    ]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..4_usize, 1..2000_usize], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_conversation_is_heard_as_tungstenite_hears_it(
        steps in prop::collection::vec(step(), 0..12),
        cuts in cuts(),
        at_once in prop_oneof![1..4_usize, Just(usize::MAX)],
    ) {
        let bytes = finished(steps.concat());
        prop_assert_eq!(ours(&bytes, &cuts, at_once), reference(&bytes));
    }

    #[test]
    fn so_is_noise(bytes in prop::collection::vec(any::<u8>(), 0..2000), cuts in cuts()) {
        let bytes = finished(bytes);
        prop_assert_eq!(ours(&bytes, &cuts, usize::MAX), reference(&bytes));
    }
}
