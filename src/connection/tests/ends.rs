//! Timers, limits, shutdown and the closing handshake.

use std::sync::Arc;

use super::{Stage, ack, seconds, settle, started};
use crate::{
    admission::{self, Rules},
    frame::Sender,
    intake::Facts,
    secret::Secret,
    websocket::tests::{BINARY, CLOSE, PING, PONG, from_client},
};

#[tokio::test(start_paused = true)]
async fn silence_is_answered_by_a_ping_and_then_by_the_end() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    seconds(19.9).await;
    assert!(peer.heard().is_empty());
    seconds(0.2).await;
    assert_eq!(peer.heard(), ["ping"]);
    peer.send(from_client(PONG, &[])).await;
    seconds(59.8).await;
    assert_eq!(peer.heard(), ["ping"], "the pong set the clock back");
    assert_eq!(stage.published(), ["start i"]);
    seconds(0.4).await;
    assert_eq!(peer.heard(), ["close 1001"]);
    assert_eq!(stage.published(), ["end idle_timeout 0 i"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_long_is_ended_however_lively() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    for _ in 0..99 {
        seconds(10.0).await;
        peer.send_frames(1).await;
    }
    assert!(peer.heard().is_empty());
    stage.published();
    seconds(10.1).await;
    assert_eq!(peer.heard(), ["close 1000"]);
    assert_eq!(stage.published(), ["end max_duration 99 i"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_the_peers_close_is_awaited_for_a_while() {
    for answers in [true, false] {
        let mut stage = Stage::new();
        let peer = stage.exotel().await;
        peer.say(r#"{"event":"stop","reason":"callended"}"#).await;
        assert_eq!(
            stage.published(),
            ["start i", "stop i", "end callended 0 i"]
        );
        stage.lane.confirm_all();
        settle().await;
        assert_eq!(peer.heard(), ["close 1000"]);
        peer.send_frames(3).await;
        assert_eq!(stage.reap().live(), 1);
        if answers {
            peer.close().await;
            drop(peer);
            settle().await;
        } else {
            seconds(1.9).await;
            assert_eq!(stage.reap().live(), 1);
            seconds(0.2).await;
        }
        assert_eq!(stage.reap().live(), 0);
        assert!(stage.published().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peers_close_is_answered_before_the_socket_goes() {
    for reads in [true, false] {
        let mut stage = Stage::new();
        let peer = stage.exotel().await;
        peer.reads(reads);
        peer.send(from_client(CLOSE, b"\x0f\xa0bye")).await;
        if reads {
            assert_eq!(peer.heard(), ["close 4000"]);
        } else {
            assert!(peer.heard().is_empty());
            seconds(2.1).await;
        }
        assert!(peer.to.is_closed(), "the socket is gone");
        seconds(5.1).await;
        assert_eq!(stage.published(), ["start i", "end disconnected 0 i"]);
        assert_eq!(stage.reap().live(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_and_of_those_that_wait_the_newest() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    peer.send(from_client(PING, b"\x01")).await;
    assert_eq!(peer.heard(), ["pong [1]"]);
    peer.reads(false);
    for n in 2..=9 {
        peer.send(from_client(PING, &[n])).await;
    }
    peer.reads(true);
    settle().await;
    assert_eq!(peer.heard(), ["pong [2]", "pong [9]"]);
}

#[tokio::test(start_paused = true)]
async fn what_websocket_forbids_ends_the_call() {
    let too_long = || from_client(BINARY, &vec![0; (1 << 20) + 1]);
    let mut stage = Stage::new();
    let exotel = stage.exotel().await;
    exotel.send(too_long()).await;
    assert_eq!(exotel.heard(), ["close 1009"]);
    assert_eq!(stage.published(), ["start i", "end bad_input 0 i"]);
    exotel.close().await;
    assert_eq!(stage.reap().live(), 0, "what was refused hides no close");

    let custom = stage.custom().await;
    custom.send(too_long()).await;
    let heard = custom.heard();
    assert!(heard[1].contains("too_large"), "{heard:?}");
    assert_eq!(heard[2], "close 1009");
    custom.send(vec![0xff; 14]).await;
    assert_eq!(stage.reap().live(), 0, "nor is more of it forgiven");
}

#[tokio::test(start_paused = true)]
async fn without_its_token_a_connection_has_five_seconds() {
    let mut stage = Stage::new();
    let settings = admission::Settings {
        support_exotel: true,
        basic_auth: Vec::new(),
        allowed_ips: Vec::new(),
        trusted_proxies: Vec::new(),
        url_tokens: vec![Secret::new("open-sesame")],
    };
    let rules = Arc::new(Rules::new(settings, None));
    for frames in [10, 0] {
        let mut facts = Facts::new(Sender::Exotel, "t", "fresh");
        facts.awaits_token = Some(Arc::clone(&rules));
        let peer = stage.connect(facts);
        peer.send_frames(frames).await;
        seconds(4.9).await;
        assert!(peer.heard().is_empty());
        seconds(0.2).await;
        assert_eq!(peer.heard(), ["close 1008"]);
        assert!(stage.published().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_exotel_is_sent_away() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    peer.send_frames(2).await;
    stage.shared.shutdown.closing.cancel();
    settle().await;
    assert_eq!(
        stage.published(),
        ["start i", "frame 1", "frame 2", "end shutdown 2 i"]
    );
    seconds(2.1).await;
    assert_eq!(
        peer.heard(),
        ["close 1001"],
        "whether all is durable or not"
    );
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_a_custom_client_gets_its_last_ack_and_the_reason() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    let nameless = stage.connect(Facts::new(Sender::Custom, "t", ""));
    peer.send_frames(2).await;
    stage.shared.shutdown.closing.cancel();
    settle().await;
    let heard = nameless.heard();
    assert!(heard[0].contains("shutting_down"), "{heard:?}");
    assert_eq!(heard[1], "close 1001");
    assert_eq!(peer.heard(), [started(1)], "two frames are not durable");
    stage.lane.confirm_all();
    settle().await;
    let heard = peer.heard();
    assert_eq!(heard[0], ack(2));
    assert!(heard[1].contains("shutting_down"), "{heard:?}");
    assert_eq!(heard[2], "close 1001");
}
