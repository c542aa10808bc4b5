use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::line::{About, Filter, Line, heading};
use super::world::{Key, Kind, News, Object, World};
use crate::args::LineOutput;
use crate::out::written;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("namespace").to_owned(), text("name").to_owned())
}

fn seen(kind: Kind, object: Value) -> News {
    fn read<T: serde::de::DeserializeOwned>(object: Value) -> Box<T> {
        Box::new(serde_json::from_value(object).unwrap())
    }
    let key = key(&object);
    let object = match kind {
        Kind::Address => Object::Address(read(object)),
        Kind::Service => Object::Service(read(object)),
        Kind::Gateway => Object::Gateway(read(object)),
        Kind::Class => Object::Class(read(object)),
        Kind::Node => Object::Node(read(object)),
        Kind::Session => Object::Session(read(object)),
        Kind::ControllersEvent | Kind::AnnouncersEvent => Object::Event(read(object)),
    };
    News::Seen(kind, key, object)
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn record(owner: Value, interfaces: Value, conditions: Value) -> Value {
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LoadBalancerIP", "metadata": {"name": "192-0-2-10"},
        "spec": {"address": "192.0.2.10", "poolRef": {"name": "public"},
            "holders": [{"kind": "Service", "namespace": "blue", "name": "web", "uid": "u"}]},
        "status": {"owner": owner, "interfaces": interfaces, "conditions": conditions}})
}

fn owned(node: &str, session: &str, standby: &str, to: Option<&str>) -> Value {
    let mut owner = json!({"node": node, "session": session, "standby": standby, "transitions": 1});
    if let Some(to) = to {
        owner["handoverTo"] = to.into();
    }
    let said = format!("node {node} answers for 192.0.2.10 on eth0");
    record(
        owner,
        json!(["eth0"]),
        json!([condition("Announced", "True", "Announced", &said)]),
    )
}

fn service(addresses: &[&str], conditions: Value) -> Value {
    let ingress: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"metadata": {"namespace": "blue", "name": "web"}, "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": ingress}, "conditions": conditions}})
}

fn l2_node(session: &str, interfaces: Value, xdp: &str, hears: &[&str]) -> Value {
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "L2Node", "metadata": {"name": "node-1"},
        "spec": {"nodeName": "node-1"},
        "status": {"session": session, "interfaces": interfaces, "xdp": xdp, "hears": hears}})
}

const ALL: [Kind; 8] = [
    Kind::Address,
    Kind::Service,
    Kind::Gateway,
    Kind::Class,
    Kind::Node,
    Kind::Session,
    Kind::ControllersEvent,
    Kind::AnnouncersEvent,
];

/// A world in which that is all there was at the beginning.
fn world(first: &[(Kind, Value)]) -> World {
    let mut world = World::default();
    for kind in ALL {
        let of_kind = first.iter().filter(|(of, _)| *of == kind);
        for (_, object) in of_kind.clone() {
            assert!(world.take(seen(kind, object.clone()), at(0)).is_empty());
        }
        let keys = of_kind.map(|(_, object)| key(object)).collect();
        assert!(world.take(News::Listed(kind, keys), at(0)).is_empty());
    }
    world
}

/// The lines of these news, each a second after the one before.
fn told(world: &mut World, news: impl IntoIterator<Item = News>) -> Vec<Line> {
    let news = news.into_iter().zip(1..);
    news.flat_map(|(news, second)| world.take(news, at(second)))
        .collect()
}

fn drawn(lines: &[Line]) -> String {
    lines.iter().map(Line::draw).collect()
}

