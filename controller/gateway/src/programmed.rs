//! What is said of a Gateway once its addresses and their announcement are known.

use std::net::IpAddr;

use landfall_crds::conditions::{AssignedReason, NewCondition};
use landfall_crds::{FrontendProtocol, MAX_FRONTENDS};

use crate::condition::{PROGRAMMED, is, is_not, unknown};
use crate::gateway::GatewayDecision;

/// How a Gateway stands with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They have not been looked for yet.
    Pending,
    /// It has not all it asks for; the allocator says why.
    Refused(AssignedReason, String),
    /// It has them, and each is announced by nodes that serve it, or why it is not.
    Assigned(Vec<(IpAddr, Result<(), String>)>),
}

/// `Programmed` of a Gateway.
#[must_use]
pub fn programmed(decision: &GatewayDecision, standing: &Standing) -> NewCondition {
    if !decision.is_accepted() {
        return is_not(
            PROGRAMMED,
            "Invalid",
            format!("not accepted: {}", decision.accepted.message),
        );
    }
    match standing {
        Standing::Pending => unknown(PROGRAMMED, "Pending", "its addresses are being looked for"),
        Standing::Refused(reason, message) => is_not(PROGRAMMED, refusal(*reason), message.clone()),
        Standing::Assigned(addresses) => announced(addresses),
    }
}

/// `Programmed` of a Gateway that is served, but for ports for which the record of its address has no room beside those of
/// the Gateways that share it.
#[must_use]
pub fn crowded(address: IpAddr, left_out: &[(u16, FrontendProtocol)]) -> NewCondition {
    let ports = left_out.iter().map(|(port, protocol)| match protocol {
        FrontendProtocol::Tcp => format!("TCP {port}"),
        FrontendProtocol::Udp => format!("UDP {port}"),
    });
    let ports: Vec<String> = ports.collect();
    is_not(
        PROGRAMMED,
        "NoResources",
        format!(
            "{address} serves {MAX_FRONTENDS} ports, and the Gateways that share it have more: not served is {}; let this \
             Gateway share another address, or none",
            ports.join(", ")
        ),
    )
}

/// The API's reason for one of the allocator's: an address that was asked for cannot be used, or none could be found.
const fn refusal(reason: AssignedReason) -> &'static str {
    match reason {
        AssignedReason::AddressInUse
        | AssignedReason::NotInAnyPool
        | AssignedReason::SharingRefused
        | AssignedReason::InvalidRequest => "AddressNotUsable",
        AssignedReason::Assigned
        | AssignedReason::NoMatchingPool
        | AssignedReason::PoolExhausted
        | AssignedReason::FamilyUnavailable => "AddressNotAssigned",
    }
}

fn announced(addresses: &[(IpAddr, Result<(), String>)]) -> NewCondition {
    let silent: Vec<String> = addresses
        .iter()
        .filter_map(|(address, announced)| {
            let why = announced.as_ref().err()?;
            // Announcers name it where it matters; who has not spoken yet does not.
            let named = why.contains(&address.to_string());
            Some(if named {
                why.clone()
            } else {
                format!("{address}: {why}")
            })
        })
        .collect();
    if !silent.is_empty() {
        return is_not(PROGRAMMED, "Pending", silent.join("; "));
    }
    let all: Vec<String> = addresses.iter().map(|(one, _)| one.to_string()).collect();
    is(
        PROGRAMMED,
        "Programmed",
        format!("served on {}", all.join(", ")),
    )
}
