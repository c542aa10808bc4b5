//! The certificate of the metrics port: made at the start, or from files, and read again when they change.
//!
//! Invariant: what cannot be used does not take the place of what can.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{flag} {path}: {source}; give a PEM file this process may read", path = .path.display())]
    File {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("the certificate of the metrics port cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// None could be made.
    #[error("no certificate could be made for the metrics port: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// Between two looks at the files.
const AGAIN: Duration = Duration::from_secs(10);

/// What takes TLS connections.
pub(super) struct Acceptor {
    files: Option<CertificateFiles>,
    now: Mutex<Served>,
}

/// What is served with.
struct Served {
    config: Arc<ServerConfig>,
    stamps: Stamps,
    looked: Instant,
}

/// What files look like from outside; none where one is not there.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl Acceptor {
    /// With the certificate of these files, or one made here for `address`.
    pub(super) fn new(files: Option<CertificateFiles>, address: IpAddr) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is read again.
        let stamps = files.as_ref().map(stamps).unwrap_or_default();
        let identity = match &files {
            Some(files) => read(files)?,
            None => self_signed(address)?,
        };
        let now = Mutex::new(Served {
            config: config(identity)?,
            stamps,
            looked: Instant::now(),
        });
        Ok(Self { files, now })
    }

    /// With the certificate of now.
    pub(super) fn current(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config(Instant::now()))
    }

    fn config(&self, now: Instant) -> Arc<ServerConfig> {
        let mut served = self.now.lock();
        if let Some(files) = &self.files
            && now.duration_since(served.looked) >= AGAIN
        {
            served.looked = now;
            let stamps = stamps(files);
            if stamps != served.stamps {
                served.stamps = stamps;
                match read(files).and_then(config) {
                    Ok(config) => {
                        tracing::info!("the certificate of the metrics port was read again");
                        served.config = config;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the certificate of the metrics port has changed; the one of before stays");
                    }
                }
            }
        }
        Arc::clone(&served.config)
    }
}

fn stamps(files: &CertificateFiles) -> Stamps {
    [&files.certificate, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn config((chain, key): Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(files: &CertificateFiles) -> Result<Identity, TlsError> {
    fn file(
        flag: &'static str,
        path: &Path,
    ) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
        let path = path.to_owned();
        move |source| TlsError::File { flag, path, source }
    }
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(file("--metrics-certificate", &files.certificate))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(file("--metrics-key", &files.key))?;
    Ok((chain, key))
}

/// One that nobody vouches for: it keeps listeners out, and is for clients that do not ask who
/// answers.
fn self_signed(address: IpAddr) -> Result<Identity, TlsError> {
    let made = rcgen::generate_simple_self_signed(vec![address.to_string()])?;
    let key = made.signing_key.serialize_der();
    let key =
        PrivateKeyDer::try_from(key).map_err(|error| rustls::Error::General(error.to_owned()))?;
    Ok((vec![made.cert.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_are_named_with_their_flag() {
        let files = CertificateFiles {
            certificate: "/nowhere/tls.crt".into(),
            key: "/nowhere/tls.key".into(),
        };
        let said = Acceptor::new(Some(files), HERE).err().unwrap().to_string();
        assert!(
            said.starts_with("--metrics-certificate /nowhere/tls.crt: "),
            "{said}"
        );
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn pem(kind: &str, der: Vec<u8>) -> String {
        let base64 = serde_json::to_value(k8s_openapi::ByteString(der)).unwrap();
        let base64 = base64.as_str().unwrap();
        format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n")
    }

    /// Writes one that was made now.
    fn renew(files: &CertificateFiles) {
        let made = rcgen::generate_simple_self_signed(vec![HERE.to_string()]).unwrap();
        let key = pem("PRIVATE KEY", made.signing_key.serialize_der());
        std::fs::write(&files.key, key).unwrap();
        let certificate = pem("CERTIFICATE", made.cert.der().to_vec());
        std::fs::write(&files.certificate, certificate).unwrap();
        // Two writes may fall into one tick of the file system's clock.
        let later = SystemTime::UNIX_EPOCH + Duration::from_nanos(crate::random::id() >> 2);
        let file = std::fs::File::options().append(true).open(&files.key);
        file.unwrap().set_modified(later).unwrap();
    }

    #[test]
    fn files_that_change_are_read_again_and_what_cannot_be_used_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        renew(&files);
        let acceptor = Acceptor::new(Some(files.clone()), HERE).unwrap();
        let mut now = Instant::now();
        let mut later = || {
            now += AGAIN;
            acceptor.config(now)
        };
        let first = later();
        assert!(Arc::ptr_eq(&first, &later()), "nothing has changed");
        renew(&files);
        let second = later();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::write(&files.certificate, "half of a certif").unwrap();
        assert!(Arc::ptr_eq(&second, &later()));
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(Arc::ptr_eq(&second, &later()));
        renew(&files);
        assert!(!Arc::ptr_eq(&second, &later()));
    }
}