#[test]
fn an_address_is_told_from_its_record_to_its_end_with_who_has_it_and_why() {
    let released = condition(
        "Announced",
        "False",
        "Released",
        "no node announces 192.0.2.10: the last owner gave it up",
    );
    let conflict = "a foreign host (02:00:00:00:00:99, seen on eth0) uses 192.0.2.10";
    let taken = json!([
        condition("Announced", "False", "AddressConflict", conflict),
        condition("AddressConflict", "True", "ForeignHost", conflict),
    ]);
    let lines = told(
        &mut world(&[]),
        [
            record(Value::Null, json!([]), json!([])),
            owned("node-1", "a", "node-2", None),
            owned("node-1", "a", "node-3", None),
            owned("node-1", "a", "node-3", Some("node-3")),
            owned("node-3", "c", "node-2", None),
            owned("node-2", "b", "node-1", None),
            owned("node-2", "bb", "node-1", None),
            owned("node-4", "d", "node-1", None),
            record(Value::Null, json!([]), json!([released])),
            record(Value::Null, json!([]), taken),
        ]
        .map(|object| seen(Kind::Address, object))
        .into_iter()
        .chain([News::Gone(
            Kind::Address,
            (String::new(), "192-0-2-10".to_owned()),
        )]),
    );
    insta::assert_snapshot!(heading() + &drawn(&lines));
}

