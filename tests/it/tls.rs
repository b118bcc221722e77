//! wss and https by the service itself (2 `SSL_CERT_PATH`, `SSL_KEY_PATH`), and certificates that change (2.1).

use std::{path::Path, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};

use crate::{
    caller::Caller,
    conversation::{begin, speak},
    redis::Redis,
    rig::setup,
    service::{Service, field},
};

fn issue() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate")
}

async fn serve(redis: &Redis, certificate: &CertifiedKey<KeyPair>) -> Service {
    let setup = setup(
        redis,
        &[("SUPPORT_EXOTEL", "true"), ("HANDSHAKE_TIMEOUT_S", "1")],
    );
    install(setup.dir(), certificate);
    setup
        .env("SSL_CERT_PATH", "cert.pem")
        .env("SSL_KEY_PATH", "key.pem")
        .start()
        .await
}

fn install(dir: &Path, certificate: &CertifiedKey<KeyPair>) {
    let key = certificate.signing_key.serialize_pem();
    std::fs::write(dir.join("cert.pem"), certificate.cert.pem()).expect("a certificate file");
    std::fs::write(dir.join("key.pem"), key).expect("a key file");
}

/// A connection whose server has shown the certificate that alone is trusted.
async fn connect(
    service: &Service,
    trusted: &CertifiedKey<KeyPair>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let wire = TcpStream::connect(("127.0.0.1", service.port())).await?;
    let name = ServerName::try_from(NAME).expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, wire).await
}

#[tokio::test]
async fn certificates_make_it_wss() {
    let (redis, certificate) = (Redis::start().await, issue());
    let service = serve(&redis, &certificate).await;
    let line = service.wait_for_log("listening").await;
    assert!(
        field(&line, "url")
            .and_then(|url| url.as_str())
            .is_some_and(|url| url.starts_with("wss://")),
        "{line}"
    );
    let wire = connect(&service, &certificate).await.expect("trusted");
    let dialled = Caller::to(&service).dial_over(Box::new(wire)).await;
    let Ok(mut socket) = dialled else {
        panic!("refused over TLS");
    };
    begin(&mut socket, "over-tls", 3).await;
    assert_eq!(redis.wait_for_frames("over-tls", 3).await.len(), 3);
}

// 2.1: SIGHUP reads the certificate again, without touching a call; files that cannot be served change nothing.
#[tokio::test]
async fn sighup_renews_the_certificate_under_a_live_call() {
    let (redis, old, new) = (Redis::start().await, issue(), issue());
    let service = serve(&redis, &old).await;
    let wire = connect(&service, &old).await.expect("trusted");
    let dialled = Caller::to(&service).dial_over(Box::new(wire)).await;
    let Ok(mut live) = dialled else {
        panic!("refused over TLS");
    };
    begin(&mut live, "live", 1).await;

    std::fs::write(service.dir().join("cert.pem"), "no certificate").expect("written");
    service.signal(rustix::process::Signal::HUP);
    service
        .wait_for_log("Settings could not be read again; everything stays as it was")
        .await;
    connect(&service, &old).await.expect("still the old one");

    install(service.dir(), &new);
    service.signal(rustix::process::Signal::HUP);
    crate::wait::until("the new certificate to be shown", async || {
        connect(&service, &new).await.ok()
    })
    .await;
    assert!(connect(&service, &old).await.is_err());
    speak(&mut live, 2, 3).await;
    redis.wait_for_frames("live", 3).await;
}

// 2 HANDSHAKE_TIMEOUT_S: it holds for the TLS handshake, and anew for the request behind it.
#[tokio::test]
async fn a_handshake_that_is_not_finished_is_cut_off() {
    let (redis, certificate) = (Redis::start().await, issue());
    let service = serve(&redis, &certificate).await;
    let mut silent = TcpStream::connect(("127.0.0.1", service.port()))
        .await
        .expect("accepted");
    // The beginning of a ClientHello.
    silent.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("sent");
    let mut shaken = connect(&service, &certificate).await.expect("trusted");
    shaken.write_all(b"GET /v1").await.expect("sent");
    let mut rest = Vec::new();
    let cut_off = timeout(CUT_OFF_WITHIN, silent.read_to_end(&mut rest)).await;
    assert!(cut_off.is_ok() && rest.is_empty(), "{rest:?}");
    let cut_off = timeout(CUT_OFF_WITHIN, shaken.read_to_end(&mut rest)).await;
    assert!(cut_off.is_ok(), "{rest:?}");
}

const NAME: &str = "ingest.test";
const CUT_OFF_WITHIN: Duration = Duration::from_secs(5);
