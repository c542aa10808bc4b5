//! Who is who in a throw-away cluster: a certificate authority, the API server's certificate, one bearer token a user,
//! the service-account key, and kubeconfigs. All of it lives in one directory and dies with it.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::process::run;

/// A user the API server knows by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name of its kubeconfig: `admin`, `kube-proxy`, `node-1`.
    pub file: String,
    /// Its name in Kubernetes.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
}

impl User {
    /// A user.
    pub fn new(file: &str, name: &str, groups: &[&str]) -> Self {
        Self {
            file: file.to_owned(),
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }
    }

    /// The identity of a kubelet, as the node authorizer wants it.
    pub fn kubelet(node: &str) -> Self {
        Self::new(node, &format!("system:node:{node}"), &["system:nodes"])
    }
}

/// The users of every control plane: the administrator and the components.
pub fn components() -> Vec<User> {
    vec![
        User::new("admin", "admin", &["system:masters"]),
        User::new(
            "kube-controller-manager",
            "system:kube-controller-manager",
            &[],
        ),
        User::new("kube-scheduler", "system:kube-scheduler", &[]),
        User::new("kube-proxy", "system:kube-proxy", &[]),
    ]
}

/// The files made.
#[derive(Clone, Debug)]
pub struct Identities {
    /// The directory they are in.
    pub dir: PathBuf,
}

impl Identities {
    /// Makes everything for an API server that is reached at `addresses` (the first one goes into kubeconfigs).
    pub fn create(dir: &Path, addresses: &[IpAddr], port: u16, users: &[User]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let this = Self {
            dir: dir.to_owned(),
        };
        this.certificates(addresses)?;
        let first = addresses
            .first()
            .context("an API server needs an address")?;
        let server = match first {
            IpAddr::V4(address) => format!("https://{address}:{port}"),
            IpAddr::V6(address) => format!("https://[{address}]:{port}"),
        };
        let mut tokens = String::new();
        for (number, user) in users.iter().enumerate() {
            let token = random_token()?;
            let groups = user.groups.join(",");
            writeln!(tokens, "{token},{},{number},\"{groups}\"", user.name)?;
            this.write_kubeconfig(&user.file, &server, &token)?;
        }
        fs::write(this.tokens(), tokens).context("writing the tokens")?;
        Ok(this)
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.kubeconfig"))
    }

    /// The token file of the API server.
    pub fn tokens(&self) -> PathBuf {
        self.dir.join("tokens.csv")
    }

    /// A file by its name: `ca.crt`, `server.crt`, `server.key`, `service-accounts.key`.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn certificates(&self, addresses: &[IpAddr]) -> Result<()> {
        for key in [
            "ca.key",
            "server.key",
            "kubelet-client.key",
            "service-accounts.key",
        ] {
            openssl(&[
                "ecparam",
                "-name",
                "prime256v1",
                "-genkey",
                "-noout",
                "-out",
                &self.file(key),
            ])?;
        }
        let (ca, ca_key) = (self.file("ca.crt"), self.file("ca.key"));
        openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &ca_key,
            "-subj",
            "/CN=landfall-lab-ca",
            "-days",
            "30",
            "-out",
            &ca,
        ])?;
        let mut names = "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                         DNS:kubernetes.default.svc.cluster.local"
            .to_owned();
        for address in addresses {
            write!(names, ",IP:{address}")?;
        }
        openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &self.file("server.key"),
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-subj",
            "/CN=kube-apiserver",
            "-days",
            "30",
            "-addext",
            &names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-out",
            &self.file("server.crt"),
        ])?;
        // As whom the API server asks kubelets, for logs and to execute.
        openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &self.file("kubelet-client.key"),
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-subj",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
            "-days",
            "30",
            "-addext",
            "extendedKeyUsage=clientAuth",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-out",
            &self.file("kubelet-client.crt"),
        ])
    }

    fn write_kubeconfig(&self, user: &str, server: &str, token: &str) -> Result<()> {
        let text = kubeconfig(user, server, &self.file("ca.crt"), token);
        let path = self.kubeconfig(user);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The same user at another server address, written beside the first: for a forwarded port.
    pub fn write_kubeconfig_at(&self, user: &str, file: &str, server: &str) -> Result<PathBuf> {
        let read = fs::read_to_string(self.kubeconfig(user)).context("reading a kubeconfig")?;
        let mut value: serde_json::Value =
            serde_json::from_str(&read).context("parsing a kubeconfig of ours")?;
        value["clusters"][0]["cluster"]["server"] = json!(server);
        let path = self.kubeconfig(file);
        fs::write(&path, serde_json::to_string_pretty(&value)?)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// A kubeconfig as JSON, which is YAML too.
fn kubeconfig(user: &str, server: &str, ca: &str, token: &str) -> String {
    let value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    });
    format!("{value:#}\n")
}

fn openssl(args: &[&str]) -> Result<()> {
    run(Command::new("openssl").args(args)).map(drop)
}

fn random_token() -> Result<String> {
    let mut bytes = [0u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_read_by_the_client_library() {
        let text = kubeconfig(
            "admin",
            "https://198.51.100.1:6443",
            "/tmp/ca.crt",
            "secret",
        );
        let config: kube::config::Kubeconfig = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("lab"));
        assert_eq!(
            config.clusters[0]
                .cluster
                .as_ref()
                .unwrap()
                .server
                .as_deref(),
            Some("https://198.51.100.1:6443")
        );
    }

    #[test]
    fn a_kubelet_is_named_as_the_node_authorizer_wants_it() {
        let user = User::kubelet("node-1");
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("system:node:node-1", &["system:nodes".to_owned()][..])
        );
    }
}
