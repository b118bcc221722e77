//! From which address the service believes our call to have come: behind a proxy that it does not trust, all calls seem
//! to come from the proxy.
//!
//! Invariant: a service that does not tell (`/v1/handshakes`, 6.5) is no fault.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::{
    http::Route,
    step::Step,
    url::{is_public, is_public_address},
};
use crate::simulate::EXOTEL_AGENT;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Handshakes {
    handshakes: Vec<Handshake>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Handshake {
    client: String,
    user_agent: String,
    outcome: String,
}

/// `local` is our own end of the connection.
pub(super) async fn ask(route: &Route, local: SocketAddr) -> Step {
    let answer = match route.get("/v1/handshakes").await {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => {
            let why = format!("the service does not tell us: {}", answer.status);
            return Step::skipped(NAME, why);
        }
        Err(error) => return Step::skipped(NAME, error.to_string()),
    };
    let told: Handshakes = serde_json::from_slice(&answer.body).unwrap_or_default();
    // The newest comes first, and another call may have come since.
    let clients: Vec<IpAddr> = told
        .handshakes
        .iter()
        .filter(|one| one.user_agent == EXOTEL_AGENT && one.outcome == "accepted")
        .filter_map(|one| one.client.parse().ok())
        .take(RECENT)
        .collect();
    judge(&clients, local.ip(), is_public(&route.target.host))
}

fn judge(clients: &[IpAddr], local: IpAddr, is_public_host: bool) -> Step {
    let same = |client: &&IpAddr| client.to_canonical() == local.to_canonical();
    if let Some(client) = clients.iter().find(same) {
        return Step::ok(
            NAME,
            format!("the service sees us as {}, as we do", client.to_canonical()),
        );
    }
    let Some(client) = clients.first() else {
        return Step::skipped(NAME, "the service does not list our call");
    };
    let seen = format!("the service sees us as {}", client.to_canonical());
    if is_public_host && !is_public_address(*client) {
        return Step::warning(
            NAME,
            format!("{seen}, which is the address of a proxy"),
            "set TRUSTED_PROXIES to the proxy's range: without it EXOTEL_ALLOWED_IPS and MAX_CONNECTIONS_PER_IP judge the proxy, not Exotel",
        );
    }
    Step::ok(
        NAME,
        format!("{seen}; EXOTEL_ALLOWED_IPS is compared with such addresses"),
    )
}

const NAME: &str = "client-address";
const RECENT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_in_our_place_is_noticed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let direct = judge(
            &[ip("192.0.2.9"), ip("::ffff:10.0.0.5")],
            ip("10.0.0.5"),
            true,
        );
        assert!(direct.detail.contains("10.0.0.5, as we do"), "{direct:?}");
        let proxy = judge(&[ip("10.1.1.1")], ip("192.168.0.2"), true);
        assert!(proxy.is_warning() && proxy.fix.contains("TRUSTED_PROXIES"));
        let inside = judge(&[ip("10.1.1.1")], ip("192.168.0.2"), false);
        assert!(!inside.is_warning());
        assert!(
            judge(&[], ip("192.168.0.2"), true)
                .detail
                .contains("does not list")
        );
    }
}
