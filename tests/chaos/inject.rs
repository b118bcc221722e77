//! How each fault is carried out and healed again. What happens when is the plan's; a fault that finds its
//! victim gone already has not been applied, which the summary tells.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::redis::RedisResult;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    disk::Disk,
    fault::{Fault, Kind},
    host::Host,
    proxy::{How, Proxy, Strike},
    store::{Admin, PASSWORD, Store},
    wait::within,
};

/// Everything that a fault can strike.
pub(crate) struct World {
    pub(crate) began: Instant,
    pub(crate) store: Mutex<Store>,
    pub(crate) admin: Admin,
    pub(crate) proxy: Proxy,
    pub(crate) disk: Option<Disk>,
    pub(crate) host: Mutex<Host>,
    pub(crate) lost: Arc<AtomicBool>,
    /// Where the frames go.
    pub(crate) key: String,
}

impl World {
    /// Waits for the fault's time, carries it out and heals it; tells whether it could be.
    pub(crate) async fn suffer(&self, fault: Fault) -> bool {
        sleep_until(self.began + Duration::from_millis(fault.at_ms)).await;
        let lasts = Duration::from_millis(fault.for_ms);
        let by = Duration::from_millis(fault.by_ms);
        match fault.kind {
            Kind::Delay => {
                self.proxy.delay(by);
                sleep(lasts).await;
                self.proxy.delay(Duration::ZERO);
            }
            Kind::Cut => self.strike(fault, How::Request),
            Kind::CutReply => self.strike(fault, How::Reply),
            Kind::Late => self.strike(Fault { times: 1, ..fault }, How::Late(lasts)),
            Kind::HalfOpen => {
                self.proxy.swallow();
                sleep(lasts).await;
                self.proxy.cut_swallowed();
            }
            Kind::Stall => {
                self.proxy.stall();
                sleep(lasts).await;
                self.proxy.resume();
            }
            Kind::Refuse => {
                self.proxy.refuse();
                sleep(lasts).await;
                self.proxy.admit();
            }
            Kind::Freeze => return self.freeze(lasts).await,
            Kind::Slow => {
                let until = Instant::now() + lasts;
                while Instant::now() < until {
                    if !self.freeze(by).await {
                        return false;
                    }
                    sleep(by / 3).await;
                }
            }
            Kind::Restart | Kind::Lose => return self.restart(fault, lasts).await,
            Kind::KillClients => {
                for _ in 0..fault.times {
                    let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
                    if self.admin.tell::<i64>(&kill).await.is_err() {
                        return false;
                    }
                    sleep(by).await;
                }
            }
            Kind::OutOfMemory | Kind::ReadOnly | Kind::Password | Kind::WrongType => {
                if self.refuse(fault.kind).await.is_err() {
                    return false;
                }
                sleep(lasts).await;
                self.put_right(fault.kind).await;
            }
            Kind::SlowDisk => {
                let Some(disk) = &self.disk else { return false };
                disk.slow(fault.by_ms);
                sleep(lasts).await;
                disk.slow(0);
            }
            Kind::FullDisk => {
                let Some(disk) = &self.disk else { return false };
                disk.fill();
                sleep(lasts).await;
                disk.empty();
            }
            Kind::Kill => {
                let mut host = self.host.lock().await;
                host.kill().await;
                sleep(lasts).await;
                host.start().await;
            }
            Kind::Terminate => {
                let mut host = self.host.lock().await;
                host.terminate().await;
                sleep(lasts).await;
                host.start().await;
            }
        }
        true
    }

    fn strike(&self, fault: Fault, how: How) {
        for _ in 0..fault.times {
            let after = fault.after_bytes;
            self.proxy.strike(Strike { after, how });
        }
    }

    async fn freeze(&self, lasts: Duration) -> bool {
        {
            let Ok(store) = self.store.try_lock() else {
                return false;
            };
            store.freeze();
        }
        sleep(lasts).await;
        self.store.lock().await.thaw();
        true
    }

    async fn restart(&self, fault: Fault, lasts: Duration) -> bool {
        let Ok(mut store) = self.store.try_lock() else {
            return false;
        };
        store.kill();
        let loses = fault.kind == Kind::Lose;
        if loses {
            store.wipe();
        }
        sleep(lasts).await;
        store.launch(if loses { 0 } else { fault.by_ms * 4 }).await;
        if loses {
            self.lost.store(true, Ordering::SeqCst);
        }
        true
    }

    async fn refuse(&self, kind: Kind) -> RedisResult<()> {
        let admin = &self.admin;
        match kind {
            Kind::OutOfMemory => admin.tell(&["CONFIG", "SET", "maxmemory", "1"]).await,
            Kind::ReadOnly => admin.tell(&["REPLICAOF", "127.0.0.1", "1"]).await,
            Kind::Password => {
                admin
                    .tell::<()>(&["CONFIG", "SET", "requirepass", "another-one"])
                    .await?;
                admin
                    .tell::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
                    .await
                    .map(drop)
            }
            Kind::WrongType => {
                let script = "if redis.call('TYPE', KEYS[1]).ok == 'stream' then redis.call('RENAME', KEYS[1], KEYS[2]) end \
                              redis.call('SET', KEYS[1], 'no stream') return 1";
                self.eval(script).await
            }
            _ => unreachable!("only these make Redis refuse"),
        }
    }

    async fn mend(&self, kind: Kind) -> RedisResult<()> {
        let admin = &self.admin;
        match kind {
            Kind::OutOfMemory => admin.tell(&["CONFIG", "SET", "maxmemory", "0"]).await,
            Kind::ReadOnly => admin.tell(&["REPLICAOF", "NO", "ONE"]).await,
            Kind::Password => {
                let right = ["CONFIG", "SET", "requirepass", PASSWORD];
                admin.tell(&right).await
            }
            Kind::WrongType => {
                let script = "if redis.call('TYPE', KEYS[1]).ok == 'string' then redis.call('DEL', KEYS[1]) end \
                              if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('EXISTS', KEYS[1]) == 0 then \
                              redis.call('RENAME', KEYS[2], KEYS[1]) end return 1";
                self.eval(script).await
            }
            _ => Ok(()),
        }
    }

    /// In one step, so that nothing is written in between.
    async fn eval(&self, script: &str) -> RedisResult<()> {
        let aside = format!("{}-aside", self.key);
        let words = ["EVAL", script, "2", &self.key, &aside];
        self.admin.tell::<i64>(&words).await.map(drop)
    }

    /// Redis may be away or frozen just then: it is told again until it has heard.
    async fn put_right(&self, kind: Kind) {
        within(PATIENCE, kind.name(), async || self.mend(kind).await.ok()).await;
    }

    /// Everything works from now on.
    pub(crate) async fn heal(&self) {
        self.proxy.heal();
        if let Some(disk) = &self.disk {
            disk.heal();
        }
        {
            let mut store = self.store.lock().await;
            store.thaw();
            if !store.is_running() {
                store.launch(0).await;
            }
        }
        for kind in [
            Kind::OutOfMemory,
            Kind::ReadOnly,
            Kind::Password,
            Kind::WrongType,
        ] {
            self.put_right(kind).await;
        }
    }
}

/// Longer than any other fault keeps Redis away.
const PATIENCE: Duration = Duration::from_secs(30);
