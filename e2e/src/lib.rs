//! e2e

pub mod kubelet;
