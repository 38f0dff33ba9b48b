//! Sessions against a scripted SMSC on a real socket. Time is paused: it moves on when nothing else can happen, so that
//! time-outs and waits pass at once.

mod inbound;
mod life;
mod outbound;
mod smsc;

pub(super) use self::smsc::sms;
