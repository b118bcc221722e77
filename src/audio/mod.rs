//! Stub.
pub mod g711;
