//! What happens in a history.

use std::net::IpAddr;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::play::Play;

/// A small generator: the same seed gives the same history.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one_of<'a>(&mut self, choice: &[&'a str]) -> &'a str {
        choice[self.roll(choice.len())]
    }
}

impl Play {
    /// Something happens; what it was.
    pub(crate) async fn happen(&mut self) -> String {
        let (cluster, dice) = (&self.cluster, &mut self.dice);
        let name = format!("s{}", dice.roll(6));
        let key = format!("blue/{name}");
        let pool = dice.one_of(&["a", "b"]);
        match dice.roll(17) {
            0..5 => {
                let (spec, annotations) = wish(dice);
                let pairs: Vec<_> = annotations.iter().map(|(k, v)| (*k, v.as_str())).collect();
                // A new wish may move it, and those it shares with may have to make room for its
                // ports.
                let held = self.settled.remove(&key).unwrap_or_default();
                let beside = |had: &Vec<IpAddr>| had.iter().any(|address| held.contains(address));
                self.settled.retain(|_, others| !beside(others));
                self.asked
                    .entry(key)
                    .or_default()
                    .extend(named(&spec, &pairs));
                cluster.service("blue", &name, &pairs, spec.clone()).await;
                format!("put {name} {spec} {annotations:?}")
            }
            5 => {
                self.settled.remove(&key);
                self.asked.remove(&key);
                let params = DeleteParams::default();
                let _ = cluster.services("blue").delete(&name, &params).await;
                format!("delete {name}")
            }
            6..9 => {
                let blocks = dice.one_of(&["192.0.2.0/30", "192.0.2.2/31", "192.0.2.0/29"]);
                let disabled = dice.roll(4) == 0;
                let mut spec = json!({"blocks": [{"cidr": blocks}, {"cidr": "2001:db8::/126"}],
                    "disabled": disabled, "priority": dice.roll(2)});
                if dice.roll(3) == 0 {
                    spec["serviceSelector"] = json!({"matchLabels": {"tier": "x"}});
                }
                let result = cluster.try_pool(pool, spec.clone()).await;
                format!("pool {pool} {spec}: {}", result.is_ok())
            }
            9 => {
                let _ = cluster.pools().delete(pool, &DeleteParams::default()).await;
                format!("delete pool {pool}")
            }
            10 => {
                let empty = json!({"status": {"loadBalancer": null, "conditions": null}});
                let params = PatchParams::default();
                let patch = Patch::Merge(empty);
                let services = cluster.services("blue");
                let _ = services.patch_status(&name, &params, &patch).await;
                format!("lose the status of {name}")
            }
            11 => {
                self.restart().await;
                "restart".to_owned()
            }
            12..14 => {
                let (ingress, said) = foreign(dice);
                let params = PatchParams::default();
                let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}});
                let services = cluster.services("blue");
                let there = services
                    .patch_status(&name, &params, &Patch::Merge(patch))
                    .await;
                format!("{said} in the status of {name}: {}", there.is_ok())
            }
            14 => {
                let tier = dice.one_of(&["x", "y"]);
                let patch = json!({"metadata": {"labels": {"tier": tier}}});
                let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
                let _ = cluster.services("blue").patch(&name, &params, &patch).await;
                format!("label {name}: {tier}")
            }
            15 => {
                let made = self.anew(&name).await;
                format!("anew under the eyes of the leader: {made}")
            }
            _ => {
                self.away().await;
                let made = self.anew(&name).await;
                let pool = self.dice.one_of(&["a", "b", "c"]);
                let params = DeleteParams::default();
                let _ = self.cluster.pools().delete(pool, &params).await;
                self.back().await;
                format!("anew while nobody looked, and without pool {pool}: {made}")
            }
        }
    }

    /// A Service is deleted and made again under its name at once: it is another one.
    async fn anew(&mut self, name: &str) -> String {
        let key = format!("blue/{name}");
        self.settled.remove(&key);
        let services = self.cluster.services("blue");
        let _ = services.delete(name, &DeleteParams::default()).await;
        let (spec, annotations) = wish(&mut self.dice);
        let pairs: Vec<_> = annotations.iter().map(|(k, v)| (*k, v.as_str())).collect();
        self.asked.insert(key, named(&spec, &pairs));
        let made = self.cluster.service("blue", name, &pairs, spec.clone());
        made.await;
        format!("{name} {spec} {annotations:?}")
    }
}

/// What another balancer writes: addresses of our pools and of others, and host names.
fn foreign(dice: &mut Dice) -> (Value, String) {
    let address = format!("192.0.2.{}", dice.roll(8));
    let ingress = match dice.roll(4) {
        0 => json!([{"hostname": "lb-1.example"}]),
        1 => json!([{"ip": "203.0.113.9"}]),
        2 => json!([{"ip": address}, {"ip": "2001:db8::1"}]),
        _ => json!([{"ip": address}]),
    };
    let said = format!("somebody else writes {ingress}");
    (ingress, said)
}

/// The addresses that a wish names.
fn named(spec: &Value, annotations: &[(&str, &str)]) -> Vec<IpAddr> {
    let external = spec["externalIPs"].as_array().into_iter().flatten();
    let external = external.filter_map(Value::as_str);
    let ips = annotations
        .iter()
        .filter(|(key, _)| *key == "landfall.dev/ips");
    external
        .chain(ips.map(|(_, value)| *value))
        .map(|text| text.parse().unwrap())
        .collect()
}

fn wish(dice: &mut Dice) -> (Value, Vec<(&'static str, String)>) {
    let port = [80, 443, 53][dice.roll(3)];
    let policy = dice.one_of(&["SingleStack", "PreferDualStack", "RequireDualStack"]);
    let mut spec = json!({"ports": [{"port": port, "protocol": "TCP"}], "ipFamilyPolicy": policy});
    let mut annotations = Vec::new();
    if dice.roll(3) == 0 {
        annotations.push(("landfall.dev/sharing-key", "k".to_owned()));
    }
    if dice.roll(4) == 0 {
        annotations.push(("landfall.dev/ips", format!("192.0.2.{}", dice.roll(8))));
    }
    if dice.roll(6) == 0 {
        spec["externalIPs"] = json!([format!("192.0.2.{}", dice.roll(8))]);
    }
    (spec, annotations)
}
