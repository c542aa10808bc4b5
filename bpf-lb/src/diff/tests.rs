//! What a plan promises, whatever it starts from.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::desired::{Backend, BackendState, Hop, Interface, Placement, PodId, Protocol};
use crate::maglev::LARGEST;
use crate::programmed::table_of;

mod going;
mod room;

fn settings() -> Settings {
    Settings {
        frontends: 4,
        slots: LARGEST,
        backends: 16,
        hops: 8,
        ..Settings::new("/nowhere")
    }
}

/// What is programmed, and what the tables say.
#[derive(Clone, Debug, PartialEq)]
struct State {
    programmed: Programmed,
    contents: HashMap<Table, Vec<Slot>>,
}

impl Deref for State {
    type Target = Programmed;

    fn deref(&self) -> &Programmed {
        &self.programmed
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut Programmed {
        &mut self.programmed
    }
}

impl State {
    fn table(&self, number: u8) -> Table {
        self.frontends[&frontend(number)].table().unwrap()
    }

    fn slots(&self, number: u8) -> &[Slot] {
        &self.contents[&self.table(number)]
    }
}

/// A plan carried out.
struct Done {
    operations: Vec<Operation>,
    next: State,
    refused: BTreeMap<Frontend, Refusal>,
}

/// Tables in memory, and everything that is done.
struct Recorder {
    operations: Vec<Operation>,
    contents: HashMap<Table, Vec<Slot>>,
}

impl Target for Recorder {
    type Error = Infallible;

    fn slots(&self, table: Table) -> Vec<Slot> {
        self.contents[&table].clone()
    }

    fn carry_out(&mut self, operation: Operation) -> Result<(), Infallible> {
        if let Operation::WriteTable(table, slots) = &operation {
            assert_eq!(table.slots as usize, slots.len());
            self.contents.insert(*table, slots.clone());
        }
        self.operations.push(operation);
        Ok(())
    }
}

fn empty() -> State {
    State {
        programmed: Programmed::empty(settings().slots),
        contents: HashMap::new(),
    }
}

fn plan_of(
    now: &State,
    desired: &Desired,
    going: &BTreeSet<Frontend>,
    settings: &Settings,
) -> Done {
    let mut recorder = Recorder {
        operations: Vec::new(),
        contents: now.contents.clone(),
    };
    let Ok(changes) = carry_out(
        now.programmed.clone(),
        desired,
        going,
        settings,
        &mut recorder,
    );
    assert_eq!(changes.operations, recorder.operations.len());
    Done {
        operations: recorder.operations,
        next: State {
            programmed: changes.next,
            contents: recorder.contents,
        },
        refused: changes.refused,
    }
}

fn plan(now: &State, desired: &Desired, going: &BTreeSet<Frontend>) -> Done {
    plan_of(now, desired, going, &settings())
}

fn frontend(number: u8) -> Frontend {
    Frontend {
        address: Ipv4Addr::new(192, 0, 2, number).into(),
        port: 80,
        protocol: Protocol::Tcp,
    }
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint {
        address: Ipv4Addr::new(10, 244, 0, number).into(),
        port: 8080,
    }
}

fn node(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, number).into()
}

fn hop(number: u8) -> Hop {
    Hop {
        mac: [2, 0, 0, 0, 1, number],
        ifindex: 2,
    }
}

/// Frontends with their backends: endpoint number, node number or 0 for here.
fn wanted(frontends: &[(u8, &[(u8, u8)])]) -> Desired {
    let segment = Interface {
        name: "seg0".into(),
        mac: [2, 0, 0, 0, 0, 1],
        members: BTreeSet::new(),
        is_trunk: false,
    };
    let mut desired = Desired {
        interfaces: [(2, segment)].into(),
        ..Desired::default()
    };
    for (number, backends) in frontends {
        let backend = |(pod, at): &(u8, u8)| {
            let placement = if *at == 0 {
                Placement::Local
            } else {
                Placement::Remote(node(*at))
            };
            (
                endpoint(*pod),
                Backend {
                    pod: PodId::default(),
                    placement,
                    weight: 1,
                    state: BackendState::Active,
                },
            )
        };
        let vip = Vip {
            backends: backends.iter().map(backend).collect(),
            ..Vip::default()
        };
        desired.frontends.insert(frontend(*number), vip.into());
        let nodes = backends.iter().filter(|(_, at)| *at != 0);
        desired
            .hops
            .extend(nodes.map(|(_, at)| (node(*at), Some(hop(*at)))));
    }
    desired
}

