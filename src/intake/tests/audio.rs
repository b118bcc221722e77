//! From messages to whole samples, track by track (3.5, 3.7).

use super::{Talk, check, custom, custom_for, exotel};

#[test]
fn each_track_has_its_own_half_sample() {
    check(
        exotel(),
        r#"{"event":"media","media":{"track":"inbound","payload":"AQID"}}
           {"event":"media","media":{"track":"outbound","payload":"EQ=="}}
           {"event":"media","media":{"track":"inbound","payload":"BA=="}}
           {"event":"media","media":{"track":"outbound","payload":"EhM="}}
           hex 21
           hex 2223
           {"event":"media","media":{"payload":"JA=="}}"#,
        "open acme/fresh-1
         audio 8000 0102 on inbound
         audio 8000 0304 on inbound
         audio 8000 1112 on outbound
         audio 8000 2122
         audio 8000 2324",
    );
}

#[test]
fn a_ninth_track_is_one_too_many() {
    let conversation: Vec<_> = (1..=9)
        .map(|track| {
            format!(r#"{{"event":"audio","data":"AQI=","seq":{track},"track":"t{track}"}}"#)
        })
        .collect();
    let mut expected: Vec<_> = (1..=8)
        .map(|track| format!("audio 8000 0102 on t{track} as {track}"))
        .collect();
    expected.insert(0, "open acme/fresh-1".to_owned());
    expected.push("bad 1: more tracks than a connection may have".to_owned());
    check(exotel(), &conversation.join("\n"), &expected.join("\n"));

    let mut talk = Talk::new(custom_for("q1"));
    for line in &conversation {
        talk.play(line);
    }
    assert_eq!(
        talk.told[talk.told.len() - 2..],
        ["end bad_input", "fail bad_message"]
    );
}

#[test]
fn text_and_binary_mix_and_escapes_are_read() {
    check(
        exotel(),
        r#"binary {"event":"media","media":{"payload":"\/\/8=","timestamp":"40","chunk":"2"}}
           {"event":"media","media":{"payload":"//8=","timestamp":60}}
           {"event":"media","media":{"payload":"\u0041QI="}}
           hex 0304"#,
        "open acme/fresh-1
         audio 8000 ffff at 40
         audio 8000 ffff at 60
         audio 8000 0102
         audio 8000 0304",
    );
}

#[test]
fn audio_that_begins_like_json_is_audio() {
    for (sent, pcm) in [
        ("7b7d", "7b7d"),
        ("7b22", "7b22"),
        ("7b00ff01", "7b00ff01"),
        ("207b7d20", "207b7d20"),
    ] {
        check(
            exotel(),
            &format!("hex {sent}"),
            &format!("open acme/fresh-1\naudio 8000 {pcm}"),
        );
    }
    check(
        exotel(),
        r#"binary {"event":"mark"#,
        "open acme/fresh-1
         audio 8000 7b226576656e74223a226d61726b",
    );
}

#[test]
fn empty_audio_is_none() {
    check(
        exotel(),
        r#"zeros 0
           {"event":"media","media":{"payload":""}}
           {"event":"media","media":{"payload":"","timestamp":"20"}}
           zeros 0
           hex 0102"#,
        "open acme/fresh-1
         audio 8000 0102",
    );
}

#[test]
fn the_encoding_is_the_starts_for_text_and_binary() {
    check(
        custom(),
        r#"{"event":"start","interaction_id":"i1","encoding":"MuLaw","sample_rate":"8k"}
           hex ff
           {"event":"audio","data":"gA==","seq":"7"}"#,
        "open acme/i1 start 8000 MuLaw
         started
         audio 8000 0000
         audio 8000 7c7d as 7",
    );
    check(
        exotel(),
        r#"{"event":"start","start":{"call_sid":"c1","media_format":{"encoding":"audio/x-alaw;rate=16000"}}}
           hex d5"#,
        "open acme/c1 start 16000 audio/x-alaw;rate=16000
         audio 16000 0800",
    );
}

#[test]
fn a_half_sample_outlives_a_start_but_not_the_call() {
    let mut facts = exotel();
    facts.hints.call = Some("c1".to_owned());
    check(
        facts,
        r#"hex 01
           {"event":"start","start":{"call_sid":"c1"}}
           hex 0203
           {"event":"start","start":{"call_sid":"c2"}}
           hex 0405"#,
        "open acme/c1
         open acme/c1 start 8000 pcm16
         audio 8000 0102
         end restarted
         open acme/c2 start 8000 pcm16
         audio 8000 0405",
    );
}

#[test]
fn jumps_in_the_senders_own_count_are_counted() {
    let mut talk = Talk::new(exotel());
    for chunk in [1, 2, 5, 5, 4, 6, 9] {
        talk.play(&format!(
            r#"{{"event":"media","media":{{"payload":"AQI=","chunk":"{chunk}"}}}}"#
        ));
    }
    assert_eq!(talk.intake.sender_gaps(), 3);
    assert_eq!(talk.told.len(), 8);
}
