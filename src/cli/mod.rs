//! Stub.

pub mod simulate;