fn go(now: &State, desired: &Desired) -> Done {
    plan(now, desired, &BTreeSet::new())
}

/// What the kernel has is known.
fn learned(mut next: State) -> State {
    for installed in next.frontends.values_mut() {
        installed.entry.flags &= !FrontendEntry::LEARNING;
    }
    next
}

/// The maps as a packet finds them, checked after every single operation.
#[derive(Default)]
struct Kernel {
    hops: HashMap<u16, HopEntry>,
    backends: HashMap<u16, BackendEntry>,
    tables: HashMap<Table, Vec<Slot>>,
    frontends: HashMap<Frontend, FrontendEntry>,
    just_freed: Vec<Table>,
}

impl Kernel {
    fn carry_out(&mut self, operation: &Operation) {
        match operation {
            Operation::SetHop(id, hop) => drop(self.hops.insert(*id, *hop)),
            Operation::SetBackend(id, backend) => drop(self.backends.insert(*id, *backend)),
            Operation::WriteTable(table, slots) => {
                let apart = |other: &Table| {
                    other.start + other.slots <= table.start
                        || table.start + table.slots <= other.start
                };
                let mut used = self.frontends.values().filter_map(table_of);
                assert!(
                    used.all(|used| apart(&used)),
                    "a table in use is written to"
                );
                assert!(
                    self.just_freed.iter().all(apart),
                    "a table that a packet may still read is written to"
                );
                self.tables.retain(|other, _| apart(other));
                self.tables.insert(*table, slots.clone());
            }
            Operation::Settle => self.just_freed.clear(),
            Operation::SetFrontend(frontend, entry) => {
                let old = self.frontends.insert(*frontend, *entry);
                let old = old.as_ref().and_then(table_of);
                self.just_freed
                    .extend(old.filter(|old| Some(*old) != table_of(entry)));
            }
            Operation::RemoveFrontend(frontend) => {
                let old = self.frontends.remove(frontend).unwrap();
                self.just_freed.extend(table_of(&old));
            }
            Operation::ClearBackend(id) => drop(self.backends.remove(id).unwrap()),
            Operation::ClearHop(id) => drop(self.hops.remove(id).unwrap()),
            Operation::AddNode(_) | Operation::RemoveNode(_) => {}
        }
        self.check();
    }

    fn check(&self) {
        for table in self.frontends.values().filter_map(table_of) {
            for slot in &self.tables[&table] {
                let previous = slot.previous.into_iter().filter(|id| *id != 0);
                for id in previous.chain([slot.current]) {
                    let backend = &self.backends[&id];
                    assert!(backend.hop == 0 || self.hops.contains_key(&backend.hop));
                }
            }
        }
    }
}

#[test]
fn nothing_to_change_means_no_operation() {
    let desired = wanted(&[(10, &[(1, 0), (2, 7)])]);
    let first = go(&empty(), &desired);
    assert!(!first.operations.is_empty());
    let second = go(&first.next, &desired);
    assert_eq!(second.operations, []);
    assert_eq!(second.next, first.next);
}

#[test]
fn what_is_read_back_after_a_restart_equals_what_is_wanted() {
    let desired = wanted(&[(10, &[(1, 0), (2, 7)]), (11, &[])]);
    let mut read = go(&empty(), &desired).next;
    for installed in read.frontends.values_mut() {
        installed.vip = None;
    }
    assert_eq!(go(&read, &desired).operations, []);
}

#[test]
fn a_changed_mac_address_is_one_write() {
    let mut desired = wanted(&[(10, &[(1, 7), (2, 7)])]);
    let first = go(&empty(), &desired);
    desired.hops.insert(
        node(7),
        Some(Hop {
            mac: [2, 9, 9, 9, 9, 9],
            ifindex: 2,
        }),
    );
    let second = go(&first.next, &desired);
    let hops = second
        .operations
        .iter()
        .filter(|operation| matches!(operation, Operation::SetHop(..)))
        .count();
    let others = second.operations.iter().filter(|operation| {
        !matches!(
            operation,
            Operation::SetHop(..) | Operation::AddNode(_) | Operation::RemoveNode(_)
        )
    });
    assert_eq!((hops, others.count()), (1, 0));
}

