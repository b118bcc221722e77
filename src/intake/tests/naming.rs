//! Which call a connection's audio belongs to (3.4, 3.6).

use super::{check, custom, custom_for, exotel};
use crate::frame::ID_BYTES_MAX;

#[test]
fn an_exotel_start_names_tenant_and_call() {
    let expected = "open acct/c1 start 8000 pcm16";
    let starts = [
        r#"{"event":"start","start":{"call_sid":"c1","account_sid":"acct"}}"#,
        r#"{"event":"start","start":{"callSid":"c1","accountSid":"acct"}}"#,
        r#"{"event":"start","call_sid":"c1","account_sid":"acct"}"#,
        r#"{"event":"start","start":{"call_sid":"c1","interaction_id":"i1","tenant_id":"acct","account_sid":"x"}}"#,
        r#"{"event":"start","start":{"interaction_id":"c1","custom_parameters":{}},"tenantId":"acct"}"#,
        r#"binary {"event":"start","start":{"call_sid":"c1","account_sid":"acct"}}"#,
    ];
    for start in starts {
        check(exotel(), start, expected);
    }
}

#[test]
fn what_no_start_names_is_named_by_the_url_or_afresh() {
    check(
        exotel(),
        "hex 0102",
        "open acme/fresh-1
         audio 8000 0102",
    );
    let mut facts = exotel();
    facts.hints.call = Some("q1".to_owned());
    facts.hints.tenant = Some("qt".to_owned());
    facts.hints.rate = Some("16k".to_owned());
    check(
        facts,
        r#"hex 0102
           {"event":"start","start":{}}"#,
        "open qt/q1
         audio 16000 0102
         open qt/q1 start 16000 pcm16",
    );
}

#[test]
fn the_tenant_of_an_exotel_start_without_one_may_stand_in_its_custom_parameters() {
    let start =
        r#"{"event":"start","start":{"call_sid":"c1","custom_parameters":{"tenant_id":"ct"}}}"#;
    let mut facts = exotel();
    facts.hints.tenant = Some("qt".to_owned());
    check(facts, start, "open ct/c1 start 8000 pcm16 tenant_id=ct");
    check(
        custom(),
        start,
        "open acme/c1 start 24000 pcm16 tenant_id=ct
         started",
    );
}

#[test]
fn a_custom_client_names_its_call_first() {
    for nameless in [
        "hex 0102",
        r#"{"event":"audio","data":"AQI="}"#,
        r#"{"event":"start","sample_rate":8000}"#,
        r#"{"event":"dtmf","digit":"1"}"#,
    ] {
        check(custom(), nameless, "fail bad_start");
    }
    check(
        custom(),
        r#"{"event":"start","interaction_id":"i1","call_sid":"c1","tenant_id":"t1"}
           hex 0102"#,
        "open t1/i1 start 24000 pcm16
         started
         audio 24000 0102",
    );
    check(
        custom_for("q1"),
        "hex 0102",
        "open acme/q1
         audio 24000 0102",
    );
}

#[test]
fn a_token_binds_the_connection_to_its_call() {
    let bound = |tenant: Option<&str>, call: Option<&str>| {
        let mut facts = custom();
        facts.bound.tenant_id = tenant.map(str::to_owned);
        facts.bound.interaction_id = call.map(str::to_owned);
        facts
    };
    let start = r#"{"event":"start","interaction_id":"i1","tenant_id":"t1"}"#;
    let opened = "open t1/i1 start 24000 pcm16
                  started";
    check(bound(Some("t1"), Some("i1")), start, opened);
    check(
        bound(Some("t1"), Some("i1")),
        r#"{"event":"start"}"#,
        opened,
    );
    check(bound(Some("t2"), None), start, "fail forbidden");
    check(bound(None, Some("i2")), start, "fail forbidden");
    check(
        bound(Some("t1"), Some("i1")),
        r#"hex 0102
           {"event":"start","interaction_id":"i2"}
           hex 0304"#,
        "open t1/i1
         audio 24000 0102
         end bad_input
         fail forbidden",
    );
}

