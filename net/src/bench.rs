//! What the transport does alone, for `examples/bench_fetch.rs` to compare with. Only with the feature `bench`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cairn_block::DeviceKey;
use futures::{AsyncReadExt, AsyncWriteExt};

use crate::driver::{Driver, NetError, NetOptions, Transports};
use crate::lanes::Doorman;

const PROTOCOL: &str = "/cairn/bench/1";
const STEP_BYTES: usize = 64 << 10;

/// The time that `bytes` take over one stream between two nodes on loopback, from the first to the last.
pub async fn raw_stream(transports: Transports, bytes: u64) -> Result<Duration, NetError> {
    let options = NetOptions { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], transports };
    let start = |seed: u8| {
        let mut doorman = Doorman::default();
        let arrivals = doorman.for_members(PROTOCOL);
        Driver::start(&DeviceKey::from_bytes(&[seed; 32]), &options, doorman).map(|(driver, _)| (driver, arrivals))
    };
    let (sender, mut arrivals) = start(1)?;
    let (receiver, _none) = start(2)?;
    sender.set_members(HashSet::from([receiver.me()])).await;
    receiver.set_members(HashSet::from([sender.me()])).await;
    receiver.know(sender.me(), sender.listening(1).await?).await;
    tokio::spawn(async move {
        let Some(mut arrived) = arrivals.recv().await else { return };
        let step = vec![0x5a; STEP_BYTES];
        let mut left = bytes;
        while left > 0 {
            let part = left.min(STEP_BYTES as u64) as usize;
            if arrived.stream.write_all(&step[..part]).await.is_err() {
                return;
            }
            left -= part as u64;
        }
        let _ = arrived.stream.close().await;
    });
    let mut stream = loop {
        match receiver.open(sender.me(), PROTOCOL).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let begun = Instant::now();
    // With lazy negotiation the other side hears of the stream with the first byte.
    let broken = |error: std::io::Error| NetError::Transport(error.to_string());
    stream.write_all(b"x").await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let (mut step, mut read) = (vec![0; STEP_BYTES], 0);
    while read < bytes {
        match stream.read(&mut step).await.map_err(broken)? {
            0 => return Err(NetError::Transport(format!("{read} of {bytes} bytes came"))),
            count => read += count as u64,
        }
    }
    let took = begun.elapsed();
    sender.end().await;
    receiver.end().await;
    Ok(took)
}
