//! From the host's name to an open TCP connection: every address, with how long it took.
//!
//! Verdicts are pure; the sockets are in [`look_up`] and [`dial`]. Invariant: nothing takes longer than the limit.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::{
    step::Step,
    url::{is_public, is_public_address},
};
use crate::simulate::target::Target;

/// How one address answered.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) address: SocketAddr,
    pub(super) outcome: io::Result<Duration>,
}

pub(super) async fn look_up(target: &Target, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let lookup = lookup_host((target.host.as_str(), target.port));
    let found = timeout(limit, lookup)
        .await
        .unwrap_or_else(|_elapsed| Err(timed_out()))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// All of them at the same time.
pub(super) async fn dial(addresses: &[SocketAddr], limit: Duration) -> Vec<Dialled> {
    join_all(addresses.iter().map(|&address| async move {
        let began = Instant::now();
        let outcome = timeout(limit, TcpStream::connect(address))
            .await
            .unwrap_or_else(|_elapsed| Err(timed_out()));
        let outcome = outcome.map(|_connection| began.elapsed());
        Dialled { address, outcome }
    }))
    .await
}

pub(super) fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

pub(super) fn dns(host: &str, found: &io::Result<Vec<SocketAddr>>) -> Step {
    if host.parse::<IpAddr>().is_ok() {
        return Step::ok(DNS, "an address, no name to look up");
    }
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return Step::failed(
                DNS,
                format!("no answer about {host} in time"),
                "see whether this machine's name server can be reached",
            );
        }
        Err(error) => {
            return Step::failed(
                DNS,
                format!("{host} has no address: {error}"),
                "compare the spelling with the platform's or the tunnel's; a new name takes some minutes to be known, and a free tunnel gets another name each time",
            );
        }
    };
    if addresses.is_empty() {
        return Step::failed(
            DNS,
            format!("{host} has no address"),
            "add an A record for it",
        );
    }
    let list: Vec<String> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    let list = list.join(", ");
    let private = addresses
        .iter()
        .any(|address| !is_public_address(address.ip()));
    if is_public(host) && private {
        return Step::warning(
            DNS,
            format!("{list}: not all of them can be reached from outside"),
            "look it up from outside as well: Exotel may be told another address, or one that leads nowhere",
        );
    }
    Step::ok(DNS, list)
}

pub(super) fn tcp(dialled: &[Dialled]) -> Step {
    let list: Vec<String> = dialled.iter().map(line).collect();
    let list = list.join(", ");
    let errors: Vec<&io::Error> = dialled
        .iter()
        .filter_map(|one| one.outcome.as_ref().err())
        .collect();
    let Some(error) = errors.first() else {
        let slowest = dialled
            .iter()
            .filter_map(|one| one.outcome.as_ref().ok())
            .max();
        if slowest.is_some_and(|took| *took > SLOW) {
            return Step::warning(
                TCP,
                list,
                "that is slow: Exotel waits 10 s in all, so run the service nearer to it, on a plan that does not sleep",
            );
        }
        return Step::ok(TCP, list);
    };
    let advice = advice(error);
    if errors.len() < dialled.len() {
        return Step::warning(
            TCP,
            list,
            format!(
                "Exotel may take any of these addresses, so mend the others or remove their records: {advice}"
            ),
        );
    }
    Step::failed(TCP, list, advice)
}

fn line(one: &Dialled) -> String {
    match &one.outcome {
        Ok(took) => format!("{} in {:.1} ms", one.address, took.as_secs_f64() * 1_000.0),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            format!("{} does not answer", one.address)
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            format!("{} refuses connections", one.address)
        }
        Err(error) => format!("{}: {error}", one.address),
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: start the service, and compare the port with PORT, or with what the proxy or container publishes"
        }
        io::ErrorKind::TimedOut => {
            "a firewall or security group drops the packets, or the host is down: open the port to the internet, or to Exotel's addresses"
        }
        io::ErrorKind::NetworkUnreachable => {
            "this machine has no way to such addresses, often for want of IPv6: try from another machine"
        }
        _ => "no way leads there from here: check the network, and the firewall",
    }
}

const DNS: &str = "dns";
const TCP: &str = "tcp";
const SLOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    fn at(address: &str) -> SocketAddr {
        format!("{address}:443").parse().unwrap()
    }

    #[test]
    fn names_are_judged_by_their_addresses() {
        let of = |host: &str, list: &[&str]| dns(host, &Ok(list.iter().map(|a| at(a)).collect()));
        assert_eq!(of("a.example.com", &["8.8.8.8"]).detail, "8.8.8.8");
        assert!(of("a.example.com", &["8.8.8.8", "10.0.0.1"]).is_warning());
        assert!(!of("localhost", &["127.0.0.1"]).is_warning());
        assert_eq!(of("a.example.com", &[]).status, Status::Failed);
        let unknown = Err(io::Error::other("Name or service not known"));
        let step = dns("a.example.com", &unknown);
        assert!(step.detail.contains("not known") && step.fix.contains("spelling"));
        assert_eq!(dns("10.0.0.1", &Ok(Vec::new())).status, Status::Ok);
        assert!(
            dns("a.example.com", &Err(timed_out()))
                .fix
                .contains("name server")
        );
    }

    fn dialled(outcomes: Vec<io::Result<Duration>>) -> Step {
        let all: Vec<Dialled> = outcomes
            .into_iter()
            .map(|outcome| Dialled {
                address: at("8.8.8.8"),
                outcome,
            })
            .collect();
        tcp(&all)
    }

    #[test]
    fn every_address_counts() {
        let fast = || Ok(Duration::from_millis(12));
        let refused = || Err(io::ErrorKind::ConnectionRefused.into());
        let step = dialled(vec![fast()]);
        assert_eq!(
            (step.detail.as_str(), step.is_warning()),
            ("8.8.8.8:443 in 12.0 ms", false)
        );
        assert!(
            dialled(vec![Ok(Duration::from_secs(2))])
                .fix
                .contains("slow")
        );
        let some = dialled(vec![fast(), Err(timed_out())]);
        assert!(
            some.is_warning() && some.fix.contains("firewall"),
            "{some:?}"
        );
        let none = dialled(vec![refused(), refused()]);
        assert_eq!(none.status, Status::Failed);
        assert!(none.fix.contains("nothing listens"), "{none:?}");
    }
}
