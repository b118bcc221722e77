//! Who joins which session, and that each ends once (3.10).

use super::{Calls, live_call::LiveCall, reader::Reader};
use crate::{
    call::{CallName, Reason},
    dialect::Dialect,
    frame::{Now, Sender},
    intake::Heard,
    payload::Audio,
    publisher::by_hand::ByHand,
    record::frame::{FrameFacts, FrameFormat, FramePattern},
};

fn calls() -> (Calls, ByHand) {
    let (publisher, lane) = ByHand::publisher();
    (Calls::new(publisher, 50), lane)
}

fn name(tenant_id: &str) -> CallName {
    CallName {
        tenant_id: tenant_id.to_owned(),
        interaction_id: "i".to_owned(),
    }
}

fn at(epoch_ms: u64) -> Now {
    Now {
        epoch_ms,
        ..crate::clock::now()
    }
}

fn publish(call: &LiveCall, seq: Option<u64>) -> Option<bool> {
    let facts = FrameFacts {
        tenant_id: "t",
        interaction_id: "i",
        sample_rate: 8000,
        session: 1,
        stream_sid: None,
        track: None,
    };
    let audio = Audio {
        pcm: &[1, 2],
        text: None,
    };
    let heard = Heard {
        audio,
        track: 0,
        media_ms: None,
        seq,
        dialect: Dialect::Simple,
    };
    let pattern = FramePattern::new(FrameFormat::Json, &facts);
    call.publish(&heard, &pattern, 8000, at(0)).ok()
}

#[test]
fn connections_of_one_call_share_a_session_and_its_numbers() {
    let (calls, mut lane) = calls();
    let first = calls.open(&name("t"), Sender::Custom, at(1000)).unwrap();
    assert!(!first.joined && first.last_seq.is_none() && first.call.session() == 1000);
    publish(&first.call, None);
    let second = calls.open(&name("t"), Sender::Exotel, at(2000)).unwrap();
    assert!(second.joined && second.last_seq == Some(1) && second.call.session() == 1000);
    publish(&second.call, None);
    publish(&first.call, None);
    assert_eq!(calls.len(), 1);
    assert_eq!(lane.take(), ["frame 1", "active i", "frame 2", "frame 3"]);
}

#[test]
fn another_tenant_has_a_call_of_its_own_under_the_same_id() {
    let (calls, mut lane) = calls();
    let ours = calls.open(&name("t1"), Sender::Exotel, at(1000)).unwrap();
    let theirs = calls.open(&name("t2"), Sender::Exotel, at(1000)).unwrap();
    assert!(!theirs.joined && calls.len() == 2);
    assert_ne!(ours.call.session(), theirs.call.session());
    ours.call.announce(at(1000));
    theirs.call.announce(at(1000));
    assert_eq!(lane.take(), ["active i"], "the key is the first tenant's");
    calls.end(&theirs.call, &Reason::Stop, at(1000));
    assert!(theirs.call.is_ended() && !ours.call.is_ended());
    assert_eq!(lane.take(), ["end stop 0 i"]);
    calls.end(&ours.call, &Reason::Stop, at(1000));
    assert_eq!(lane.take(), ["ended i", "end stop 0 i"]);
    let later = calls.open(&name("t2"), Sender::Exotel, at(1000)).unwrap();
    later.call.announce(at(1000));
    assert_eq!(lane.take(), ["active i"], "now it is free");
}

#[test]
fn a_later_session_of_a_call_has_a_larger_number() {
    let (calls, _lane) = calls();
    let mut last = 0;
    // The wall clock stands still, and is then put back.
    for epoch_ms in [5000, 5000, 4000] {
        let opened = calls
            .open(&name("t"), Sender::Exotel, at(epoch_ms))
            .unwrap();
        assert!(!opened.joined && opened.call.session() > last);
        last = opened.call.session();
        calls.end(&opened.call, &Reason::Stop, at(epoch_ms));
        assert!(calls.is_empty());
    }
    assert_eq!(last, 5002);
}

#[test]
fn a_session_ends_once_and_takes_nothing_afterwards() {
    let (calls, mut lane) = calls();
    let opened = calls.open(&name("t"), Sender::Exotel, at(0)).unwrap();
    assert_eq!(publish(&opened.call, None), Some(true));
    assert_eq!(publish(&opened.call, Some(1)), Some(false), "a repeat");
    calls.end(&opened.call, &Reason::Stop, at(0));
    calls.end(&opened.call, &Reason::Disconnected, at(0));
    calls.end_all(&Reason::Shutdown, at(0));
    assert_eq!(publish(&opened.call, None), None);
    assert!(opened.call.detach(at(0)).is_none());
    assert_eq!(
        lane.take(),
        ["frame 1", "active i", "ended i", "end stop 1 i"]
    );
}

#[test]
fn only_the_last_departure_of_an_abandoned_call_ends_it() {
    let (calls, _lane) = calls();
    let open = || calls.open(&name("t"), Sender::Exotel, at(0)).unwrap().call;
    let call = open();
    open();
    assert!(call.detach(at(0)).is_none(), "one connection is left");
    let early = call.detach(at(0)).unwrap();
    open();
    calls.end_abandoned(&call, early, &Reason::Disconnected, at(0));
    assert!(!call.is_ended(), "it was taken up");
    let late = call.detach(at(0)).unwrap();
    calls.end_abandoned(&call, early, &Reason::Disconnected, at(0));
    assert!(!call.is_ended(), "its time is not over");
    calls.end_abandoned(&call, late, &Reason::Disconnected, at(0));
    assert!(call.is_ended() && calls.is_empty());
}

/// Three readers of one session: the one that asks, and two that are asked.
fn readers() -> (std::sync::Arc<LiveCall>, [Reader; 3]) {
    let (calls, _lane) = calls();
    let call = calls.open(&name("t"), Sender::Custom, at(0)).unwrap().call;
    let readers = [call.reader(), call.reader(), call.reader()];
    (call, readers)
}

#[test]
fn a_question_is_answered_by_all_others_and_only_when_they_have_heard_it() {
    let (call, [joins, mut first, second]) = readers();
    let news = call.progress().subscribe();
    let asked = call.ask_others(&joins).unwrap();
    assert!(news.has_changed().unwrap() && !first.is_asked());
    first.answer();
    drop(second);
    assert!(!asked.is_answered(), "it has not heard it yet");
    first.listen();
    assert!(first.is_asked());
    first.answer();
    assert!(asked.is_answered() && !first.is_asked());
    let again = call.ask_others(&joins).unwrap();
    assert!(asked.is_answered() && !again.is_answered());
    drop(first);
    assert!(again.is_answered());
    drop((asked, again));
    assert!(call.ask_others(&joins).is_none(), "nobody is left");
}

#[test]
fn who_never_reads_everything_answers_all_the_same() {
    let (call, [joins, mut first, second]) = readers();
    drop(second);
    let asked = call.ask_others(&joins).unwrap();
    first.listen();
    let mut turns = 0;
    while first.is_asked() {
        first.listen();
        first.begin_turn(true);
        turns += 1;
    }
    assert!(asked.is_answered() && turns == 2049);
}
