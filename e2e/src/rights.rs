//! What an account may do, held against what it did: the rules of its roles, and the API server's audit log. Pure.
//!
//! Invariant: a right is as fine as RBAC tells them apart: a namespace or all, API group, resource or subresource, object
//! names if the rule has any, verb.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use serde::Deserialize;

/// A ServiceAccount, written `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    namespace: String,
    name: String,
}

impl Account {
    /// Out of `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (namespace, name) = text
            .split_once('/')
            .ok_or_else(|| format!("{text:?} is no account like NAMESPACE/NAME"))?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The name it has for the API server.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    fn is_among(&self, subjects: Option<&Vec<Subject>>) -> bool {
        subjects.into_iter().flatten().any(|subject| {
            subject.kind == "ServiceAccount"
                && subject.name == self.name
                && subject.namespace.as_ref() == Some(&self.namespace)
        })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The roles of a cluster, and who has them.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// `ClusterRole`s.
    pub cluster: Vec<ClusterRole>,
    /// `Role`s of all namespaces.
    pub namespaced: Vec<Role>,
    /// `ClusterRoleBinding`s.
    pub everywhere: Vec<ClusterRoleBinding>,
    /// `RoleBinding`s of all namespaces.
    pub within: Vec<RoleBinding>,
}

impl Roles {
    /// What is granted to an account by name; not what is to everybody.
    pub fn of(&self, account: &Account) -> BTreeSet<Right> {
        let everywhere = self.everywhere.iter();
        let everywhere = everywhere
            .filter(|binding| account.is_among(binding.subjects.as_ref()))
            .map(|binding| (None, &binding.role_ref));
        let within = self.within.iter();
        let within = within
            .filter(|binding| account.is_among(binding.subjects.as_ref()))
            .map(|binding| (binding.metadata.namespace.as_deref(), &binding.role_ref));
        everywhere
            .chain(within)
            .flat_map(|(namespace, role)| {
                let rules = self.rules(namespace, role);
                rules.flat_map(move |rule| rights(namespace, rule))
            })
            .collect()
    }

    fn rules<'a>(
        &'a self,
        namespace: Option<&'a str>,
        role: &'a RoleRef,
    ) -> impl Iterator<Item = &'a PolicyRule> {
        let cluster = self.cluster.iter().filter(move |known| {
            role.kind == "ClusterRole" && known.metadata.name.as_ref() == Some(&role.name)
        });
        let namespaced = self.namespaced.iter().filter(move |known| {
            role.kind == "Role"
                && known.metadata.name.as_ref() == Some(&role.name)
                && known.metadata.namespace.as_deref() == namespace
        });
        cluster
            .flat_map(|role| &role.rules)
            .chain(namespaced.flat_map(|role| &role.rules))
            .flatten()
    }
}

/// A verb upon a resource. In words: `[NAMESPACE: ]VERB RESOURCE[.GROUP][ NAME…]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    namespace: Option<String>,
    resource: String,
    names: BTreeSet<String>,
    verb: String,
}

impl Right {
    fn covers(&self, asked: &Event) -> bool {
        let Some(object) = &asked.object else {
            return false;
        };
        (asked.verb == self.verb || asked.is_made() && self.verb == "create")
            && object.resource() == self.resource
            && (self.namespace.is_none() || self.namespace == object.namespace)
            && (self.names.is_empty()
                || object
                    .name
                    .as_ref()
                    .is_some_and(|name| self.names.contains(name)))
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}: ")?;
        }
        write!(f, "{} {}", self.verb, self.resource)?;
        self.names.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// Every single right that a rule for resources grants.
fn rights(namespace: Option<&str>, rule: &PolicyRule) -> Vec<Right> {
    let mut all = Vec::new();
    let names: BTreeSet<String> = rule.resource_names.iter().flatten().cloned().collect();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                all.push(Right {
                    namespace: namespace.map(str::to_owned),
                    resource: qualified(resource, group),
                    names: names.clone(),
                    verb: verb.clone(),
                });
            }
        }
    }
    all
}

fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

/// A line of the audit log, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(rename = "objectRef")]
    object: Option<Object>,
    #[serde(rename = "requestURI")]
    uri: String,
    #[serde(default)]
    response_status: Status,
}

