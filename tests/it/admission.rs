//! Who gets in (3.2, 3.3, 3.4) and who does not, seen at the upgrade. Tokens that come later, in the
//! start event, are in `late_token`; limits and the shape of refusals are in `upgrade`.

use serde_json::json;

use crate::{
    conversation::{begin, begin_simple, simple_start},
    keys,
    rig::Rig,
    service::Setup,
};

const PRIVATE: &str = "-----BEGIN";

// 3.2 row 1: a Bearer token must hold, in any case of the scheme; Exotel support does not matter.
#[tokio::test]
async fn bearer_tokens_must_hold() {
    for support in ["true", "false"] {
        let rig = Rig::with(&[("SUPPORT_EXOTEL", support)]).await;
        let good = keys::token();
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let value = format!("{scheme} {good}");
            rig.caller().header("Authorization", &value).connect().await;
        }
        let stranger = keys::Pair::es256().sign(&json!({"exp": 4_102_444_800_u64}));
        let no_expiry = keys::trusted().sign(&json!({"tenant_id": "t"}));
        let unborn =
            keys::trusted().sign(&json!({"exp": 4_102_444_800_u64, "nbf": 4_102_444_000_u64}));
        let unsigned = "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.";
        let bad = [
            &keys::expired(),
            &stranger,
            &no_expiry,
            &unborn,
            unsigned,
            "x.y.z",
            "",
        ];
        for token in bad {
            let answer = rig.caller().bearer(token).refused().await;
            assert_eq!(answer.status, 401, "{token}");
        }
        rig.service.wait_for_log("Authentication failed").await;
        rig.assert_unseen(&good).await;
    }
}

// 3.2 row 1: browsers offer the subprotocols `bearer, <jwt>` and are answered `bearer`.
#[tokio::test]
async fn browsers_bring_the_token_as_a_subprotocol() {
    let rig = Rig::with(&[]).await;
    let good = keys::token();
    let offer = format!("bearer, {good}");
    let mut socket = rig
        .caller()
        .header("Sec-WebSocket-Protocol", &offer)
        .connect()
        .await;
    assert_eq!(
        socket.answer.header("sec-websocket-protocol"),
        Some("bearer")
    );
    begin_simple(&mut socket, "browser").await;
    let offer = format!("bearer, {}", keys::expired());
    let answer = rig
        .caller()
        .header("Sec-WebSocket-Protocol", &offer)
        .refused()
        .await;
    assert_eq!(answer.status, 401);
    rig.assert_unseen(&good).await;
}

// 3.2 rows 2, 3 and 4: Basic and no credentials are Exotel's if it is supported; another scheme is nobody's.
#[tokio::test]
async fn other_credentials_are_exotels_or_nobodys() {
    let open = Rig::open().await;
    open.caller().connect().await;
    open.caller().basic("any:thing").connect().await;
    let digest = open
        .caller()
        .header("Authorization", "Digest username=\"x\"");
    assert_eq!(digest.refused().await.status, 401);

    let closed = Rig::with(&[]).await;
    assert_eq!(closed.caller().refused().await.status, 401);
    assert_eq!(
        closed.caller().basic("any:thing").refused().await.status,
        401
    );
    closed.service.wait_for_log("Authentication failed").await;
}

// 3.3: with EXOTEL_BASIC_AUTH one of the pairs must match; several make rotation possible.
#[tokio::test]
async fn basic_credentials_must_match_one_pair() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        (
            "EXOTEL_BASIC_AUTH",
            "key-old:tok:with:colons,key-new:s3cr3t-new",
        ),
    ])
    .await;
    for pair in ["key-old:tok:with:colons", "key-new:s3cr3t-new"] {
        let mut socket = rig.caller().basic(pair).connect().await;
        begin(&mut socket, pair.split(':').next().expect("a key"), 1).await;
    }
    for pair in [
        "key-old:s3cr3t-new",
        "key-new:",
        "",
        ":",
        "key-new:s3cr3t-new ",
        "no-colon",
    ] {
        assert_eq!(
            rig.caller().basic(pair).refused().await.status,
            401,
            "{pair}"
        );
    }
    let garbled = rig.caller().header("Authorization", "Basic !!!");
    assert_eq!(garbled.refused().await.status, 401);
    assert_eq!(rig.caller().refused().await.status, 401);
    rig.redis.wait_for_frames("key-new", 1).await;
    rig.assert_unseen("s3cr3t-new").await;
    assert_eq!(rig.service.health().await["exotel_auth"], "basic");
}

// 3.3: with EXOTEL_ALLOWED_IPS the client's address must be in it; IPv4 through `::` is still IPv4.
#[tokio::test]
async fn the_peers_address_must_be_allowed() {
    let v4 = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_ALLOWED_IPS", "127.0.0.0/8, 2001:db8::/32"),
    ])
    .await;
    v4.caller().connect().await;
    assert_eq!(v4.caller().host("::1").refused().await.status, 403);
    assert_eq!(v4.service.health().await["exotel_auth"], "ip");

    let v6 = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("EXOTEL_ALLOWED_IPS", "::1")]).await;
    v6.caller().host("::1").connect().await;
    assert_eq!(v6.caller().refused().await.status, 403);
    // Custom clients are let in by their token alone.
    v6.caller().bearer(&keys::token()).connect().await;
}

