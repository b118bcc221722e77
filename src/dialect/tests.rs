//! What every reader of events makes of what peers send.

use proptest::prelude::*;

use super::*;

fn media(text: &str) -> Media<'_> {
    match decode_text(text) {
        Ok(Inbound::Media(media) | Inbound::Audio(media)) => media,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn media_is_read_with_strings_numbers_or_next_to_nothing() {
    let strings = media(
        r#"{"event":"media","stream_sid":"s1","sequence_number":"2","media":{"chunk":"1","timestamp":"20","payload":"AAAA"}}"#,
    );
    assert_eq!((strings.offset_ms, strings.chunk), (Some(20), Some(1)));
    assert_eq!(strings.stream_sid.as_deref(), Some("s1"));
    assert!(matches!(
        strings.payload,
        Scalar::Text(Cow::Borrowed("AAAA"))
    ));

    let numbers = media(
        r#"{"event":"media","streamSid":"s1","media":{"track":"inbound","chunk":1,"timestamp":20,"payload":"A\/A="}}"#,
    );
    assert_eq!((numbers.offset_ms, numbers.chunk), (Some(20), Some(1)));
    assert_eq!(numbers.track.as_deref(), Some("inbound"));
    assert_eq!(numbers.payload.text().as_deref(), Some("A/A="));

    assert_eq!(media(r#"{"event":"media"}"#).payload, Scalar::Nothing);
    assert_eq!(
        media(r#"{"event":"media","media":null}"#).payload,
        Scalar::Nothing
    );
    assert_eq!(
        media(r#"{"event":"media","media":[1,{"payload":"x"}]}"#).payload,
        Scalar::Nothing
    );
}

#[test]
fn ids_and_tracks_may_be_numbers_and_numbers_may_have_a_point() {
    let media = media(
        r#"{"event":"media","stream_sid":55,"track":"","media":{"track":2,"chunk":3.0,"timestamp":4e1,"payload":""}}"#,
    );
    assert_eq!(media.stream_sid.as_deref(), Some("55"));
    assert_eq!(media.track.as_deref(), Some("2"));
    assert_eq!((media.offset_ms, media.chunk), (Some(40), Some(3)));
    for (text, expected) in [
        ("9.0", Some(9)),
        ("9007199254740992.0", Some(9_007_199_254_740_992)),
        ("0.0", Some(0)),
        ("9.5", None),
        ("-1", None),
        ("-1.0", None),
        ("1e300", None),
    ] {
        let scalar: Scalar<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(scalar.integer(), expected, "{text}");
    }
}

#[test]
fn both_spellings_of_one_member_are_no_error() {
    let media = media(
        r#"{"stream_sid":"a","streamSid":"b","event":"media","media":{"payload":"AA==","payload":"BB=="}}"#,
    );
    assert_eq!(media.stream_sid.as_deref(), Some("b"));
    assert_eq!(media.payload.text().as_deref(), Some("BB=="));
}

#[test]
fn small_events_are_read_nested_or_flat() {
    for text in [
        r#"{"event":"dtmf","dtmf":{"digit":"5","duration":"100"}}"#,
        r#"{"event":"dtmf","digit":5,"duration":100}"#,
    ] {
        assert!(
            matches!(decode_text(text), Ok(Inbound::Dtmf { digit, duration_ms: Some(100) }) if digit == "5"),
            "{text}"
        );
    }
    assert!(matches!(
        decode_text(r#"{"event":"stop"}"#),
        Ok(Inbound::Stop { word: None })
    ));
    assert!(matches!(
        decode_text(r#"{"event":"stop","stop":{"reason":"callended"}}"#),
        Ok(Inbound::Stop { word: Some(word) }) if word == "callended"
    ));
    assert!(matches!(
        decode_text(r#"{"event":"silence"}"#),
        Ok(Inbound::Unknown)
    ));
}

#[test]
fn what_is_no_event_is_told_apart() {
    let check =
        |text: &str, expected| assert_eq!(decode_text(text).err(), Some(expected), "{text}");
    check("", DecodeError::NotJson);
    check("{", DecodeError::NotJson);
    check("hello", DecodeError::NotJson);
    check(r#"{"event":"media"} x"#, DecodeError::NotJson);
    check(&"[".repeat(100_000), DecodeError::NotJson);
    check("{}", DecodeError::NoEvent);
    check("42", DecodeError::NoEvent);
    check(r#"{"event":7}"#, DecodeError::NoEvent);
}

#[test]
fn binary_is_an_event_only_if_it_is_one_whole() {
    assert!(matches!(
        decode_binary(br#" {"event":"clear"}"#),
        Inbound::Clear
    ));
    for audio in [
        &b"{\"event\":\"cl"[..],
        b"{}",
        b"{\"event\":1}",
        b"{\xff\xfe",
        b"\x00\x01",
    ] {
        assert!(matches!(decode_binary(audio), Inbound::Raw(raw) if raw == audio));
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"[{}\[\]":,a-z0-9 ]{0,80}"#) {
        let event = decode_text(&text);
        prop_assert!(event.is_err() || text.contains("event"));
    }

    #[test]
    fn unknown_members_change_nothing(key in "[a-z]{12,20}", value in "[ -~&&[^\"\\\\]]{0,20}") {
        let text = format!(r#"{{"{key}":"{value}","event":"media","media":{{"{key}":[{{}}],"payload":"AAAA"}}}}"#);
        let media = media(&text);
        prop_assert_eq!(media.payload.text(), Some(Cow::Borrowed("AAAA")));
    }
}
