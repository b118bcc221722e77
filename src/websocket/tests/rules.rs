//! What a client may not send, and how soon and at what cost that is seen.

use super::{
    BINARY, CLOSE, CONTINUATION, FINAL, Heard, PING, PONG, READ_BYTES, TEXT, Violation,
    from_client, kept, read, socket, whole,
};

fn protocol(words: &'static str) -> Heard {
    Heard::Forbidden(Violation::Protocol(words))
}

const TOO_LARGE: Heard = Heard::Forbidden(Violation::TooLarge { max: 1000 });

#[test]
fn text_must_be_utf8() {
    let not_utf8 = [Heard::Forbidden(Violation::NotUtf8)];
    for frames in [
        &[from_client(TEXT, b"\xff")][..],
        &[from_client(TEXT, b"\xc3")],
        &[from_client(TEXT & !FINAL, b"\xff")],
        &[
            from_client(TEXT & !FINAL, b"\xc3"),
            from_client(CONTINUATION & !FINAL, b"\xc3"),
        ],
        &[
            from_client(TEXT & !FINAL, b"\xc3"),
            from_client(CONTINUATION, &[]),
        ],
        &[from_client(CLOSE, b"\x03\xe8\xff")],
    ] {
        assert_eq!(whole(frames), not_utf8, "{frames:x?}");
    }
}

#[test]
fn what_the_protocol_forbids_is_said() {
    let mut unmasked = from_client(TEXT, b"");
    unmasked[1] &= 0x7f;
    for (frame, words) in [
        (unmasked, "a client's frame is not masked"),
        (
            from_client(TEXT | 0x40, b""),
            "a frame has reserved bits set",
        ),
        (
            from_client(PING | 0x10, b""),
            "a frame has reserved bits set",
        ),
        (
            from_client(0x83, b""),
            "a frame has an opcode that is reserved",
        ),
        (
            from_client(0x8f, b""),
            "a frame has an opcode that is reserved",
        ),
        (
            from_client(PING & !FINAL, b""),
            "a control frame is fragmented",
        ),
        (
            from_client(PONG, &[0; 126]),
            "a control frame is over 125 bytes",
        ),
        (
            from_client(CONTINUATION, b""),
            "a continuation has no beginning",
        ),
        (from_client(CLOSE, b"\x03"), "a close has half a code"),
    ] {
        assert_eq!(whole(std::slice::from_ref(&frame)), [protocol(words)]);
    }
    let frames = [
        from_client(TEXT & !FINAL, b"a"),
        from_client(BINARY, b"b"),
        from_client(TEXT, b"c"),
        from_client(CLOSE, &[]),
    ];
    let heard = [
        protocol("a message begins amid the fragments of another"),
        Heard::Close(None, String::new()),
    ];
    assert_eq!(whole(&frames), heard, "then only its close is heard");
}

#[test]
fn a_close_is_the_last_that_is_heard() {
    for (code, known) in [(1000, 1000), (3000, 3000), (4999, 4999), (1005, 1002)] {
        let payload = [&u16::to_be_bytes(code)[..], b"bye"].concat();
        let heard = whole(&[from_client(CLOSE, &payload), from_client(TEXT, b"more")]);
        let [Heard::Close(Some(heard), _)] = heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!(heard, known);
    }
}

#[test]
fn too_large_is_refused_at_the_header() {
    for frames in [
        vec![from_client(BINARY, &[0; 1001])[..8].to_vec()],
        vec![
            from_client(BINARY & !FINAL, &[0; 600]),
            from_client(CONTINUATION, &[0; 401])[..8].to_vec(),
        ],
        vec![[&[TEXT, 0xff][..], &[0xff; 12]].concat()],
        vec![[&[PING, 0xff][..], &[0xff; 12]].concat()],
    ] {
        let mut socket = socket([frames.concat()], 1000);
        assert_eq!(read(&mut socket, usize::MAX), [TOO_LARGE]);
        assert_eq!(kept(&socket), 0);
    }
    let fits = [
        from_client(BINARY & !FINAL, &[0; 600]),
        from_client(CONTINUATION, &[0; 400]),
    ];
    assert_eq!(whole(&fits), [Heard::Binary(vec![0; 1000])]);
    let frames = [
        from_client(BINARY & !FINAL, &[0; 1001]),
        from_client(CONTINUATION, &[0; 2000]),
        from_client(CLOSE, &[]),
    ];
    let bytes = frames.concat();
    let mut socket = socket(bytes.chunks(7).map(<[u8]>::to_vec), 1000);
    let heard = [TOO_LARGE, Heard::Close(None, String::new())];
    assert_eq!(read(&mut socket, usize::MAX), heard);
    assert_eq!(kept(&socket), 0, "nothing was kept of what was refused");
}

#[test]
fn what_is_announced_takes_no_memory_before_it_comes() {
    const MAX: usize = 10 << 20;
    let frame = from_client(BINARY, &vec![5; MAX]);
    let mut socket = socket([frame[..100].to_vec()], MAX);
    assert!(read(&mut socket, usize::MAX).is_empty());
    assert!(kept(&socket) <= 200, "{}", kept(&socket));
    let mut came = 100;
    let mut most = 0;
    for piece in frame[100..].chunks(9_999) {
        socket.io.left.push_back(piece.to_vec());
        let heard = read(&mut socket, usize::MAX);
        came += piece.len();
        assert_eq!(heard.is_empty(), came < frame.len());
        most = most.max(kept(&socket));
        assert!(kept(&socket) <= 2 * (came + READ_BYTES));
    }
    assert!(most <= MAX + 14 + READ_BYTES, "{most}");
    assert_eq!(kept(&socket), 0);
}
