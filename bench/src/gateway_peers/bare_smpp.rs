//! The ceiling: the protocol's codec straight at the simulator, without database, pacing or receipts.

use anyhow::{Context, Result, anyhow};
use std::str::FromStr;

use futures::{FutureExt, SinkExt, StreamExt};
use klaroen_simulator::{Smsc, SmscConfig};
use rusmpp::pdus::{BindTransceiver, SubmitSm};
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, Npi, RegisteredDelivery, Ton};
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::codec::Framed;

use crate::dataset;
use crate::processes::smsc::{self, WINDOW};

/// One connection, and what was sent over it.
struct Client {
    stream: Framed<TcpStream, CommandCodec>,
    sequence_number: u32,
}

/// SMS per second over one connection.
pub async fn run(messages: u32, smsc: SmscConfig) -> Result<f64> {
    let smsc = Smsc::start(smsc).await?;
    let stream = TcpStream::connect(smsc.addr()).await?;
    stream.set_nodelay(true)?;
    let mut client = Client { stream: Framed::new(stream, CommandCodec::new()), sequence_number: 0 };
    let (system_id, password) = smsc::ACCOUNT;
    let bind = BindTransceiver::builder()
        .system_id(COctetString::from_str(system_id)?)
        .password(COctetString::from_str(password)?)
        .build();
    client.feed(bind).await?;
    client.answer(CommandId::BindTransceiverResp).await?;

    let began = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while answered < messages {
        // An answer makes room for one, and what has come already for more: they leave together at the next wait.
        while sent < messages && sent - answered < WINDOW {
            client.feed(submit(11_000_000 + sent)?).await?;
            sent += 1;
        }
        client.answer(CommandId::SubmitSmResp).await?;
        answered += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    client.feed(Pdu::Unbind).await?;
    client.answer(CommandId::UnbindResp).await?;
    smsc.shutdown().await;
    Ok(f64::from(messages) / seconds)
}

impl Client {
    async fn feed(&mut self, pdu: impl Into<Pdu>) -> Result<()> {
        self.sequence_number += 1;
        let command = Command::new(CommandStatus::EsmeRok, self.sequence_number, pdu);
        self.stream.feed(command).await.context("the bare client")
    }

    /// The next PDU, which has to be an answer of this kind that says yes.
    async fn answer(&mut self, wanted: CommandId) -> Result<()> {
        let came = if let Some(came) = self.stream.next().now_or_never() {
            came
        } else {
            // Nothing is here: now what was fed has to leave.
            SinkExt::<Command>::flush(&mut self.stream).await.context("the bare client")?;
            self.stream.next().await
        };
        match came {
            Some(Ok(command)) if command.id() == wanted && command.status() == CommandStatus::EsmeRok => {
                Ok(())
            }
            Some(Ok(command)) => Err(anyhow!("the bare client got {:?}", command.id())),
            Some(Err(error)) => Err(error).context("the bare client"),
            None => Err(anyhow!("the bare client was cut off")),
        }
    }
}

fn submit(number: u32) -> Result<SubmitSm> {
    let text = dataset::text();
    Ok(SubmitSm::builder()
        .source_addr_ton(Ton::NetworkSpecific)
        .source_addr_npi(Npi::Unknown)
        .source_addr(COctetString::from_str(smsc::SENDER)?)
        .dest_addr_ton(Ton::International)
        .dest_addr_npi(Npi::Isdn)
        .destination_addr(COctetString::from_str(&format!("316{number:08}"))?)
        // 0x00, a plain SMS without a receipt; the codec's default is 0x08.
        .esm_class(EsmClass::from(0u8))
        .registered_delivery(RegisteredDelivery::from(0u8))
        .data_coding(DataCoding::from(0u8))
        .short_message(OctetString::from_str(text)?)
        .build())
}
