//! Stub.

pub mod token;
