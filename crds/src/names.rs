//! The keys everything is found by, each a type of its own, so that none is taken for another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes any text: names come from the API and are compared, never parsed.
            #[must_use]
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

name! {
    /// Name of a Node.
    NodeName
}
name! {
    /// Name of a `LoadBalancerIPPool`.
    PoolName
}
name! {
    /// Name of an `L2AnnouncementPolicy`.
    PolicyName
}
name! {
    /// One life of one announcer: fresh at every start of the process and after every loss of its Lease.
    SessionId
}

/// Namespace and name of a Service. Sorted by namespace first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name in that namespace.
    pub name: String,
}

impl ServiceKey {
    /// The key of the Service `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kinds of objects that hold addresses.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum HolderKind {
    /// A Service of type LoadBalancer.
    #[default]
    Service,
    /// A Gateway of one of our classes.
    Gateway,
}

impl HolderKind {
    /// As records write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Gateway => "Gateway",
        }
    }

    /// The kind that a record means; `None` for one that holds no address here.
    #[must_use]
    pub fn parse(kind: &str) -> Option<Self> {
        [Self::Service, Self::Gateway]
            .into_iter()
            .find(|known| known.as_str() == kind)
    }
}

impl fmt::Display for HolderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Kind, namespace and name of an object that holds addresses. Sorted by namespace first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HolderKey {
    /// Namespace of the holder.
    pub namespace: String,
    /// Name in that namespace.
    pub name: String,
    /// What it is.
    pub kind: HolderKind,
}

impl HolderKey {
    /// The key of the holder `name` in `namespace`.
    #[must_use]
    pub fn new(kind: HolderKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            kind,
        }
    }

    /// The key of the Service `name` in `namespace`.
    #[must_use]
    pub fn service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(HolderKind::Service, namespace, name)
    }

    /// The key of the Gateway `name` in `namespace`.
    #[must_use]
    pub fn gateway(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(HolderKind::Gateway, namespace, name)
    }

    /// The holder in words: its kind and its name.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{} {self}", self.kind)
    }
}

impl fmt::Display for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_name_is_written_to_json_as_its_text_and_read_back() {
        let name = NodeName::new("node-1");
        let text = serde_json::to_string(&name).unwrap();
        assert_eq!(text, "\"node-1\"");
        assert_eq!(serde_json::from_str::<NodeName>(&text).unwrap(), name);
    }

    #[test]
    fn a_map_by_name_is_asked_with_plain_text() {
        let pools = BTreeMap::from([(PoolName::from("public"), 1)]);
        assert_eq!(pools.get("public"), Some(&1));
    }

    #[test]
    fn the_holders_of_a_namespace_stand_together_and_a_gateway_beside_the_service_of_its_name() {
        let mut keys = [
            HolderKey::gateway("a", "web"),
            HolderKey::service("b", "a"),
            HolderKey::service("a", "web"),
            HolderKey::service("a", "x"),
        ];
        keys.sort();
        let words = keys.map(|key| key.in_words());
        assert_eq!(
            words,
            [
                "Service a/web",
                "Gateway a/web",
                "Service a/x",
                "Service b/a"
            ]
        );
    }

    #[test]
    fn services_are_sorted_by_namespace_first() {
        let mut keys = [ServiceKey::new("b", "a"), ServiceKey::new("a", "b")];
        keys.sort();
        assert_eq!(keys.map(|key| key.to_string()), ["a/b", "b/a"]);
    }
}
