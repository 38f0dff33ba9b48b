//! The gateways that providers call back.

use std::collections::HashMap;
use std::sync::Arc;

use klaroen_domain::phone::Country;
use klaroen_gateway::config::GatewayConfig;
use klaroen_gateway::{Callbacks, ConnectError};
use klaroen_store::replies::AutoReplyTexts;

/// The gateways that providers call back, and what answers participants get.
#[derive(Clone)]
pub struct CallbackGateways {
    gateways: HashMap<String, Arc<Callbacks>>,
    texts: Arc<dyn AutoReplyTexts>,
}

impl CallbackGateways {
    /// Takes the configured gateways that have callbacks. Nothing is connected.
    ///
    /// # Errors
    /// [`ConnectError::Config`] if the configuration is not valid.
    pub fn new<'a>(
        gateways: impl IntoIterator<Item = &'a GatewayConfig>,
        country: Country,
        texts: Arc<dyn AutoReplyTexts>,
    ) -> Result<Self, ConnectError> {
        let mut found = HashMap::new();
        for config in gateways {
            if let Some(callbacks) = klaroen_gateway::callbacks(config, country)? {
                found.insert(config.name().to_owned(), Arc::new(callbacks));
            }
        }
        Ok(Self { gateways: found, texts })
    }

    /// The gateway of that name, if it takes callbacks.
    pub(crate) fn find(&self, name: &str) -> Option<(&String, &Arc<Callbacks>)> {
        self.gateways.get_key_value(name)
    }

    /// The texts that participants get in answer to their SMS.
    pub(crate) fn texts(&self) -> &dyn AutoReplyTexts {
        self.texts.as_ref()
    }
}

impl std::fmt::Debug for CallbackGateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackGateways").field("gateways", &self.gateways.len()).finish_non_exhaustive()
    }
}
