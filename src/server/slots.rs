//! How many WebSockets there are, in all and per address, and that they stay within the limits.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

/// The places that upgrades may take.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    /// 0: no limit.
    max_per_address: usize,
    taken: AtomicUsize,
    per_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    address: Option<IpAddr>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Address,
}

impl Slots {
    pub(super) fn new(max: usize, max_per_address: usize) -> Self {
        Self {
            max,
            max_per_address,
            taken: AtomicUsize::new(0),
            per_address: Mutex::default(),
        }
    }

    pub(super) fn take(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Slot, Full> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::All);
        }
        // From here on the place is given back by dropping it.
        let mut slot = Slot {
            slots: Arc::clone(self),
            address: None,
        };
        let Some(address) = client.filter(|_| self.max_per_address > 0) else {
            return Ok(slot);
        };
        let mut per_address = self.per_address.lock();
        let count = per_address.entry(address).or_default();
        if *count >= self.max_per_address {
            drop(per_address);
            return Err(Full::Address);
        }
        *count += 1;
        slot.address = Some(address);
        Ok(slot)
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut per_address = self.slots.per_address.lock();
        if let Some(count) = per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                per_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let slots = Arc::new(Slots::new(3, 2));
        let (one, other) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        let first = slots.take(one).unwrap();
        let _second = slots.take(one).unwrap();
        assert_eq!(slots.take(one).err(), Some(Full::Address));
        let _third = slots.take(other).unwrap();
        assert_eq!(slots.take(other).err(), Some(Full::All));
        assert_eq!(slots.taken(), 3);
        drop(first);
        assert!(slots.take(one).is_ok());
        assert_eq!(slots.taken(), 2);
        assert_eq!(slots.per_address.lock().len(), 2);
    }
}
