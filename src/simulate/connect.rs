//! From a URL to an open WebSocket: addresses, TCP, TLS and the upgrade, as Exotel's client does them.
//!
//! The URL is taken apart in [`super::target`]; what is said on the socket is in [`super::call`]. Invariant: opening ends
//! within [`OPEN_TIMEOUT`], and a redirect is a refusal, as it is for Exotel.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self,
        handshake::client::{Request, generate_key},
        http::{HeaderValue, Response, header},
        protocol::WebSocketConfig,
    },
};

use super::{Credentials, PlayError, call::CallError, summary::tidy, target::Target};

/// A TCP connection, with or without TLS on it.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub(crate) type Socket = WebSocketStream<Box<dyn Wire>>;

/// What every call of a run needs to open its connection.
pub(super) struct Door {
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The upgrade request, but for its key.
    request: Request,
}

impl Door {
    /// Looks up the host once for all calls and prepares the request. `path` is sent as it is.
    pub(super) async fn find(
        target: &Target,
        path: &str,
        user_agent: &'static str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, PlayError> {
        let lookup = lookup_host((target.host.as_str(), target.port));
        let addresses: Vec<SocketAddr> = timeout(OPEN_TIMEOUT, lookup)
            .await
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
            .map_err(PlayError::Lookup)?
            .collect();
        let tls = if target.tls {
            let name = ServerName::try_from(target.host.clone()).map_err(PlayError::ServerName)?;
            Some((TlsConnector::from(Arc::new(tls_settings()?)), name))
        } else {
            None
        };
        Ok(Self {
            addresses,
            tls,
            request: request(target, path, user_agent, credentials)?,
        })
    }

    /// Opens one connection and upgrades it.
    pub(super) async fn open(&self) -> Result<Socket, CallError> {
        timeout(OPEN_TIMEOUT, self.connect())
            .await
            .unwrap_or(Err(CallError::ConnectTimeout))
    }

    async fn connect(&self) -> Result<Socket, CallError> {
        let tcp = self.dial().await.map_err(CallError::Connect)?;
        // A frame must not wait for the ack of the one before it.
        tcp.set_nodelay(true).map_err(CallError::Connect)?;
        let wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(tcp),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await;
                Box::new(tls.map_err(CallError::Tls)?)
            }
        };
        let mut request = self.request.clone();
        let key = HeaderValue::try_from(generate_key());
        request.headers_mut().insert(
            header::SEC_WEBSOCKET_KEY,
            key.map_err(|error| CallError::Upgrade(error.into()))?,
        );
        match client_async_with_config(request, wire, Some(limits())).await {
            Ok((socket, _response)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(refusal(&response)),
            Err(error) => Err(CallError::Upgrade(error)),
        }
    }

    /// The first address that answers; the error is the last one's.
    async fn dial(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn tls_settings() -> Result<ClientConfig, PlayError> {
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(PlayError::Tls)?
        .with_root_certificates(roots.collect::<RootCertStore>())
        .with_no_client_auth())
}

fn request(
    target: &Target,
    path: &str,
    user_agent: &'static str,
    credentials: Option<&Credentials>,
) -> Result<Request, PlayError> {
    let scheme = if target.tls { "wss" } else { "ws" };
    let builder = Request::builder()
        .uri(format!("{scheme}://{}{path}", target.authority))
        .header(header::HOST, &target.authority)
        .header(header::USER_AGENT, user_agent)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13");
    let mut request = builder.body(()).map_err(PlayError::Request)?;
    if let Some(credentials) = credentials {
        let text = match credentials {
            Credentials::Basic(pair) => {
                format!(
                    "Basic {}",
                    base64_simd::STANDARD.encode_to_string(pair.expose())
                )
            }
            Credentials::Bearer(token) => format!("Bearer {}", token.expose()),
        };
        // What is wrong with it is not told, since that would tell some of it.
        let mut value = HeaderValue::try_from(text).map_err(|_secret| PlayError::Credentials)?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// The status and the sentence in the body: of a JSON object its `message` or `error`, else the text. Only what came with
/// the headers is at hand.
fn refusal(response: &Response<Option<Vec<u8>>>) -> CallError {
    let status = response.status();
    let body = response.body().as_deref().unwrap_or_default();
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let sentence = json.as_ref().and_then(|json| {
        let field = json.get("message").or_else(|| json.get("error"))?;
        field.as_str().map(tidy)
    });
    let message = sentence.unwrap_or_else(|| tidy(&String::from_utf8_lossy(body)));
    CallError::Refused {
        status: status.as_u16(),
        message: if message.is_empty() {
            status
                .canonical_reason()
                .unwrap_or("no reason given")
                .to_owned()
        } else {
            message
        },
    }
}

/// Room for one message in each direction: thousands of these live in one process.
pub(crate) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 20)
        .max_message_size(Some(1 << 20))
        .max_frame_size(Some(1 << 20))
}

/// Exotel gives up after ten seconds, too.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn response(status: u16, body: &str) -> Response<Option<Vec<u8>>> {
        let body = Some(body.as_bytes().to_vec());
        Response::builder().status(status).body(body).unwrap()
    }

    #[test]
    fn a_refusal_says_why() {
        let told = |status, body| refusal(&response(status, body)).to_string();
        let start = "the server refused the call with status";
        assert_eq!(
            told(401, r#"{"error":"unauthorized","message":"no such key"}"#),
            format!("{start} 401: no such key")
        );
        assert_eq!(
            told(403, r#"{"error":"not on the list"}"#),
            format!("{start} 403: not on the list")
        );
        assert_eq!(told(503, "busy\n"), format!("{start} 503: busy"));
        assert_eq!(told(302, ""), format!("{start} 302: Found"));
    }

    #[test]
    fn credentials_become_a_header_that_is_not_printed() {
        let target = Target::parse("wss://h/x").unwrap();
        let basic = Credentials::Basic(Secret::new("KEY:TOKEN"));
        let request = request(&target, "/x", "me", Some(&basic)).unwrap();
        assert_eq!(request.headers()["authorization"], "Basic S0VZOlRPS0VO");
        assert!(!format!("{request:?}").contains("S0VZ"));
        let bad = Credentials::Bearer(Secret::new("a\nb"));
        let error = super::request(&target, "/x", "me", Some(&bad)).unwrap_err();
        assert!(matches!(error, PlayError::Credentials));
    }

    #[test]
    fn tls_needs_nothing_from_the_process() {
        assert!(tls_settings().is_ok());
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_is_refused() {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key.unwrap())
            .unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
            acceptor.accept(tcp).await.unwrap_err()
        };
        let target = Target::parse(&format!("wss://localhost:{port}/")).unwrap();
        let door = Door::find(&target, "/", "me", None).await.unwrap();
        let (opened, _) = tokio::join!(door.open(), serving);
        let Err(error @ CallError::Tls(_)) = opened else {
            panic!("the certificate was taken");
        };
        let told = crate::simulate::summary::chain(&error);
        assert!(told.contains("UnknownIssuer"), "{told}");
    }
}
