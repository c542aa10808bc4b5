//! Keys and addresses as whole words: the kernel's hash reads them so, and would have to wait for what is put together of
//! smaller pieces.

use core::mem::transmute;

use landfall_bpf_lb_common::records::{Direction, FrontendKey4, FrontendKey6};

/// The last word of a frontend's key.
#[inline(always)]
pub(crate) fn service(port: u16, protocol: u8) -> u32 {
    let port = port.to_ne_bytes();
    u32::from_ne_bytes([port[0], port[1], protocol, 0])
}

/// A frontend's key in the map of all.
#[inline(always)]
pub(crate) fn key4(vip: u32, service: u32) -> FrontendKey4 {
    // SAFETY: words of a record without padding, of which any value is one.
    unsafe { transmute([vip, service]) }
}

/// The same of an IPv6 one.
#[inline(always)]
pub(crate) fn key6(vip: [u64; 2], service: u32) -> FrontendKey6 {
    let [a, b] = vip.map(halves);
    // SAFETY: as above.
    unsafe { transmute([a[0], a[1], b[0], b[1], service]) }
}

/// The last word of a connection's key.
#[inline(always)]
pub(crate) fn last_word(client_port: u16, port: u16, protocol: u8, direction: Direction) -> u64 {
    let (client, port) = (client_port.to_ne_bytes(), port.to_ne_bytes());
    let direction = direction as u8;
    u64::from_ne_bytes([
        client[0], client[1], port[0], port[1], protocol, direction, 0, 0,
    ])
}

/// Two words as one, in the order of memory.
#[inline(always)]
pub(crate) fn join_halves(first: u32, second: u32) -> u64 {
    let (a, b) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

/// A word as two, in the order of memory.
#[inline(always)]
fn halves(word: u64) -> [u32; 2] {
    let b = word.to_ne_bytes();
    [
        u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
        u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    ]
}

/// An address as two words.
#[inline(always)]
pub(crate) fn join(bytes: &[u8; 16]) -> [u64; 2] {
    let b = bytes;
    [
        u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
    ]
}

/// The sixteen bytes of an address.
#[inline(always)]
pub(crate) fn split(address: [u64; 2]) -> [u8; 16] {
    let a = address[0].to_ne_bytes();
    let b = address[1].to_ne_bytes();
    [
        a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6],
        b[7],
    ]
}