// 2 TRUSTED_PROXIES, 3.3: the client is the right-most address that is no trusted proxy.
#[tokio::test]
async fn forwarded_addresses_count_only_from_trusted_proxies() {
    let allowed = ("EXOTEL_ALLOWED_IPS", "203.0.113.0/24");
    let trusted = ("TRUSTED_PROXIES", "127.0.0.0/8,::1,10.0.0.0/8");
    let believing = Rig::with(&[("SUPPORT_EXOTEL", "true"), allowed, trusted]).await;
    let good = [
        "203.0.113.9",
        "198.51.100.1, 203.0.113.9",
        "203.0.113.9, 10.1.2.3",
        "1.2.3.4,203.0.113.9 , 10.0.0.1",
    ];
    for forwarded in good {
        believing
            .caller()
            .header("X-Forwarded-For", forwarded)
            .connect()
            .await;
        let caller = believing.caller().host("::1");
        caller.header("X-Forwarded-For", forwarded).connect().await;
    }
    let twice = believing.caller().header("X-Forwarded-For", "198.51.100.1");
    twice
        .header("X-Forwarded-For", "203.0.113.9")
        .connect()
        .await;
    for forwarded in [
        "203.0.113.9, 198.51.100.1",
        "198.51.100.1",
        "10.0.0.1",
        "",
        "203.0.113.9, garbage",
    ] {
        let caller = believing.caller().header("X-Forwarded-For", forwarded);
        assert_eq!(caller.refused().await.status, 403, "{forwarded}");
    }
    assert_eq!(believing.caller().refused().await.status, 403);

    let wary = Rig::with(&[("SUPPORT_EXOTEL", "true"), allowed]).await;
    let caller = wary.caller().header("X-Forwarded-For", "203.0.113.9");
    assert_eq!(caller.refused().await.status, 403);
}

// 3.3, trap 1: the token as a path segment; a wrong one is refused at the upgrade.
#[tokio::test]
async fn the_url_token_may_be_a_path_segment() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        (
            "EXOTEL_URL_TOKENS",
            "tok-alpha-1,tok-beta-22,tok/gamma+3333=",
        ),
    ])
    .await;
    for token in ["tok-alpha-1", "tok-beta-22", "tok%2Fgamma+3333="] {
        let mut socket = rig
            .caller()
            .path(&format!("/v1/ingest/{token}"))
            .connect()
            .await;
        begin(&mut socket, &format!("call of {}", token.len()), 2).await;
        rig.redis
            .wait_for_frames(&format!("call of {}", token.len()), 2)
            .await;
    }
    for token in [
        "tok-alpha",
        "tok-alpha-12",
        "TOK-ALPHA-1",
        "tok-alpha-1,tok-beta-22",
        "x",
    ] {
        let caller = rig.caller().path(&format!("/v1/ingest/{token}"));
        assert_eq!(caller.refused().await.status, 401, "{token}");
    }
    rig.assert_unseen("tok-alpha-1").await;
    rig.assert_unseen("tok-beta-22").await;
    rig.assert_unseen("gamma").await;
    assert_eq!(rig.service.health().await["exotel_auth"], "token");
}

// 3.3: every check that is configured must pass, each alone is not enough.
#[tokio::test]
async fn every_configured_check_must_pass() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_ALLOWED_IPS", "127.0.0.1"),
        ("EXOTEL_BASIC_AUTH", "k:v"),
        ("EXOTEL_URL_TOKENS", "tok"),
    ])
    .await;
    assert_eq!(rig.service.health().await["exotel_auth"], "ip+basic+token");
    rig.caller()
        .path("/v1/ingest/tok")
        .basic("k:v")
        .connect()
        .await;
    assert_eq!(
        rig.caller().path("/v1/ingest/tok").refused().await.status,
        401
    );
    assert_eq!(
        rig.caller()
            .path("/v1/ingest/no")
            .basic("k:v")
            .refused()
            .await
            .status,
        401
    );
    let elsewhere = rig.caller().host("::1").path("/v1/ingest/tok").basic("k:v");
    assert_eq!(elsewhere.refused().await.status, 403);
}

// 3.3, 6.1: with no check configured everybody is let in, and that is said.
#[tokio::test]
async fn an_open_door_is_said_to_be_open() {
    let open = Rig::open().await;
    assert_eq!(open.service.health().await["exotel_auth"], "open");
    let lines = open.service.lines();
    let warned = lines
        .iter()
        .any(|line| line.contains("\"WARN\"") && line.contains("EXOTEL_"));
    assert!(warned, "a warning at start names what to set: {lines:#?}");
    let closed = Rig::with(&[]).await;
    assert_eq!(closed.service.health().await["exotel_auth"], "off");
    assert_eq!(closed.service.health().await["jwt"], true);
}