#[test]
fn services_gateways_nodes_and_events_are_told_of() {
    let class = json!({"metadata": {"name": "lb"}, "spec": {"controllerName": "landfall.dev/gateway-controller"}});
    let gateway = |class: &str, name: &str, conditions: Value, addresses: Value| {
        json!({"metadata": {"namespace": "green", "name": name}, "spec": {"gatewayClassName": class},
            "status": {"addresses": addresses, "conditions": conditions}})
    };
    let accepted =
        |status: &str| json!([condition("Accepted", status, "Accepted", "it is served")]);
    let waiting = condition(
        "landfall.dev/AddressAssigned",
        "False",
        "PoolExhausted",
        "IPv4: every pool is full",
    );
    let announced = condition(
        "landfall.dev/Announced",
        "True",
        "Announced",
        "node node-1 answers for 192.0.2.10 on eth0",
    );
    let eth0 = json!({"name": "eth0", "mac": "02:00:00:00:00:01"});
    let native = json!({"name": "eth0", "mac": "02:00:00:00:00:01", "xdp": "native"});
    let lease = |holder: &str, published: &str, by: Option<&str>| {
        let mut annotations = json!({"landfall.dev/announcer": published});
        if let Some(by) = by {
            annotations["landfall.dev/fenced-by"] = by.into();
        }
        json!({"metadata": {"namespace": "landfall-system", "name": "announcer-node-1", "annotations": annotations},
            "spec": {"holderIdentity": holder}})
    };
    let event = json!({"metadata": {"namespace": "blue", "name": "web-x"}, "type": "Warning",
        "reason": "PoolExhausted", "note": "every pool is full", "eventTime": "2026-01-01T00:00:30.000000Z",
        "regarding": {"kind": "Service", "namespace": "blue", "name": "web"}});
    let mut world = world(&[
        (Kind::Class, class),
        (Kind::Session, lease("a", "{}", None)),
        (Kind::Address, owned("node-1", "a", "node-2", None)),
    ]);
    let lines = told(
        &mut world,
        [
            seen(Kind::Service, service(&[], json!([waiting]))),
            seen(Kind::Service, service(&["192.0.2.10"], json!([announced]))),
            seen(
                Kind::Gateway,
                gateway("theirs", "a", accepted("True"), json!([])),
            ),
            seen(
                Kind::Gateway,
                gateway(
                    "lb",
                    "b",
                    accepted("True"),
                    json!([{"value": "192.0.2.20"}]),
                ),
            ),
            seen(Kind::Node, l2_node("a", json!([eth0]), "Off", &["node-2"])),
            seen(
                Kind::Node,
                l2_node("a", json!([native]), "Ready", &["node-3"]),
            ),
            seen(Kind::Node, l2_node("b", json!([]), "Ready", &[])),
            seen(Kind::Session, lease("a", r#"{"leaving":true}"#, None)),
            seen(Kind::Session, lease("", "{}", Some("node-2"))),
            seen(
                Kind::Session,
                lease("c", r#"{"wrongedBy":"node-2"}"#, Some("node-2")),
            ),
            seen(Kind::ControllersEvent, event.clone()),
            // An Event that is listed again is not told again.
            seen(Kind::ControllersEvent, event),
            News::Broken(Kind::Gateway, Some("you may not watch gateways".to_owned())),
            News::Gone(Kind::Service, ("blue".to_owned(), "web".to_owned())),
        ],
    );
    insta::assert_snapshot!(heading() + &drawn(&lines));
}

#[test]
fn what_is_there_at_the_beginning_is_the_state_and_no_change() {
    let world = world(&[
        (Kind::Address, owned("node-1", "a", "node-2", None)),
        (Kind::Service, service(&["192.0.2.10"], json!([]))),
    ]);
    let lines = world.state(at(0));
    assert_eq!(lines.len(), 1);
    let line = lines[0].draw();
    for part in [
        "192.0.2.10 ",
        "node-1 ",
        "state: Announced, held by blue/web; on eth0; node-2 stands by",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
}

#[test]
fn how_nodes_stand_and_whom_they_hear_is_told_to_who_looks_at_all() {
    let named = |name: &str, mut node: Value| {
        node["metadata"]["name"] = name.into();
        node["spec"]["nodeName"] = name.into();
        node
    };
    let lease = |name: &str, holder: &str, by: Option<&str>| {
        let by = by.map(|by| json!({"landfall.dev/fenced-by": by}));
        json!({"metadata": {"namespace": "landfall-system", "name": name, "annotations": by},
            "spec": {"holderIdentity": holder}})
    };
    let eth0 = json!([{"name": "eth0", "mac": "02:00:00:00:00:01"}]);
    let mut alone = named("node-4", l2_node("d", json!([]), "Off", &[]));
    alone["status"]["summary"] = json!({"interfaces": "none", "hears": "no heartbeats"});
    let world = world(&[
        (Kind::Node, l2_node("a", eth0, "Ready", &["node-2"])),
        (Kind::Session, lease("announcer-node-1", "a", None)),
        (
            Kind::Node,
            named("node-2", l2_node("b", json!([]), "Off", &["node-1"])),
        ),
        (Kind::Session, lease("announcer-node-2", "", None)),
        (
            Kind::Node,
            named("node-3", l2_node("c", json!([]), "Off", &[])),
        ),
        (Kind::Session, lease("announcer-node-3", "", Some("node-1"))),
        (Kind::Node, alone),
    ]);
    let lines = world.nodes(at(0));
    insta::assert_snapshot!(heading() + &drawn(&lines));
    let in_one = Filter {
        namespace: Some("blue".to_owned()),
        ..Filter::default()
    };
    assert!(!lines.iter().any(|line| in_one.takes(line)));
}

#[test]
fn that_a_node_is_heard_no_longer_concerns_that_node() {
    let mut world = world(&[(Kind::Node, l2_node("a", json!([]), "Off", &["node-2"]))]);
    let lines = told(
        &mut world,
        [seen(
            Kind::Node,
            l2_node("a", json!([]), "Off", &["node-3"]),
        )],
    );
    assert_eq!(lines[0].nodes, ["node-1", "node-3", "node-2"]);
}

#[test]
fn who_cannot_see_records_is_told_the_state_by_the_services() {
    let mut world = World::default();
    world.take(News::Broken(Kind::Address, None), at(0));
    world.take(
        seen(Kind::Service, service(&["192.0.2.10"], json!([]))),
        at(0),
    );
    let listed = [("blue".to_owned(), "web".to_owned())];
    world.take(News::Listed(Kind::Service, listed.into()), at(0));
    assert!(world.has_heard_of(&[Kind::Address, Kind::Service]));
    let lines = world.state(at(0));
    assert_eq!(lines[0].words, "held by blue/web");
}

#[test]
fn what_is_missing_when_a_watch_is_taken_up_again_went_meanwhile() {
    let mut world = world(&[(Kind::Address, owned("node-1", "a", "node-2", None))]);
    let moved = owned("node-2", "b", "node-1", None);
    let listed = [key(&moved)].into();
    let lines = told(
        &mut world,
        [
            seen(Kind::Address, moved),
            News::Listed(Kind::Address, listed),
            News::Listed(Kind::Address, [].into()),
        ],
    );
    let changes: Vec<_> = lines.iter().map(|line| line.change).collect();
    assert_eq!(changes, ["moved", "released"]);
}

#[test]
fn what_cannot_be_read_is_said_so_and_not_to_be_gone() {
    let object = owned("node-1", "a", "node-2", None);
    let at = key(&object);
    let mut world = world(&[(Kind::Address, object.clone())]);
    let why = "LoadBalancerIP cannot be read".to_owned();
    let lines = told(&mut world, [News::Unreadable(Kind::Address, at, why)]);
    let changes: Vec<_> = lines.iter().map(|line| line.change).collect();
    assert_eq!(changes, ["unreadable"]);
}

#[test]
fn only_what_concerns_a_namespace_a_node_or_an_address_is_told_where_one_is_named() {
    let mut world = world(&[(Kind::Address, owned("node-1", "a", "node-2", None))]);
    let lines = told(
        &mut world,
        [
            seen(Kind::Address, owned("node-2", "b", "node-3", None)),
            seen(Kind::Service, service(&["192.0.2.10"], json!([]))),
            seen(Kind::Node, l2_node("a", json!([]), "Off", &[])),
            News::Broken(Kind::Gateway, Some("it broke".to_owned())),
        ],
    );
    let of = |filter: Filter| -> Vec<About> {
        let lines = lines.iter().filter(|line| filter.takes(line));
        lines.map(|line| line.kind).collect()
    };
    let all = [About::Address, About::Service, About::Node, About::Watch];
    assert_eq!(of(Filter::default()), all);
    let namespace = |name: &str| Filter {
        namespace: Some(name.to_owned()),
        ..Filter::default()
    };
    assert_eq!(of(namespace("blue")), all);
    assert_eq!(of(namespace("green")), [About::Node, About::Watch]);
    let node = |name: &str| Filter {
        node: Some(name.to_owned()),
        ..Filter::default()
    };
    // It moved from node-1, which has a say in it too.
    assert_eq!(
        of(node("node-1")),
        [About::Address, About::Node, About::Watch]
    );
    assert_eq!(
        of(node("node-2")),
        [About::Address, About::Service, About::Watch]
    );
    let address = |text: &str| Filter {
        address: text.parse().ok(),
        ..Filter::default()
    };
    assert_eq!(
        of(address("192.0.2.10")),
        [About::Address, About::Service, About::Watch]
    );
    assert_eq!(of(address("192.0.2.11")), [About::Watch]);
}

#[test]
fn for_programs_a_line_is_an_object_or_a_document() {
    let mut world = world(&[(Kind::Address, owned("node-1", "a", "node-2", None))]);
    let lines = told(
        &mut world,
        [seen(Kind::Address, owned("node-2", "b", "node-3", None))],
    );
    let forms = [LineOutput::Json, LineOutput::Yaml];
    let text: String = forms
        .map(|form| written(&lines[0], form, Line::draw).unwrap())
        .concat();
    insta::assert_snapshot!(text);
}

#[test]
fn what_others_wrote_begins_no_line_of_its_own() {
    let event = json!({"metadata": {"namespace": "blue", "name": "x"}, "type": "Normal", "reason": "A",
        "note": "a\n\u{1b}[31mb", "regarding": {"kind": "Service", "namespace": "blue", "name": "web"}});
    let lines = told(&mut world(&[]), [seen(Kind::AnnouncersEvent, event)]);
    assert_eq!(drawn(&lines).matches('\n').count(), 1);
    assert!(!drawn(&lines).contains('\u{1b}'));
}
