//! A virtual machine that does what the kernel does with a program of its classic packet filter: for tests of
//! [`super::filter`] and for fuzzing.
//!
//! Panic contract: it panics on an instruction that [`super::filter`] never uses, and on a jump out of the program.

use super::filter::{
    AT_LEAST, EQUALS, JUMP, LOAD_BYTE, LOAD_HALF, LOAD_WORD, Op, PACKET_TYPE, RETURN, VLAN_PRESENT,
};

/// Whether the program keeps a frame of this kind (`PACKET_HOST` and so on), which had a VLAN tag or not.
#[must_use]
pub fn keeps(program: &[Op], frame: &[u8], kind: u32, tagged: bool) -> bool {
    let (mut at, mut word) = (0, 0_u32);
    loop {
        let op = program[at];
        at += 1;
        let load = |bytes: usize| -> Option<u32> {
            match op.value {
                PACKET_TYPE => Some(kind),
                VLAN_PRESENT => Some(u32::from(tagged)),
                offset => {
                    let from = offset as usize;
                    Some(
                        frame
                            .get(from..from + bytes)?
                            .iter()
                            .fold(0, |word, byte| word << 8 | u32::from(*byte)),
                    )
                }
            }
        };
        let jump = |holds: bool| usize::from(if holds { op.yes } else { op.no });
        let loaded = match op.code {
            LOAD_BYTE => load(1),
            LOAD_HALF => load(2),
            LOAD_WORD => load(4),
            RETURN => return op.value != 0,
            EQUALS => {
                at += jump(word == op.value);
                continue;
            }
            AT_LEAST => {
                at += jump(word >= op.value);
                continue;
            }
            JUMP => {
                at += op.value as usize;
                continue;
            }
            other => unreachable!("unknown instruction {other:#x}"),
        };
        // A load beyond the frame drops it.
        let Some(loaded) = loaded else { return false };
        word = loaded;
    }
}
