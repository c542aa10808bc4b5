//! `/etc/hosts` of a Pod, which in the lab also stands in for the cluster's DNS: every Service by its usual names.
//! Pure.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::HostAlias;

use super::{pod::Addresses, services::Services};

const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Writes the file of one Pod.
pub(crate) fn render(
    namespace: &str,
    hostname: &str,
    addresses: &Addresses,
    aliases: &[HostAlias],
    services: &Services,
) -> String {
    let mut text = LOCAL.to_owned();
    for address in &addresses.pod {
        line(&mut text, &address.to_string(), &[hostname.to_owned()]);
    }
    for alias in aliases {
        line(
            &mut text,
            &alias.ip,
            alias.hostnames.as_deref().unwrap_or_default(),
        );
    }
    for ((service_namespace, name), facts) in services {
        let mut names = vec![
            format!("{name}.{service_namespace}.svc.cluster.local"),
            format!("{name}.{service_namespace}.svc"),
            format!("{name}.{service_namespace}"),
        ];
        if service_namespace == namespace {
            names.push(name.clone());
        }
        for address in &facts.addresses {
            line(&mut text, &address.to_string(), &names);
        }
    }
    text
}

fn line(text: &mut String, address: &str, names: &[String]) {
    if !names.is_empty() {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{address}\t{}", names.join(" "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::services;

    #[test]
    fn services_have_their_usual_names_and_the_short_one_only_at_home() {
        let addresses = Addresses {
            pod: vec!["10.244.1.2".parse().unwrap()],
            host: vec![],
        };
        let text = render("shop", "p", &addresses, &[], &services::tests::sample());
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "127.0.0.1\tlocalhost",
                "::1\tlocalhost ip6-localhost ip6-loopback",
                "10.244.1.2\tp",
                "10.96.0.1\tkubernetes.default.svc.cluster.local kubernetes.default.svc kubernetes.default",
                "10.96.3.4\tweb-app.shop.svc.cluster.local web-app.shop.svc web-app.shop web-app",
                "fd00:10:96::5\tweb-app.shop.svc.cluster.local web-app.shop.svc web-app.shop web-app",
            ]
        );
    }
}