impl Event {
    /// A server-side apply that made the object: the log calls it a patch, and it takes the right to create besides.
    fn is_made(&self) -> bool {
        self.verb == "patch" && self.response_status.code == 201
    }
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    #[serde(default)]
    api_group: String,
    subresource: Option<String>,
}

impl Object {
    fn resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => {
                qualified(&format!("{}/{subresource}", self.resource), &self.api_group)
            }
            None => qualified(&self.resource, &self.api_group),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// What stands between an account's rights and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rights it has, in words.
    pub granted: BTreeSet<String>,
    /// Those that it did not use, in words.
    pub unused: BTreeSet<String>,
    /// What it was refused, in words, and how often.
    pub refused: BTreeMap<String, usize>,
}

impl Verdict {
    /// Every fault, in a sentence each; `seldom`: rights, in words, that may be unused. One that is not granted must not be
    /// among them.
    pub fn faults<'a>(&self, seldom: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
        let refused = self.refused.iter();
        let refused = refused.map(|(what, times)| format!("refused {times} times: {what}"));
        let unused = self.unused.iter();
        let unused = unused
            .filter(|right| !seldom.clone().any(|excused| excused == *right))
            .map(|right| format!("granted, and not used: {right}"));
        let stale = seldom
            .clone()
            .filter(|excused| !self.granted.contains(*excused))
            .map(|excused| format!("seldom used, and not granted: {excused}"));
        let nothing = self.granted.is_empty().then(|| "has no rights".to_owned());
        let all = nothing.into_iter().chain(refused).chain(unused);
        all.chain(stale).collect()
    }
}

