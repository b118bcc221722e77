//! How a conversation ends, and the small events before that (3.6, 4.3).

use super::{check, custom, custom_for, exotel};

#[test]
fn a_stop_ends_the_call_in_exotels_word_or_ours() {
    let start = r#"{"event":"start","start":{"call_sid":"c1"}}"#;
    let check_stop = |stop: &str, word: &str| {
        check(
            exotel(),
            &format!("{start}\n{stop}"),
            &format!(
                "open acme/c1 start 8000 pcm16
                 event stop {word}
                 end {word}
                 finish"
            ),
        );
    };
    check_stop(
        r#"{"event":"stop","stop":{"reason":"callended"}}"#,
        "callended",
    );
    check_stop(r#"{"event":"stop","reason":"stopped"}"#, "stopped");
    check_stop(r#"{"event":"stop"}"#, "stop");
    check_stop(r#"{"event":"stop","stop":null}"#, "stop");
    check_stop(r#"{"event":"stop","stop":{"reason":""}}"#, "stop");
    check_stop(r#"{"event":"end"}"#, "end");
    let long = "w".repeat(1000);
    check_stop(
        &format!(r#"{{"event":"stop","reason":"{long}"}}"#),
        long.split_at(256).0,
    );
}

#[test]
fn what_is_said_after_the_end_is_not_heard() {
    check(
        custom(),
        r#"{"event":"start","interaction_id":"i1"}
           {"event":"end"}
           {"event":"end"}
           hex 0102
           nonsense
           {"event":"start","interaction_id":"i2"}"#,
        "open acme/i1 start 24000 pcm16
         started
         event stop end
         end end
         finish",
    );
}

#[test]
fn an_end_before_any_call_is_just_the_end() {
    check(exotel(), r#"{"event":"stop"}"#, "finish");
    check(custom(), r#"{"event":"end"}"#, "finish");
}

#[test]
fn small_events_belong_to_the_call() {
    check(
        exotel(),
        r#"{"event":"connected"}
           {"event":"start","start":{"call_sid":"c1"}}
           {"event":"dtmf","dtmf":{"digit":"5","duration":"120"}}
           {"event":"dtmf","digit":6}
           {"event":"mark","mark":{"name":"greeting"}}
           {"event":"clear"}
           {"event":"something_new","with":[{"what":"ever"}]}"#,
        "open acme/c1 start 8000 pcm16
         event dtmf 5 Some(120)
         event dtmf 6 None
         event mark greeting
         event clear",
    );
    check(
        custom_for("q1"),
        r#"{"event":"mark","name":"m"}"#,
        "open acme/q1
         event mark m",
    );
    let long = "m".repeat(300);
    check(
        exotel(),
        &format!(r#"{{"event":"mark","name":"{long}"}}"#),
        &format!(
            "open acme/fresh-1
             event mark {}",
            long.split_at(256).0
        ),
    );
}