// 3.4: claims bind the connection; a query that names others gets 403.
#[tokio::test]
async fn claims_bind_the_query() {
    let rig = Rig::with(&[]).await;
    let token = keys::token_with(&[
        ("tenant_id", json!("acme")),
        ("interaction_id", json!("int-1")),
    ]);
    let caller = rig.caller().bearer(&token);
    for query in [
        "tenant_id=other",
        "call_sid=int-2",
        "CallSid=int-2",
        "tenant_id=acme&CallSid=int-2",
    ] {
        let caller = caller.clone().path(&format!("/v1/ingest?{query}"));
        assert_eq!(caller.refused().await.status, 403, "{query}");
    }
    caller
        .path("/v1/ingest?tenant_id=acme&CallSid=int-1")
        .connect()
        .await;
}

// 3.4, 3.8: a start that names others is answered `forbidden` and closed with 1008, and publishes nothing.
#[tokio::test]
async fn claims_bind_the_start() {
    let rig = Rig::with(&[]).await;
    let token = keys::token_with(&[
        ("tenant_id", json!("tenant-abc")),
        ("interaction_id", json!("int-1")),
    ]);
    let mut other_tenant = simple_start("int-1");
    other_tenant["tenant_id"] = json!("other");
    for start in [simple_start("int-2"), other_tenant] {
        let mut socket = rig.caller().bearer(&token).connect().await;
        socket.json(&start).await;
        let rest = socket.rest().await;
        let last = rest.texts.last().expect("an error");
        assert_eq!(
            (&last["event"], &last["code"]),
            (&json!("error"), &json!("forbidden"))
        );
        assert_eq!(rest.code, Some(1008));
    }
    assert!(rig.redis.frames().await.is_empty());
    let mut socket = rig.caller().bearer(&token).connect().await;
    begin_simple(&mut socket, "int-1").await;
}

// 2 JWT_ISSUER, JWT_AUDIENCE, JWT_LEEWAY_S; keys one after another, `\n` escapes and quotes.
#[tokio::test]
async fn issuer_audience_and_several_keys() {
    let (first, second) = (keys::trusted(), keys::Pair::ed25519());
    let pem = format!("\"{}{}\"", first.public, second.public).replace('\n', "\\n");
    let service = Setup::new()
        .env("JWT_PUBLIC_KEY", &pem)
        .env("JWT_ISSUER", "https://issuer.test")
        .env("JWT_AUDIENCE", "ingest")
        .start()
        .await;
    let claims =
        json!({"exp": 4_102_444_800_u64, "iss": "https://issuer.test", "aud": ["x", "ingest"]});
    let caller = crate::caller::Caller::to(&service);
    caller.clone().bearer(&first.sign(&claims)).connect().await;
    caller.clone().bearer(&second.sign(&claims)).connect().await;
    for (name, value) in [("iss", json!("https://evil.test")), ("aud", json!("other"))] {
        for value in [value, json!(null)] {
            let mut claims = claims.clone();
            claims[name] = value;
            let caller = caller.clone().bearer(&first.sign(&claims));
            assert_eq!(caller.refused().await.status, 401, "{name}");
        }
    }
    assert!(service.lines().iter().all(|line| !line.contains(PRIVATE)));
}

// 2.1: SIGHUP reads `.env` again for the credentials, without touching a call; a mistake changes nothing.
#[tokio::test]
async fn sighup_rotates_credentials_under_a_live_call() {
    let redis = crate::redis::Redis::start().await;
    let setup = crate::rig::setup(&redis, &[("SUPPORT_EXOTEL", "true")])
        .file(".env", "EXOTEL_BASIC_AUTH=k:old-one\n");
    let path = setup.dir().join(".env");
    let rig = Rig {
        service: setup.start().await,
        redis,
    };
    let mut live = rig.caller().basic("k:old-one").connect().await;
    begin(&mut live, "live", 1).await;
    let rewrite = |text: &str| {
        std::fs::write(&path, text).expect("the file can be written");
        rig.service.signal(rustix::process::Signal::HUP);
    };
    rewrite("EXOTEL_BASIC_AUTH=nocolon\n");
    let failed = rig
        .service
        .wait_for_log("Settings could not be read again; everything stays as it was")
        .await;
    assert!(!failed.to_string().contains("nocolon"), "{failed}");
    rig.caller().basic("k:old-one").connect().await;

    rewrite("EXOTEL_BASIC_AUTH=k:new-one\nMAX_CALL_S=99\n");
    crate::wait::until("the new credentials to hold", async || {
        rig.caller().basic("k:new-one").dial().await.ok()
    })
    .await;
    assert_eq!(rig.caller().basic("k:old-one").refused().await.status, 401);
    let warned = rig
        .service
        .lines()
        .iter()
        .any(|line| line.contains("MAX_CALL_S has changed"));
    assert!(warned, "what needs a restart is named");
    crate::conversation::speak(&mut live, 2, 3).await;
    rig.redis.wait_for_frames("live", 3).await;
}