/// Holds an account's rights against the log. What was refused because a namespace ends is nobody's lack of a right.
///
/// # Errors
/// A line that is no audit event.
pub fn judge(account: &Account, roles: &Roles, log: &str) -> Result<Verdict, String> {
    let granted = roles.of(account);
    let (mut used, mut refused) = (BTreeSet::new(), BTreeMap::new());
    // The last one may be half written.
    let written = log.rfind('\n').map_or("", |end| &log[..end]);
    for line in written.lines() {
        let event: Event =
            serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
        if event.user.username != account.user() {
            continue;
        }
        let Status { code, message } = &event.response_status;
        // What an admission policy says no to is another code's.
        let is_denied = *code >= 400 && message.contains("ValidatingAdmissionPolicy");
        if is_denied || (*code == 403 && !message.contains("is being terminated")) {
            let what = format!("{} {}: {message}", event.verb, event.uri);
            *refused.entry(what).or_insert(0) += 1;
        } else {
            used.extend(granted.iter().filter(|right| right.covers(&event)));
        }
    }
    Ok(Verdict {
        granted: granted.iter().map(Right::to_string).collect(),
        unused: granted
            .iter()
            .filter(|right| !used.contains(right))
            .map(Right::to_string)
            .collect(),
        refused,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    /// Of account `harbour/pilot`, and of another one.
    fn roles() -> Roles {
        let subject =
            |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": "harbour"});
        let reference = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        Roles {
            cluster: vec![
                of(json!({"metadata": {"name": "ships"}, "rules": [
                    {"apiGroups": ["sea"], "resources": ["ships", "ships/status"], "verbs": ["get", "patch"]}]})),
                of(
                    json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
                ),
            ],
            namespaced: vec![of(
                json!({"metadata": {"name": "log", "namespace": "harbour"}, "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["book"], "verbs": ["get"]}]}),
            )],
            everywhere: vec![
                of(
                    json!({"metadata": {}, "roleRef": reference("ClusterRole", "ships"), "subjects": [subject("pilot")]}),
                ),
                of(
                    json!({"metadata": {}, "roleRef": reference("ClusterRole", "all"), "subjects": [subject("captain")]}),
                ),
            ],
            within: vec![of(
                json!({"metadata": {"namespace": "harbour"}, "roleRef": reference("Role", "log"),
                "subjects": [subject("pilot")]}),
            )],
        }
    }

    fn line(verb: &str, object: Value, status: Value) -> String {
        json!({"verb": verb, "user": {"username": "system:serviceaccount:harbour:pilot"}, "objectRef": object,
            "requestURI": "/apis/sea/v1/ships", "responseStatus": status})
        .to_string()
    }

    fn judged(lines: &[String]) -> Verdict {
        let account = Account::parse("harbour/pilot").unwrap();
        judge(&account, &roles(), &format!("{}\n", lines.join("\n"))).unwrap()
    }

    #[test]
    fn a_right_that_nobody_used_is_named_with_where_it_holds_and_for_which_names() {
        let used = line(
            "get",
            json!({"resource": "ships", "apiGroup": "sea", "name": "a"}),
            json!({"code": 404}),
        );
        let verdict = judged(&[used]);
        let unused: Vec<&String> = verdict.unused.iter().collect();
        assert_eq!(
            unused,
            [
                "get ships/status.sea",
                "harbour: get secrets book",
                "patch ships.sea",
                "patch ships/status.sea"
            ]
        );
        assert_eq!((verdict.granted.len(), verdict.refused.len()), (5, 0));
    }

    #[test]
    fn what_is_seldom_used_may_be_unused_and_must_be_granted() {
        let seldom = ["patch ships.sea", "sink ships.sea"];
        assert_eq!(
            judged(&[]).faults(seldom.into_iter()),
            [
                "granted, and not used: get ships.sea",
                "granted, and not used: get ships/status.sea",
                "granted, and not used: harbour: get secrets book",
                "granted, and not used: patch ships/status.sea",
                "seldom used, and not granted: sink ships.sea",
            ]
        );
    }

    #[test]
    fn another_name_namespace_group_or_account_uses_no_right() {
        let secret = |name: &str, namespace: &str| {
            line(
                "get",
                json!({"resource": "secrets", "name": name, "namespace": namespace}),
                json!({}),
            )
        };
        let others = line(
            "get",
            json!({"resource": "ships", "apiGroup": "sea"}),
            json!({}),
        )
        .replace("pilot", "captain");
        let group = line(
            "get",
            json!({"resource": "ships", "apiGroup": "lake"}),
            json!({}),
        );
        let nothing = judged(&[
            secret("diary", "harbour"),
            secret("book", "town"),
            others,
            group,
        ]);
        assert_eq!(nothing.unused.len(), 5);
        assert_eq!(judged(&[secret("book", "harbour")]).unused.len(), 4);
    }

    #[test]
    fn an_apply_that_makes_the_object_uses_the_right_to_create_it() {
        let may_create = json!({"metadata": {"name": "ships"}, "rules": [
            {"apiGroups": ["sea"], "resources": ["ships"], "verbs": ["create", "patch"]}]});
        let roles = Roles {
            cluster: vec![of(may_create)],
            ..roles()
        };
        let account = Account::parse("harbour/pilot").unwrap();
        let applied = |code: u16| {
            let ship = json!({"resource": "ships", "apiGroup": "sea", "name": "a"});
            let log = line("patch", ship, json!({"code": code})) + "\n";
            judge(&account, &roles, &log).unwrap()
        };
        assert!(applied(200).unused.contains("create ships.sea"));
        assert!(!applied(201).unused.contains("create ships.sea"));
    }

    #[test]
    fn an_account_without_rights_does_not_pass_and_neither_does_what_a_policy_denies() {
        let stranger = Account::parse("harbour/stranger").unwrap();
        let none = judge(&stranger, &roles(), "").unwrap();
        assert_eq!(none.faults(std::iter::empty()), ["has no rights"]);
        let ship = json!({"resource": "ships", "apiGroup": "sea", "name": "a"});
        let said = "ValidatingAdmissionPolicy 'own-ships' denied request: not yours";
        let denied = judged(&[line("patch", ship, json!({"code": 422, "message": said}))]);
        assert_eq!(denied.refused.len(), 1);
    }

    #[test]
    fn what_is_refused_is_named_and_counted_and_is_no_use() {
        let refused = line(
            "patch",
            json!({"resource": "ships", "apiGroup": "sea", "name": "a"}),
            json!({"code": 403, "message": "no"}),
        );
        let ending = refused.replace(r#""no""#, r#""namespace x is being terminated""#);
        let verdict = judged(&[refused.clone(), refused, ending]);
        assert_eq!(
            verdict.refused,
            [("patch /apis/sea/v1/ships: no".to_owned(), 2)].into()
        );
        assert!(
            !verdict.unused.contains("patch ships.sea"),
            "the last one was granted"
        );
    }
}
