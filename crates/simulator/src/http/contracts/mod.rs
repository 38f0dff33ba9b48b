//! One file for each contract, written from the providers' documentation.

pub(crate) mod cm;
pub(crate) mod infobip;
pub(crate) mod kannel;
pub(crate) mod messagebird;
pub(crate) mod plain;
pub(crate) mod spryng;
pub(crate) mod twilio;
pub(crate) mod vonage;
