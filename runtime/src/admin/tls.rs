//! The certificate of the metrics port: from files, or made at the start.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// What takes TLS connections, with the certificate of these files, or one made here for `address`.
pub(super) fn acceptor(
    files: Option<&CertificateFiles>,
    address: IpAddr,
) -> Result<TlsAcceptor, TlsError> {
    let (chain, key) = match files {
        Some(files) => read(files)?,
        None => self_signed(address)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
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
        let said = acceptor(Some(&files), IpAddr::from([127, 0, 0, 1]));
        let said = said.err().unwrap().to_string();
        assert!(
            said.starts_with("--metrics-certificate /nowhere/tls.crt: "),
            "{said}"
        );
    }
}
