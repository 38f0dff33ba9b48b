//! TLS for the connection to the SMSC: rustls with ring, and authorities that are named.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::SmppConfig;

/// What a handshake needs.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `tls_ca_file` cannot be read.
    #[error("tls_ca_file cannot be read: {0}")]
    CaFile(String),
    /// `tls_ca_file` has no certificate in it.
    #[error("tls_ca_file holds no certificate")]
    NoCertificate,
    /// The name of the server is none.
    #[error("tls_server_name (or host) is not a name that a certificate can have")]
    ServerName,
    /// rustls refuses.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The settings of `config`; `None` where it wants no TLS. Reads `tls_ca_file`.
///
/// # Errors
/// [`TlsError`].
pub(super) fn settings(config: &SmppConfig) -> Result<Option<Tls>, TlsError> {
    if !config.tls {
        return Ok(None);
    }
    let name = config.tls_server_name.as_ref().unwrap_or(&config.host).clone();
    let server_name = ServerName::try_from(name).map_err(|_| TlsError::ServerName)?;
    // Named, because a process-wide default would depend on who comes first.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(config.tls_ca_file.as_deref())?)
        .with_no_client_auth();
    Ok(Some(Tls { config: Arc::new(client), server_name }))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|e| TlsError::CaFile(e.to_string()))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|e| TlsError::CaFile(e.to_string()))?)?;
            }
            if roots.is_empty() {
                return Err(TlsError::NoCertificate);
            }
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::config::smpp_tests::config;

    #[test]
    fn no_tls_unless_asked() {
        assert!(settings(&config(&json!({}))).unwrap().is_none());
    }

    #[test]
    fn the_public_authorities_are_the_default_and_the_host_is_the_name() {
        let tls = settings(&config(&json!({"tls": true, "host": "smsc.example.nl"}))).unwrap().unwrap();
        assert_eq!(tls.server_name, ServerName::try_from("smsc.example.nl").unwrap());
        assert!(!roots(None).unwrap().is_empty());
    }

    #[test]
    fn a_file_without_certificates_trusts_nobody() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let with_file = |path: &Path| settings(&config(&json!({"tls": true, "tls_ca_file": path})));
        assert!(matches!(with_file(file.path()), Err(TlsError::NoCertificate)));
        file.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(with_file(file.path()), Err(TlsError::Rustls(_))));
        assert!(matches!(with_file(Path::new("/nowhere/at/all")), Err(TlsError::CaFile(_))));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let result = settings(&config(&json!({"tls": true, "tls_server_name": "not a name"})));
        assert!(matches!(result, Err(TlsError::ServerName)));
    }
}
