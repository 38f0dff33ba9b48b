//! The contract of each provider, in a file or folder of its own.

mod cm;
mod infobip;
pub(super) mod jwt;
mod kannel;
mod messagebird;
mod spryng;
mod template;
pub(super) mod twilio;
pub(super) mod vonage;
mod xml;

pub use self::cm::CmConfig;
pub use self::infobip::InfobipConfig;
pub use self::kannel::KannelConfig;
pub use self::messagebird::MessagebirdConfig;
pub use self::spryng::SpryngConfig;
pub use self::template::{AnswerRules, InboundRules, ReceiptRules, ReplyRules, TemplateConfig};
pub use self::twilio::TwilioConfig;
pub use self::vonage::{SignatureMethod, VonageConfig};
