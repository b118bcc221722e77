//! A service with a Redis of its own: what nearly every test starts with. Settings of a subject
//! stand in its tests.

use crate::{
    caller::{Caller, Socket},
    conversation::{begin, stop},
    keys,
    redis::Redis,
    service::{Outcome, Service, Setup, run},
    wait::{PATIENCE, until},
};

/// Both processes; they die with it, the service first.
pub(crate) struct Rig {
    pub(crate) service: Service,
    pub(crate) redis: Redis,
}

impl Rig {
    /// Takes Exotel's connections without a check, and custom clients with a token of ours.
    pub(crate) async fn open() -> Self {
        Self::with(&[("SUPPORT_EXOTEL", "true")]).await
    }

    /// With these settings beside `REDIS_URL` and `JWT_PUBLIC_KEY`.
    pub(crate) async fn with(env: &[(&str, &str)]) -> Self {
        Self::over(Redis::start().await, env).await
    }

    /// The same over a Redis that the test has prepared.
    pub(crate) async fn over(redis: Redis, env: &[(&str, &str)]) -> Self {
        let service = setup(&redis, env).start().await;
        Self { service, redis }
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::to(&self.service)
    }

    /// A connection as Exotel makes it.
    pub(crate) async fn exotel(&self) -> Socket {
        self.caller().connect().await
    }

    /// A custom client's connection, with a token that names nothing.
    pub(crate) async fn custom(&self) -> Socket {
        self.caller().bearer(&keys::token()).connect().await
    }

    /// A call of Exotel's with this many frames, from its start to its end in Redis.
    pub(crate) async fn play(&self, call: &str, frames: u64) {
        let ends = self.redis.ends_of(call).await.len();
        let mut socket = self.exotel().await;
        begin(&mut socket, call, frames).await;
        socket.json(&stop(call)).await;
        socket.rest().await;
        until(&format!("the end of {call}"), async || {
            (self.redis.ends_of(call).await.len() > ends).then_some(())
        })
        .await;
    }

    /// Runs a subcommand with this Redis.
    pub(crate) async fn command(&self, args: &[&str]) -> Outcome {
        let url = self.redis.url();
        run(self.service.dir(), &[("REDIS_URL", &url)], args, PATIENCE).await
    }

    /// No part of `secret` may have come out anywhere.
    pub(crate) async fn assert_unseen(&self, secret: &str) {
        let redis = self.redis.everything().await;
        assert!(!redis.contains(secret), "{secret} in Redis: {redis}");
        for line in self.service.lines() {
            assert!(!line.contains(secret), "{secret} in the log: {line}");
        }
    }
}

/// A service that will use this Redis and trust our key.
pub(crate) fn setup(redis: &Redis, env: &[(&str, &str)]) -> Setup {
    let base = Setup::new()
        .env("REDIS_URL", &redis.url())
        .env("JWT_PUBLIC_KEY", &keys::trusted().public);
    env.iter()
        .fold(base, |setup, (name, value)| setup.env(name, value))
}
