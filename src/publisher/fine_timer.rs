//! A timer that keeps a fraction of a millisecond, which the runtime's own, made for many and long waits, does not.

use std::time::Duration;

/// Waits for one moment at a time.
#[derive(Debug)]
pub(super) struct FineTimer {
    #[cfg(target_os = "linux")]
    descriptor: Option<linux::Descriptor>,
}

impl FineTimer {
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            descriptor: linux::Descriptor::new().ok(),
        }
    }

    /// Sleeps for `duration`.
    ///
    /// # Cancel safety
    /// Dropping it forgets the moment; the next call starts anew.
    pub(super) async fn sleep(&mut self, duration: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(descriptor) = &mut self.descriptor
            && descriptor.sleep(duration).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(duration).await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, os::fd::OwnedFd, time::Duration};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    #[derive(Debug)]
    pub(super) struct Descriptor(AsyncFd<OwnedFd>);

    impl Descriptor {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe; this descriptor is owned here and never replaced"
            )]
            AsyncFd::with_interest(descriptor, Interest::READABLE).map(Self)
        }

        pub(super) async fn sleep(&mut self, duration: Duration) -> io::Result<()> {
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // Zero would disarm the timer.
            let value = Timespec {
                tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: i64::from(duration.subsec_nanos().max(1)),
            };
            timerfd_settime(
                self.0.get_ref(),
                TimerfdTimerFlags::empty(),
                &Itimerspec {
                    it_interval: zero,
                    it_value: value,
                },
            )?;
            loop {
                let mut ready = self.0.readable().await?;
                let mut ticks = [0_u8; 8];
                match rustix::io::read(self.0.get_ref(), &mut ticks) {
                    Ok(_) => return Ok(()),
                    Err(error) if error == rustix::io::Errno::AGAIN => ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_short_wait_is_neither_cut_nor_stretched_to_the_runtimes_tick() {
        let mut timer = FineTimer::new();
        let mut best = Duration::MAX;
        // A busy machine stretches some of them.
        for _ in 0..400 {
            let started = tokio::time::Instant::now();
            timer.sleep(Duration::from_micros(250)).await;
            let took = started.elapsed();
            assert!(took >= Duration::from_micros(250), "{took:?}");
            best = best.min(took);
        }
        assert!(
            best < Duration::from_micros(900),
            "{best:?}: as coarse as the runtime's timer"
        );
    }

    #[tokio::test]
    async fn a_dropped_wait_leaves_no_trace() {
        let mut timer = FineTimer::new();
        let cut = tokio::time::timeout(
            Duration::from_millis(1),
            timer.sleep(Duration::from_millis(30)),
        )
        .await;
        assert!(cut.is_err());
        let started = tokio::time::Instant::now();
        timer.sleep(Duration::from_millis(5)).await;
        assert!(started.elapsed() >= Duration::from_millis(5));
    }
}
