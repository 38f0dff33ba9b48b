//! TLS for the connection to the SMSC.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::{ConfigFault, SmppConfig};

/// What a handshake needs.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

/// The settings of `config`; `None` where it wants no TLS. Reads `tls_ca_file`.
///
/// # Errors
/// The key that is wrong.
pub(crate) fn settings(config: &SmppConfig) -> Result<Option<Tls>, ConfigFault> {
    if !config.tls {
        return Ok(None);
    }
    let name = config.tls_server_name.as_ref().unwrap_or(&config.host).clone();
    let server_name = ServerName::try_from(name).map_err(|_| {
        ConfigFault::new("tls_server_name", "(or host) is not a name that a certificate can have")
    })?;
    let config = Arc::new(crate::tls::client_config(config.tls_ca_file.as_deref())?);
    Ok(Some(Tls { config, server_name }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::smpp_tests::config;

    #[test]
    fn no_tls_unless_asked() {
        assert!(settings(&config(&json!({}))).unwrap().is_none());
    }

    #[test]
    fn the_host_is_the_name() {
        let tls = settings(&config(&json!({"tls": true, "host": "smsc.example.nl"}))).unwrap().unwrap();
        assert_eq!(tls.server_name, ServerName::try_from("smsc.example.nl").unwrap());
    }

    #[test]
    fn a_fault_names_its_key() {
        let field = |keys: &Value| settings(&config(keys)).unwrap_err().field;
        assert_eq!(field(&json!({"tls": true, "tls_server_name": "not a name"})), "tls_server_name");
        assert_eq!(field(&json!({"tls": true, "tls_ca_file": "/nowhere/at/all"})), "tls_ca_file");
    }
}
