//! The XDP layer-4 load balancer: loader, Maglev tables and map diff.

pub mod desired;
