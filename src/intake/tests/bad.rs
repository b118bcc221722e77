//! What cannot be used: an Exotel call outlives it (3.9), a custom client is turned away (3.8).

use super::{Talk, check, custom, exotel};

#[test]
fn ninety_nine_bad_messages_and_a_good_one_end_nothing() {
    for good in [
        r#"{"event":"media","media":{"payload":"AQI="}}"#,
        "hex 0102",
        r#"{"event":"mark","name":"m"}"#,
        r#"{"event":"connected"}"#,
    ] {
        let mut talk = Talk::new(exotel());
        for line in ["99 times nonsense", good, "99 times nonsense"] {
            talk.play(line);
        }
        assert_eq!(talk.intake.bad_messages(), 198);
        assert!(
            !talk.told.iter().any(|told| told.starts_with("close")),
            "{good}: {:?}",
            talk.told
        );
    }
}

#[test]
fn a_hundred_bad_messages_in_a_row_end_the_connection() {
    check(
        exotel(),
        "hex 0102
         99 times nonsense
         {}
         hex 0304",
        "open acme/fresh-1
         audio 8000 0102
         bad 1: the message is not JSON
         end bad_input
         close 1007",
    );
    check(
        exotel(),
        "100 times nonsense",
        "bad 1: the message is not JSON
         close 1007",
    );
}

#[test]
fn bad_messages_are_told_once_a_second_with_the_total() {
    check(
        exotel(),
        r#"5 times nonsense
           wait 999
           {}
           wait 1
           {"event":7}
           {"event":7}
           wait 60000
           {"event":"media","media":{"payload":"%"}}"#,
        "bad 1: the message is not JSON
         bad 7: the message has no \"event\" that is a string
         open acme/fresh-1
         bad 9: the audio is not base64",
    );
}

#[test]
fn every_kind_of_bad_message_is_told_by_name() {
    let check_bad = |media: &str, error: &str| {
        check(
            exotel(),
            &format!(
                r#"{{"event":"start","start":{{"call_sid":"c1"}}}}
                   {{"event":"media",{media}}}
                   hex 0102"#
            ),
            &format!(
                "open acme/c1 start 8000 pcm16
                 bad 1: {error}
                 audio 8000 0102"
            ),
        );
    };
    check_bad(
        r#""media":{"payload":"not base64"}"#,
        "the audio is not base64",
    );
    check_bad(r#""media":{}"#, "the event carries no audio");
    check_bad(r#""media":{"payload":17}"#, "the event carries no audio");
    check_bad(r#""media":[]"#, "the event carries no audio");
}

#[test]
fn a_custom_client_is_told_what_is_wrong_and_turned_away() {
    let check_fail = |message: &str, code: &str| {
        check(
            custom(),
            &format!(
                r#"{{"event":"start","interaction_id":"i1"}}
                   {message}
                   hex 0102"#
            ),
            &format!(
                "open acme/i1 start 24000 pcm16
                 started
                 end bad_input
                 fail {code}"
            ),
        );
    };
    check_fail("nonsense", "bad_message");
    check_fail("{}", "bad_message");
    check_fail(r#"{"event":"audio"}"#, "bad_message");
    for seq in ["-1", "1.5", "\"one\"", "[]", "18446744073709551615"] {
        let audio = format!(r#"{{"event":"audio","data":"AAA=","seq":{seq}}}"#);
        check_fail(&audio, "bad_message");
    }
    check_fail(r#"{"event":"audio","data":"%"}"#, "bad_audio");
    for (start, code) in [
        (r#""encoding":"opus""#, "unsupported_encoding"),
        (r#""sample_rate":7999"#, "bad_start"),
        (r#""sample_rate":48001"#, "bad_start"),
        (r#""sample_rate":"fast""#, "bad_start"),
    ] {
        let again = format!(r#"{{"event":"start","interaction_id":"i1",{start}}}"#);
        check(custom(), &again, &format!("fail {code}"));
        check_fail(&again, code);
    }
}

#[test]
fn an_exotel_start_is_never_refused() {
    check(
        exotel(),
        r#"{"event":"start","start":{"call_sid":"c1","sample_rate":"44100","media_format":{"encoding":"opus","sample_rate":"fast"}}}"#,
        "warn
         warn
         warn
         open acme/c1 start 8000 opus",
    );
}
