//! The contracts as data: what goes out, what comes back, and what it means.

pub(crate) mod cm;
pub(crate) mod infobip;
pub(crate) mod kannel;
pub(crate) mod messagebird;
pub(crate) mod spryng;
pub(crate) mod template;
pub(crate) mod twilio;
pub(crate) mod vonage;
