//! What the fuzz targets of this project share: the duties between nodes. Their source is taken in as it is, because the
//! crate builds the programs for the kernel, which a sanitizer has no part in.

#![allow(dead_code, unused_imports)]

#[path = "../../src/desired.rs"]
pub mod desired;
#[path = "../../src/duties/mod.rs"]
pub mod duties;
#[path = "../../src/maglev.rs"]
pub mod maglev;
#[path = "../../src/programmed.rs"]
pub mod programmed;
#[path = "../../src/room.rs"]
pub mod room;
#[path = "../../src/tables.rs"]
pub mod tables;
