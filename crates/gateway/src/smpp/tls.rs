//! TLS for the connection to the SMSC.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::settings::{ConfigFault, tls};

/// Settings of a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

/// Settings that expect a certificate for `name`, from the authorities in `ca_file`.
///
/// # Errors
/// Returns a [`ConfigFault`] if no certificate can have the name, or the file of authorities cannot be used.
pub(super) fn settings(name: &str, ca_file: Option<&Path>) -> Result<Tls, ConfigFault> {
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
        ConfigFault::new("tls_server_name", "(or host) is not a name that a certificate can have")
    })?;
    Ok(Tls { config: Arc::new(tls::client_config(ca_file)?), server_name })
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use serde_json::{Value, json};

    use crate::smpp::config::tests::config;

    #[test]
    fn no_tls_unless_asked() {
        assert!(config(&json!({})).tls_settings().unwrap().is_none());
    }

    #[test]
    fn the_host_is_the_name() {
        let tls = config(&json!({"tls": true, "host": "smsc.example.nl"})).tls_settings().unwrap().unwrap();
        assert_eq!(tls.server_name, ServerName::try_from("smsc.example.nl").unwrap());
    }

    #[test]
    fn a_fault_names_its_key() {
        let field = |keys: &Value| config(keys).tls_settings().unwrap_err().field;
        assert_eq!(field(&json!({"tls": true, "tls_server_name": "not a name"})), "tls_server_name");
        assert_eq!(field(&json!({"tls": true, "tls_ca_file": "/nowhere/at/all"})), "tls_ca_file");
    }
}
