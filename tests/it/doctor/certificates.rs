//! `doctor` and certificates: good ones of a private authority, and every way to be no good.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use super::{Report, examine};
use crate::{redis::Redis, rig::setup, service::Service};

/// An authority, and the service with a certificate of its.
struct Served {
    service: Service,
    redis: Redis,
    dir: TempDir,
}

impl Served {
    /// `change` makes the certificate what it is to be.
    async fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "House Authority");
        let root = authority.self_signed(&authority_key).expect("a root");
        let key = KeyPair::generate().expect("a key");
        let mut own = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        own.distinguished_name
            .push(DnType::CommonName, "the service");
        change(&mut own);
        let issuer = Issuer::from_params(&authority, &authority_key);
        let own = own.signed_by(&key, &issuer).expect("a certificate");
        Self::serve(&own.pem(), &key, &root.pem()).await
    }

    async fn serve(own: &str, key: &KeyPair, root: &str) -> Self {
        let redis = Redis::start().await;
        let setup = setup(&redis, &[("SUPPORT_EXOTEL", "true")])
            .file("cert.pem", own)
            .file("key.pem", &key.serialize_pem())
            .env("SSL_CERT_PATH", "cert.pem")
            .env("SSL_KEY_PATH", "key.pem");
        let dir = TempDir::new().expect("a temporary directory");
        std::fs::write(dir.path().join("ca.pem"), root).expect("written");
        let service = setup.start().await;
        Self {
            service,
            redis,
            dir,
        }
    }

    async fn examine(&self, url: &str, more: &[&str]) -> Report {
        let url = url.replace("PORT", &self.service.port().to_string());
        let args: Vec<&str> = ["--url", &url].iter().chain(more).copied().collect();
        examine(&args).await
    }

    fn ca(&self) -> String {
        self.dir
            .path()
            .join("ca.pem")
            .to_string_lossy()
            .into_owned()
    }
}

const URL: &str = "wss://localhost:PORT/v1/ingest";

#[tokio::test]
async fn a_private_authority_holds_where_it_is_given() {
    let served = Served::with("localhost", |_| {}).await;
    let redis = served.redis.url();
    let report = served
        .examine(URL, &["--ca", &served.ca(), "--redis", &redis])
        .await;
    report.assert_ok(true);
    report.check("tls", "ok", "TLS 1.3, issued by House Authority");
    report.check("tls", "ok", "Exotel does not know that authority");
    report.check("frames", "ok", "50 of 50");
    let report = served.examine(URL, &[]).await;
    report.assert_ok(false);
    report.check("tls", "failed", "--ca");
}

// The walk goes on behind a bad certificate, but no credentials do.
#[tokio::test]
async fn no_secret_is_sent_behind_a_certificate_that_does_not_hold() {
    let served = Served::with("ingest.test", |_| {}).await;
    let ca = served.ca();
    let report = served.examine(URL, &["--ca", &ca]).await;
    report.assert_ok(false);
    report.check("tls", "failed", "is for ingest.test");
    report.check("tls", "failed", "not for localhost");
    report.check("health", "ok", "healthy");
    report.check("close", "ok", "");
    let with_secret = "wss://key:hunter2@localhost:PORT/v1/ingest";
    let report = served.examine(with_secret, &["--ca", &ca]).await;
    report.check("health", "ok", "healthy");
    report.check("upgrade", "skipped", "credentials are not sent");
    assert!(served.service.logged("Authentication failed").is_empty());
}

#[tokio::test]
async fn an_end_that_is_past_or_near_is_told() {
    let served = Served::with("localhost", |own| {
        own.not_before = date_time_ymd(2020, 1, 1);
        own.not_after = date_time_ymd(2021, 1, 1);
    })
    .await;
    let report = served.examine(URL, &["--ca", &served.ca()]).await;
    report.assert_ok(false);
    report.check("tls", "failed", "expired");
    let served = Served::with("localhost", |own| {
        own.not_after = time::OffsetDateTime::now_utc() + time::Duration::hours(5 * 24 + 12);
    })
    .await;
    let report = served.examine(URL, &["--ca", &served.ca()]).await;
    report.assert_ok(true);
    report.check("tls", "ok", "expires in 5 days");
}

#[tokio::test]
async fn a_certificate_of_its_own_making_is_told() {
    let key = KeyPair::generate().expect("a key");
    let own = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let own = own.self_signed(&key).expect("a certificate");
    let served = Served::serve(&own.pem(), &key, &own.pem()).await;
    let report = served.examine(URL, &[]).await;
    report.assert_ok(false);
    report.check("tls", "failed", "signed by itself");
}

// What browsers repair by fetching the issuer's certificate from where this one says it is.
#[tokio::test]
async fn a_missing_link_of_the_chain_is_told() {
    let served = Served::with("localhost", |own| {
        let url = b"http://ca.example/issuer.der";
        let length = u8::try_from(url.len()).expect("short");
        let mut place = vec![0x30, length + 14, 0x30, length + 12, 6, 8];
        place.extend([0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, length]);
        place.extend(url);
        let place = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], place);
        own.custom_extensions.push(place);
    })
    .await;
    let report = served.examine(URL, &[]).await;
    report.assert_ok(false);
    report.check("tls", "failed", "fullchain.pem");
    report.check("tls", "failed", "http://ca.example/issuer.der");
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let rig = crate::rig::Rig::open().await;
    let report = examine(&["--url", &rig.service.url().replace("ws://", "wss://")]).await;
    report.assert_ok(false);
    report.check("tls", "failed", "");
    report.check("upgrade", "skipped", "");
}