#[test]
fn a_node_that_cannot_be_reached_yet_keeps_its_place_in_the_table() {
    let mut desired = wanted(&[(10, &[(1, 7), (2, 0)])]);
    let reachable = go(&empty(), &desired);
    desired.hops.clear();
    let unreachable = go(&empty(), &desired);
    let table = |plan: &Done| plan.next.slots(10).to_vec();
    assert_eq!(table(&reachable), table(&unreachable));
    assert!(unreachable.next.hops.values().all(|hop| hop.ifindex == 0));
}

#[test]
fn what_is_not_known_yet_keeps_what_the_maps_have() {
    let mut desired = wanted(&[(10, &[(1, 7), (2, 0)])]);
    let mut read = go(&empty(), &desired).next;
    for installed in read.frontends.values_mut() {
        installed.vip = None;
    }
    desired.hops.insert(node(7), None);
    let plan = go(&read, &desired);
    assert_eq!(plan.operations, []);
    // What is not a neighbour any more is forgotten.
    desired.hops.clear();
    let plan = go(&read, &desired);
    assert!(plan.next.hops.values().all(|hop| hop.ifindex == 0));
    assert!(plan.next.nodes.is_empty());
}

#[test]
fn a_changed_address_of_our_own_is_written_to_hops_that_are_not_known_yet() {
    let mut desired = wanted(&[(10, &[(1, 7)])]);
    let first = go(&empty(), &desired);
    desired.hops.insert(node(7), None);
    desired.interfaces.get_mut(&2).unwrap().mac = [2, 0, 0, 0, 0, 9];
    let second = go(&first.next, &desired);
    assert!(
        second
            .next
            .hops
            .values()
            .all(|known| known.source == [2, 0, 0, 0, 0, 9] && known.mac == hop(7).mac)
    );
}

#[test]
fn another_pod_at_the_same_address_is_another_backend() {
    let mut desired = wanted(&[(10, &[(1, 0), (2, 0)])]);
    let first = go(&empty(), &desired);
    let vip = Arc::make_mut(desired.frontends.get_mut(&frontend(10)).unwrap());
    vip.backends.get_mut(&endpoint(1)).unwrap().pod = PodId::of("another");
    let second = go(&first.next, &desired);
    let before: BTreeSet<u16> = first.next.backends.keys().copied().collect();
    let after: BTreeSet<u16> = second.next.backends.keys().copied().collect();
    assert_eq!(before.intersection(&after).count(), 1);
    // And it is no memory of the one before.
    let slots = second.next.slots(10);
    assert!(slots.iter().all(|slot| slot.previous == [0, 0]));
}

#[test]
fn an_endpoint_that_nothing_places_has_its_share_of_the_table() {
    let mut desired = wanted(&[(10, &[(1, 0), (2, 7)])]);
    let placed = go(&empty(), &desired);
    let vip = Arc::make_mut(desired.frontends.get_mut(&frontend(10)).unwrap());
    vip.backends.get_mut(&endpoint(2)).unwrap().placement = Placement::Unknown;
    let unplaced = go(&empty(), &desired);
    let table = |plan: &Done| plan.next.slots(10).to_vec();
    assert_eq!(table(&placed), table(&unplaced));
    let hops: BTreeSet<u16> = unplaced.next.backends.values().map(|one| one.hop).collect();
    assert_eq!(hops, [0, BackendEntry::UNPLACED].into());
}

#[test]
fn an_endpoint_whose_node_is_going_keeps_its_slots_and_its_id() {
    let mut desired = wanted(&[(10, &[(1, 0), (2, 7)])]);
    let placed = go(&empty(), &desired);
    let vip = Arc::make_mut(desired.frontends.get_mut(&frontend(10)).unwrap());
    vip.backends.get_mut(&endpoint(2)).unwrap().placement = Placement::Leaving(node(7));
    let leaving = go(&placed.next, &desired);
    let [Operation::SetBackend(id, entry)] = leaving.operations[..] else {
        panic!("{:?}", leaving.operations);
    };
    assert_eq!(entry.flags & BackendEntry::LEAVING, BackendEntry::LEAVING);
    let was = placed.next.backends[&id];
    assert_eq!((entry.address, entry.hop), (was.address, was.hop));
    let vip = Arc::make_mut(desired.frontends.get_mut(&frontend(10)).unwrap());
    vip.backends.get_mut(&endpoint(2)).unwrap().placement = Placement::Remote(node(7));
    let back = go(&leaving.next, &desired);
    assert_eq!(back.operations, [Operation::SetBackend(id, was)]);
}

