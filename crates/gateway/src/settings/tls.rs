//! TLS of everything that connects: rustls with ring, and authorities that are named.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::fault::ConfigFault;

/// Settings of a handshake that trusts the authorities in `ca_file` and no others; without a file those of the public web.
///
/// # Errors
/// A [`ConfigFault`] if the file cannot be read, or holds no certificate of an authority.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, ConfigFault> {
    Ok(trusting(authorities(ca_file)?))
}

/// Settings for a client of plain HTTP, which makes no handshake: without them reqwest looks for a provider of the whole
/// process, and reads the certificates of the system.
#[must_use]
pub fn trusting_nobody() -> ClientConfig {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    // Named, because a process-wide default would depend on who comes first.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, ConfigFault> {
    let fault = |reason: &str| ConfigFault::new("tls_ca_file", reason);
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|_| fault("cannot be read"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|_| fault("holds what is no certificate"))?;
        roots.add(certificate).map_err(|_| fault("holds a certificate that is no authority's"))?;
    }
    if roots.is_empty() { Err(fault("holds no certificate")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_public_authorities_are_the_default() {
        assert!(!authorities(None).unwrap().is_empty());
    }

    #[test]
    fn a_file_without_certificates_trusts_nobody_and_says_why() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let reason = |path: &Path| client_config(Some(path)).unwrap_err().to_string();
        assert_eq!(reason(file.path()), "tls_ca_file: holds no certificate");
        file.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(reason(file.path()), "tls_ca_file: holds a certificate that is no authority's");
        assert_eq!(reason(Path::new("/nowhere/at/all")), "tls_ca_file: cannot be read");
    }
}
