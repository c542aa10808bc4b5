//! The compiled programs, as `build.rs` left them.

/// The programs that are attached.
pub static LANDFALL: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/landfall"));

/// The same, taking samples; attached while somebody looks.
pub static SAMPLES: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/landfall-samples"));

/// The same behind a prologue for repeated runs; benches load it.
pub static BENCH: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/landfall-bench"));

/// The filter of the announcer's packet sockets.
pub static FILTER: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/landfall-filter"));
