//! The ceiling: the SMPP client straight at the simulator, without database, pacing or receipts.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use klaroen_simulator::Smsc;
use rusmpp::pdus::{BindTransceiver, SubmitSm};
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, Npi, Ton};
use rusmppc::ConnectionBuilder;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::town;
use crate::failure::{Because, Failure};
use crate::scratch;

/// As many in flight as Klaroen has.
const WINDOW: u32 = 50;

/// The library can fall asleep with requests waiting until something comes in; an `enquire_link` wakes it.
const NUDGE: Duration = Duration::from_millis(10);

/// SMS per second over one connection.
pub async fn run(messages: u32) -> Result<f64, Failure> {
    let smsc = Smsc::start(town::smsc_config()).await?;
    let stream = TcpStream::connect(smsc.addr()).await?;
    stream.set_nodelay(true)?;
    let (client, mut events) =
        ConnectionBuilder::new().no_response_timeout().enquire_link_interval(NUDGE).connected(stream);
    let events = tokio::spawn(async move { while events.next().await.is_some() {} });
    let (system_id, password) = scratch::ACCOUNT;
    let bind = BindTransceiver::builder()
        .system_id(COctetString::from_str(system_id)?)
        .password(COctetString::from_str(password)?)
        .build();
    client.bind_transceiver(bind).await.because("the bare client cannot bind")?;

    let window = Arc::new(Semaphore::new(WINDOW as usize));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for number in 0..messages {
        let permit = Arc::clone(&window).acquire_owned().await?;
        let (client, submit) = (client.clone(), submit(11_000_000 + number)?);
        tasks.spawn(async move {
            let answer = client.submit_sm(submit).await;
            drop(permit);
            answer.map(drop)
        });
        // Finished ones are taken at once, so that the set does not grow with the messages.
        while let Some(done) = tasks.try_join_next() {
            done?.because("the bare client")?;
        }
    }
    while let Some(done) = tasks.join_next().await {
        done?.because("the bare client")?;
    }
    let seconds = began.elapsed().as_secs_f64();
    client.close().await.because("the bare client")?;
    smsc.shutdown().await;
    events.await?;
    Ok(f64::from(messages) / seconds)
}

fn submit(number: u32) -> Result<SubmitSm, Failure> {
    let alert = town::alert();
    let text = alert["text"].as_str().unwrap_or_default();
    Ok(SubmitSm::builder()
        .source_addr_ton(Ton::NetworkSpecific)
        .source_addr_npi(Npi::Unknown)
        .source_addr(COctetString::from_str(scratch::SENDER)?)
        .dest_addr_ton(Ton::International)
        .dest_addr_npi(Npi::Isdn)
        .destination_addr(COctetString::from_str(&format!("316{number:08}"))?)
        // 0x00, a plain SMS; the library's default is 0x08.
        .esm_class(EsmClass::from(0u8))
        .data_coding(DataCoding::from(0u8))
        .short_message(OctetString::from_str(text)?)
        .build())
}
