//! The battery that every adapter goes through. An adapter that is not in the table does not compile.

mod battery;
mod callbacks;
mod cases;
mod coverage;
mod details;
mod manual;
pub(super) mod offline;
mod provider;
mod senders;
mod specimen;
mod transport;
mod vectors;

use self::specimen::Specimen;
use crate::config::GatewayConfig;

macro_rules! adapters {
    ($($variant:ident => $module:ident),+ $(,)?) => {
        /// A type that is missing here does not compile, and one that is here has its cases.
        const fn is_covered(config: &GatewayConfig) -> bool {
            match config {
                $(GatewayConfig::$variant(_) => true,)+
                GatewayConfig::Smpp(_) | GatewayConfig::Log(_) | GatewayConfig::Simulator(_) => false,
            }
        }

        fn specimens() -> Vec<Specimen> {
            vec![$(cases::$module::specimen()),+]
        }

        #[test]
        fn every_type_has_cases_of_its_own() {
            $(
                let config = cases::$module::specimen().config("http://127.0.0.1:9", &serde_json::json!({}));
                assert!(matches!(config, GatewayConfig::$variant(_)), stringify!($variant));
                assert!(is_covered(&config) && config.over_http().is_some());
                assert_eq!(config.validate(), [], stringify!($variant));
            )+
        }
    };
}

adapters! {
    Cm => cm,
    Spryng => spryng,
    Messagebird => messagebird,
    Twilio => twilio,
    Vonage => vonage,
    Infobip => infobip,
    Kannel => kannel,
    Http => template,
}
