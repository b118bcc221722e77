//! Everything that is tested from outside the process: the real binary is started on a free port in
//! a directory of its own, with a clean environment, and spoken to by real sockets; Redis is real too.
//!
//! The harness is `redis`, `service`, `rig`, `request`, `caller`, `browser`, `keys`, `conversation` and `wait`;
//! every other module holds tests of one subject. No test depends on another, none sleeps against a race.
//! Each test quotes the clause of the contract that it holds the service to.

#[cfg(test)]
mod browser;
#[cfg(test)]
mod caller;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod request;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod service;
#[cfg(test)]
mod wait;

#[cfg(test)]
mod admission;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod custom;
#[cfg(test)]
mod dialects;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod export;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http;
#[cfg(test)]
mod late_token;
#[cfg(test)]
mod live;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod ops;
#[cfg(test)]
mod ops_access;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod process;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod records;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod robust;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upgrade;