#[test]
fn a_frontend_without_backends_has_no_table() {
    let plan = go(&empty(), &wanted(&[(10, &[])]));
    let entry = FrontendEntry {
        table: FrontendEntry::NO_TABLE,
        flags: FrontendEntry::LEARNING,
    };
    assert_eq!(
        plan.operations,
        [Operation::SetFrontend(frontend(10), entry)]
    );
}

#[test]
fn affinity_changes_a_flag_and_no_table() {
    let mut desired = wanted(&[(10, &[(1, 0), (2, 0)])]);
    let first = learned(go(&empty(), &desired).next);
    Arc::make_mut(desired.frontends.get_mut(&frontend(10)).unwrap()).client_ip_affinity = true;
    let second = go(&first, &desired);
    let entry = entry_of(Some(first.table(10)), FrontendEntry::CLIENT_IP);
    let operation = Operation::SetFrontend(frontend(10), entry);
    assert_eq!(second.operations, [operation]);
}

#[test]
fn a_frontend_that_goes_stays_as_it_was_but_takes_nothing_new() {
    let both = wanted(&[(10, &[(1, 0), (2, 7)]), (11, &[(3, 8)])]);
    let first = learned(go(&empty(), &both).next);
    let going = BTreeSet::from([frontend(10)]);
    let second = plan(&first, &wanted(&[]), &going);
    let (before, after) = (
        &first.frontends[&frontend(10)],
        &second.next.frontends[&frontend(10)],
    );
    let draining = before.entry.flags | FrontendEntry::DRAINING;
    assert_eq!(after.entry.flags, draining);
    assert_eq!(after.table(), before.table());
    assert_eq!(first.slots(10), second.next.slots(10));
    assert_eq!(second.next.hops.len(), 1, "that of its other node");
    assert_eq!(second.next.hops.values().next(), first.hops.values().next());
    assert_eq!(second.next.nodes, first.nodes);
    assert!(!second.next.frontends.contains_key(&frontend(11)));
    let again = plan(&second.next, &wanted(&[]), &going);
    assert_eq!(again.operations, []);
    // Wanted again, it is what it was.
    let back = plan(&again.next, &both, &BTreeSet::new());
    assert_eq!(back.next.frontends[&frontend(10)], *before);
    let gone = plan(&again.next, &wanted(&[]), &BTreeSet::new());
    assert_eq!(gone.next.frontends.len() + gone.next.backends.len(), 0);
}

#[test]
fn a_frontend_that_is_new_learns_before_it_takes_connections() {
    let desired = wanted(&[(10, &[(1, 0)])]);
    let first = go(&empty(), &desired).next;
    let flags = |next: &State| next.frontends[&frontend(10)].entry.flags & FrontendEntry::CLOSED;
    assert_eq!(flags(&first), FrontendEntry::LEARNING);
    let more = wanted(&[(10, &[(1, 0), (2, 0)])]);
    assert_eq!(flags(&go(&first, &more).next), FrontendEntry::LEARNING);
    assert_eq!(flags(&go(&learned(first), &more).next), 0);
}

#[test]
fn a_backend_of_two_frontends_is_one_backend() {
    let plan = go(&empty(), &wanted(&[(10, &[(1, 0)]), (11, &[(1, 0)])]));
    assert_eq!(plan.next.backends.len(), 1);
}

#[test]
fn the_tables_do_not_depend_on_what_was_there_before() {
    let desired = wanted(&[(10, &[(1, 0), (2, 7), (3, 8)])]);
    let fresh = go(&empty(), &desired);
    let other = go(
        &empty(),
        &wanted(&[(10, &[(9, 0), (3, 8)]), (11, &[(1, 0)])]),
    );
    let later = go(&other.next, &desired);
    let meaning = |plan: &Done| -> Vec<[u8; 16]> {
        let slots = plan.next.slots(10).iter();
        slots
            .map(|slot| plan.next.backends[&slot.current].address)
            .collect()
    };
    assert_eq!(meaning(&fresh), meaning(&later));
}

