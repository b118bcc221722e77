//! Everything that is tested from outside the process.
