//! The formats of dumps.

pub mod jsonl;
