//! The fault suite: the real binary, a real Redis behind a proxy of our own, calls of all kinds, and faults by
//! a seeded schedule. Every caller keeps a ledger of each frame it sent and each ack it heard; when all is healed,
//! an oracle holds what was published against it (clauses 1.4, 3.8, 3.10, 4.1 to 4.4, and 5 of the contract).
//!
//! In reading order: `plan` and `fault` (what a seed means), `run` (one run), `line`, `wire`, `exotel`, `client`
//! and `ledger` (the callers), `inject`, `proxy`, `store`, `disk`, `host` and `warden` (what is done to whom), `published`,
//! `oracle` and `records` (the verdict; `verdicts` tries them), `series` and `proofs` (what the tests do with it).
//!
//! `make chaos SEEDS=1000 FIRST=1` plays a thousand seeds, `make chaos SEED=7` one, `FAULTS=cut,oom` (or
//! `FAULTS=-kill`) draws from these only. The harness of `tests/it` is used where it fits.

#[cfg(test)]
#[path = "../it/keys.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod keys;
#[cfg(test)]
#[path = "../it/redis.rs"]
#[expect(dead_code, reason = "of it only the reading of entries is used here")]
mod redis;
#[cfg(test)]
#[path = "../it/request.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod request;
#[cfg(test)]
#[path = "../it/service.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod service;
#[cfg(test)]
#[path = "../it/wait.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod wait;

#[cfg(test)]
mod audio;
#[cfg(test)]
mod client;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod exotel;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod host;
#[cfg(test)]
mod inject;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod line;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod published;
#[cfg(test)]
mod random;
#[cfg(test)]
mod records;
#[cfg(test)]
mod run;
#[cfg(test)]
mod series;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod store;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
mod warden;
#[cfg(test)]
mod wire;

// 1.4, 3.8, 3.10, 4, 5: whatever breaks, all that was promised is there, once and in order.
#[cfg(test)]
#[tokio::test(flavor = "multi_thread")]
async fn seeds() {
    series::play(&settings::Settings::read()).await;
}