#[test]
fn too_many_frontends_are_refused_by_name_and_the_others_served() {
    let numbers: Vec<u8> = (1..=u8::try_from(settings().frontends).unwrap() + 1).collect();
    let frontends: Vec<(u8, &[(u8, u8)])> = numbers
        .iter()
        .map(|number| (*number, &[(1u8, 0u8)][..]))
        .collect();
    let plan = go(&empty(), &wanted(&frontends));
    assert_eq!(
        plan.refused.into_iter().collect::<Vec<_>>(),
        [(frontend(*numbers.last().unwrap()), Refusal::Frontends)]
    );
    assert_eq!(plan.next.frontends.len(), numbers.len() - 1);
}

#[test]
fn a_frontend_that_was_without_endpoints_has_kept_its_place() {
    let served: [(u8, &[(u8, u8)]); 4] = [2, 3, 4, 5].map(|number| (number, &[(1, 0)][..]));
    let mut state = go(&empty(), &wanted(&served)).next;
    for endpoints in [&[][..], &[(1, 0)]] {
        let mut frontends = served.to_vec();
        frontends[3].1 = endpoints;
        frontends.push((1, &[(1, 0)]));
        let plan = go(&state, &wanted(&frontends));
        let refused: Vec<Frontend> = plan.refused.into_keys().collect();
        assert_eq!(refused, [frontend(1)]);
        state = plan.next;
    }
}

#[test]
fn a_backend_of_the_other_family_is_refused() {
    let mut desired = wanted(&[(10, &[])]);
    let six = Endpoint {
        address: "fd00::1".parse().unwrap(),
        port: 80,
    };
    let backend = Backend {
        pod: PodId::default(),
        placement: Placement::Local,
        weight: 1,
        state: BackendState::Active,
    };
    Arc::make_mut(desired.frontends.get_mut(&frontend(10)).unwrap())
        .backends
        .insert(six, backend);
    let plan = go(&empty(), &desired);
    assert_eq!(plan.refused[&frontend(10)], Refusal::Family);
    assert_eq!(plan.operations, []);
}

/// Frontends with their backends, as [`wanted`] takes them.
type Frontends = Vec<(u8, Vec<(u8, u8)>)>;

/// States, and whether the frontends that are left out stay for their connections.
fn histories() -> impl Strategy<Value = Vec<(Frontends, bool)>> {
    let backends = proptest::collection::vec((1u8..6, 0u8..3), 0..4);
    let state = proptest::collection::vec((1u8..5, backends), 0..4);
    proptest::collection::vec((state, any::<bool>()), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_packet_ever_meets_an_id_that_means_nothing(history in histories()) {
        let mut kernel = Kernel::default();
        let mut now = empty();
        for (state, stay) in &history {
            let frontends: Vec<(u8, &[(u8, u8)])> =
                state.iter().map(|(number, backends)| (*number, &backends[..])).collect();
            let desired = wanted(&frontends);
            let programmed = now.frontends.iter();
            let with_table = programmed.filter(|(_, one)| *stay && one.entry.table != FrontendEntry::NO_TABLE);
            let staying: BTreeSet<Frontend> = with_table.map(|(frontend, _)| *frontend).collect();
            let plan = plan(&now, &desired, &staying);
            for operation in &plan.operations {
                kernel.carry_out(operation);
            }
            now = plan.next;
            prop_assert_eq!(kernel.frontends.len(), now.frontends.len());
            prop_assert_eq!(kernel.backends.len(), now.backends.len());
            prop_assert_eq!(kernel.hops.len(), now.hops.len());
            let tables: BTreeSet<Table> = now.frontends.values().filter_map(Installed::table).collect();
            prop_assert_eq!(now.tables.count(), tables.len());
            let used: u32 = tables.iter().map(|table| table.slots).sum();
            prop_assert_eq!(now.tables.room().left(), settings().slots - used, "every slot is free or used, once");
        }
    }
}