#[test]
fn a_call_that_is_named_late_is_renamed() {
    check(
        exotel(),
        r#"hex 0102
           {"event":"start","start":{"call_sid":"c1"}}
           hex 0304"#,
        "open acme/fresh-1
         audio 8000 0102
         event renamed fresh-1 c1
         end renamed
         open acme/c1 start 8000 pcm16
         audio 8000 0304",
    );
}

#[test]
fn a_start_for_another_call_ends_the_first() {
    check(
        exotel(),
        r#"{"event":"start","start":{"call_sid":"c1"}}
           hex 01
           {"event":"start","start":{"call_sid":"c2","sample_rate":16000}}
           hex 0304"#,
        "open acme/c1 start 8000 pcm16
         end restarted
         open acme/c2 start 16000 pcm16
         audio 16000 0304",
    );
}

#[test]
fn a_repeated_start_changes_nothing() {
    check(
        exotel(),
        r#"{"event":"start","start":{"call_sid":"c1","sample_rate":"8000"}}
           hex 01
           {"event":"start","start":{"call_sid":"c1","sample_rate":"16000","media_format":{"encoding":"mulaw"}}}
           {"event":"start"}
           hex 02"#,
        "open acme/c1 start 8000 pcm16
         audio 8000 0102",
    );
    check(
        custom(),
        r#"{"event":"start","interaction_id":"i1"}
           {"event":"start","interaction_id":"i1","sample_rate":8000}
           hex 0102"#,
        "open acme/i1 start 24000 pcm16
         started
         started
         audio 24000 0102",
    );
}

#[test]
fn an_id_that_is_too_long_is_passed_over_or_refused() {
    let at_most = "x".repeat(ID_BYTES_MAX);
    let start = |id: &str| format!(r#"{{"event":"start","start":{{"call_sid":"{id}"}}}}"#);
    check(
        exotel(),
        &start(&at_most),
        &format!("open acme/{at_most} start 8000 pcm16"),
    );
    check(
        exotel(),
        &start(&format!("{at_most}x")),
        "warn
         open acme/fresh-1 start 8000 pcm16",
    );
    check(custom(), &start(&format!("{at_most}x")), "fail bad_start");
    let tenant =
        format!(r#"{{"event":"start","start":{{"call_sid":"c1","account_sid":"{at_most}x"}}}}"#);
    check(
        exotel(),
        &tenant,
        "warn
         open acme/c1 start 8000 pcm16",
    );
    let mut facts = exotel();
    facts.hints.call = Some(format!("{at_most}x"));
    check(
        facts,
        "hex 0102",
        "open acme/fresh-1
         audio 8000 0102",
    );
}

#[test]
fn custom_parameters_are_the_starts_and_then_the_urls() {
    let mut facts = exotel();
    facts.hints.parameters.add("agent", "7");
    check(
        facts,
        r#"{"event":"start","start":{"call_sid":"c1","custom_parameters":{"queue":"sales","token":"s3cret"}}}"#,
        "open acme/c1 start 8000 pcm16 queue=sales agent=7",
    );
}

#[test]
fn a_start_without_an_id_leaves_the_naming_to_a_later_one() {
    let mut facts = exotel();
    facts.hints.call = Some("q1".to_owned());
    check(
        facts,
        r#"{"event":"start"}
           hex 0102
           {"event":"start","start":{"account_sid":"acme"}}
           {"event":"start","start":{"call_sid":"c1"}}
           hex 0304
           {"event":"start","start":{"call_sid":"c2"}}"#,
        "open acme/q1 start 8000 pcm16
         audio 8000 0102
         event renamed q1 c1
         end renamed
         open acme/c1 start 8000 pcm16
         audio 8000 0304
         end restarted
         open acme/c2 start 8000 pcm16",
    );
}
