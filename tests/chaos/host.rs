//! The machine that the service runs on: starts it, kills it, ends it, and starts it again on the same
//! journal. Each start is an incarnation; callers learn of it through [`Address`].

use std::{path::PathBuf, time::Duration};

use rtaa_ingest::clock;
use rustix::process::Signal;
use tokio::sync::watch;

use crate::{
    line::Address,
    oracle::{Fate, Incarnation},
    service::{Service, Setup},
    warden,
};

/// The service, running or not.
pub(crate) struct Host {
    env: Vec<(String, String)>,
    service: Option<Service>,
    /// Where the logs go in the end.
    dir: PathBuf,
    address: watch::Sender<Option<Address>>,
    pub(crate) incarnations: Vec<Incarnation>,
    pub(crate) complaints: Vec<String>,
}

impl Host {
    pub(crate) fn new(dir: PathBuf, env: Vec<(String, String)>) -> Self {
        Self {
            env,
            service: None,
            dir,
            address: watch::Sender::new(None),
            incarnations: Vec::new(),
            complaints: Vec::new(),
        }
    }

    pub(crate) fn address(&self) -> watch::Receiver<Option<Address>> {
        self.address.subscribe()
    }

    pub(crate) fn service(&self) -> &Service {
        self.service.as_ref().expect("the service runs")
    }

    pub(crate) async fn start(&mut self) {
        let began_ms = clock::epoch_ms();
        let named = |setup: Setup, (name, value): &(String, String)| setup.env(name, value);
        let service = self.env.iter().fold(Setup::new(), named).start().await;
        let incarnation = self.incarnations.len();
        self.incarnations.push(Incarnation {
            began_ms,
            fate: Fate::Lived,
        });
        let port = service.port();
        warden::watch(service.pid());
        self.service = Some(service);
        self.address
            .send_replace(Some(Address { incarnation, port }));
    }

    /// As a crash would end it.
    pub(crate) async fn kill(&mut self) {
        self.note(Fate::Killed);
        self.service().signal(Signal::KILL);
        self.bury().await;
    }

    /// As a deploy would end it, in the middle of everything.
    pub(crate) async fn terminate(&mut self) {
        self.note(Fate::Terminated);
        self.end().await;
    }

    /// As a deploy would end it.
    pub(crate) async fn end(&mut self) {
        self.address.send_replace(None);
        self.service().terminate();
        let code = self.bury().await;
        if code != Some(0) {
            self.complaints
                .push(format!("after SIGTERM the service ended with {code:?}"));
        }
    }

    /// What becomes of it stands before it happens, so that no caller can be ahead of it.
    fn note(&mut self, fate: Fate) {
        self.address.send_replace(None);
        if let Some(last) = self.incarnations.last_mut() {
            last.fate = fate;
        }
    }

    async fn bury(&mut self) -> Option<i32> {
        let mut service = self.service.take().expect("the service runs");
        let code = service.exit_within(Duration::from_secs(30)).await.code();
        warden::forget(service.pid());
        self.keep_log(&service);
        code
    }

    fn keep_log(&mut self, service: &Service) {
        let lines = service.lines();
        for line in lines.iter().filter(|line| line.contains("panicked")) {
            self.complaints.push(line.clone());
        }
        let name = format!("service-{}.log", self.incarnations.len());
        std::fs::write(self.dir.join(name), lines.join("\n")).ok();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            self.keep_log(&service);
            let pid = service.pid();
            drop(service);
            warden::forget(pid);
        }
    }
}
