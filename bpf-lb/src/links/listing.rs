//! The filters of a queueing discipline, as the kernel lists them. Looking changes nothing.

use std::ffi::CStr;
use std::fmt;
use std::io;

use crate::netlink::{ALL, Attributes, DONE, ERROR, ONE, ask, code, kind_of, receive, word};

/// Every protocol.
const ETH_P_ALL: u16 = 3;

/// A filter of a queueing discipline, as `tc filter show` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) preference: u16,
    /// In network order, as the kernel has it.
    protocol: u16,
    pub(super) handle: u32,
    kind: String,
    /// Of a BPF filter.
    pub(super) name: Option<String>,
    /// Of a BPF filter.
    prog_id: Option<u32>,
}

impl Filter {
    /// Whether it is a BPF filter that sees packets of every protocol.
    pub(super) fn is_bpf_of_all(&self) -> bool {
        self.kind == "bpf" && self.protocol == ETH_P_ALL.to_be()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} filter", self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(id) = self.prog_id {
            write!(f, " (program id {id})")?;
        }
        write!(f, " with handle {:#x}", self.handle)
    }
}

/// The filters at this hook of the interface; none, if it has no queueing discipline for them.
pub(super) fn filters(ifindex: u32, hook: u32) -> io::Result<Vec<Filter>> {
    // struct tcmsg.
    let mut asked = vec![0; 4];
    asked.extend(ifindex.to_ne_bytes());
    asked.extend([0; 4]);
    asked.extend(hook.to_ne_bytes());
    asked.extend([0; 4]);
    let socket = ask(libc::RTM_GETTFILTER, ALL, &asked)?;
    let mut filters = Vec::new();
    loop {
        let answer = receive(&socket)?;
        if read(&answer, &mut filters)? {
            return Ok(filters);
        }
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Takes the filters from a part of the answer; whether it was the last one. An answer that ends with an error is not
/// complete.
fn read(answer: &[u8], filters: &mut Vec<Filter>) -> io::Result<bool> {
    let mut rest = answer;
    while let Some(kind) = kind_of(rest) {
        match kind {
            libc::RTM_NEWTFILTER => filters.extend(filter(rest)),
            DONE | ERROR => return code(rest).map(|()| true),
            _ => {}
        }
        let length = word(rest, 0).unwrap_or_default() as usize;
        rest = rest
            .get(length.next_multiple_of(4).max(16)..)
            .unwrap_or_default();
    }
    Ok(false)
}

/// The kind of the queueing discipline that filters of received packets are in; `None` if there is none.
pub(super) fn discipline(ifindex: u32) -> io::Result<Option<String>> {
    const TC_H_INGRESS: u32 = 0xffff_fff1;
    const KIND: u16 = 1;
    // struct tcmsg.
    let mut asked = vec![0; 4];
    asked.extend(ifindex.to_ne_bytes());
    asked.extend([0; 4]);
    asked.extend(TC_H_INGRESS.to_ne_bytes());
    asked.extend([0; 4]);
    let answer = receive(&ask(libc::RTM_GETQDISC, ONE, &asked)?)?;
    if kind_of(&answer) != Some(libc::RTM_NEWQDISC) {
        return code(&answer).map(|()| None);
    }
    let length = word(&answer, 0).unwrap_or_default() as usize;
    let attributes = answer.get(ATTRIBUTES..length).unwrap_or_default();
    let kind = Attributes(attributes).find(|(kind, _)| kind & 0x3fff == KIND);
    Ok(kind.and_then(|(_, value)| {
        let kind = CStr::from_bytes_until_nul(value).ok()?;
        Some(kind.to_string_lossy().into_owned())
    }))
}

/// What one RTM_NEWTFILTER message says, unless it only opens a list of filters, or the filter is in a chain that packets
/// come to by another one.
fn filter(message: &[u8]) -> Option<Filter> {
    const KIND: u16 = 1;
    const OPTIONS: u16 = 2;
    const CHAIN: u16 = 11;
    const BPF_NAME: u16 = 7;
    const BPF_ID: u16 = 11;
    let length = word(message, 0)? as usize;
    let attributes = message.get(ATTRIBUTES..length)?;
    let find = |attributes, wanted| {
        Attributes(attributes)
            .find(|(kind, _)| kind & 0x3fff == wanted)
            .map(|(_, value)| value)
    };
    let text = |value: &[u8]| {
        let text = CStr::from_bytes_until_nul(value).ok()?;
        Some(text.to_string_lossy().into_owned())
    };
    let handle = word(message, 24)?;
    let chain = find(attributes, CHAIN).and_then(|value| word(value, 0));
    if handle == 0 || chain.unwrap_or_default() != 0 {
        return None;
    }
    let kind = find(attributes, KIND).and_then(text)?;
    let options = find(attributes, OPTIONS).filter(|_| kind == "bpf");
    let info = word(message, 32)?;
    Some(Filter {
        preference: u16::try_from(info >> 16).ok()?,
        protocol: u16::try_from(info & 0xffff).ok()?,
        handle,
        name: options
            .and_then(|options| find(options, BPF_NAME))
            .and_then(text),
        prog_id: options
            .and_then(|options| find(options, BPF_ID))
            .and_then(|id| word(id, 0)),
        kind,
    })
}

/// Where the attributes of a message about filters or queueing disciplines begin: behind `struct nlmsghdr` and
/// `struct tcmsg`.
const ATTRIBUTES: usize = 16 + 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: i32) -> Vec<u8> {
        let mut message = 20_u32.to_ne_bytes().to_vec();
        message.extend(DONE.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(code.to_ne_bytes());
        message
    }

    #[test]
    fn a_list_that_ends_with_an_error_is_not_complete() {
        let mut filters = Vec::new();
        assert!(read(&end(0), &mut filters).unwrap());
        let error = read(&end(-libc::ENOMEM), &mut filters).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        assert!(!read(&[], &mut filters).unwrap());
    }
}
