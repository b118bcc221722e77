//! A token that comes in the start event: nothing before it, everything with it (3.3).

use super::{awaiting_token, check};

const WITH_TOKEN: &str =
    r#"{"event":"start","start":{"call_sid":"c1","custom_parameters":{"token":"open-sesame"}}}"#;

#[test]
fn what_came_before_the_token_is_published_with_it_in_order() {
    check(
        awaiting_token(),
        &format!(
            r#"{{"event":"connected"}}
               hex 0102
               {{"event":"media","media":{{"payload":"AwQ=","timestamp":"20"}}}}
               {{"event":"dtmf","digit":"1"}}
               {{"event":"start","start":{{"call_sid":"c9"}}}}
               wait 4999
               {WITH_TOKEN}
               hex 0506"#
        ),
        "open acme/c1 start 8000 pcm16
         audio 8000 0102
         audio 8000 0304 at 20
         event dtmf 1 None
         audio 8000 0506",
    );
}

#[test]
fn the_token_is_read_from_every_form_and_never_published() {
    for parameters in [
        r#"{"token":"open-sesame","queue":"sales"}"#,
        r#""{\"token\":\"open-sesame\",\"queue\":\"sales\"}""#,
        r#""token=open-sesame&queue=sales""#,
        r#""?queue=sales&token=open%2Dsesame""#,
    ] {
        check(
            awaiting_token(),
            &format!(
                r#"{{"event":"start","start":{{"call_sid":"c1","custom_parameters":{parameters}}}}}"#
            ),
            "open acme/c1 start 8000 pcm16 queue=sales",
        );
    }
}

#[test]
fn a_wrong_token_or_none_publishes_nothing() {
    let refused = "warn
                   close 1008";
    let wrong =
        r#"{"event":"start","start":{"call_sid":"c1","custom_parameters":{"token":"open"}}}"#;
    for conversation in [
        format!("hex 0102\n{wrong}\n{WITH_TOKEN}\nhex 0304"),
        format!("hex 0102\nwait 5000\n{WITH_TOKEN}"),
        "hex 0102\n{\"event\":\"stop\"}".to_owned(),
        "{\"event\":\"end\"}".to_owned(),
    ] {
        check(awaiting_token(), &conversation, refused);
    }
}

#[test]
fn five_seconds_of_audio_are_kept_and_no_more() {
    let kept = format!("5 times zeros 16000\n{WITH_TOKEN}");
    let published = "audio 8000 16000 bytes\n".repeat(5);
    check(
        awaiting_token(),
        &kept,
        &format!("open acme/c1 start 8000 pcm16\n{published}"),
    );
    check(
        awaiting_token(),
        &format!("5 times zeros 16000\nzeros 2\n{WITH_TOKEN}"),
        "warn
         close 1008",
    );
    let mut facts = awaiting_token();
    facts.hints.rate = Some("16000".to_owned());
    check(
        facts,
        &format!("10 times zeros 16000\n{WITH_TOKEN}"),
        &format!(
            "open acme/c1 start 16000 pcm16\n{}",
            "audio 16000 16000 bytes\n".repeat(10)
        ),
    );
}

#[test]
fn a_flood_of_small_messages_is_bounded_too() {
    check(
        awaiting_token(),
        r#"20000 times {"event":"connected"}"#,
        "warn
         close 1008",
    );
}

#[test]
fn the_time_to_bring_a_token_ends_with_it() {
    check(
        awaiting_token(),
        &format!("{WITH_TOKEN}\nwait 60000\nhex 0102"),
        "open acme/c1 start 8000 pcm16
         audio 8000 0102",
    );
}
