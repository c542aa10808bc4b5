//! A simulated cluster: announcers with clocks that drift, a segment that loses and splits, an API server that is late,
//! unreachable or gone. The same from the same seed; who answers for what is looked at every few milliseconds.

mod check;
mod crowd;
mod dice;
mod model;
mod node;
mod print;
mod renewals;
mod restore;
mod server;
mod single;
mod split;
mod storm;
mod traffic;
mod twins;
mod world;
