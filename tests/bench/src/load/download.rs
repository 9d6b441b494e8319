//! Large responses, one after the other over a few connections.
//!
//! Only complete responses count: at the end of its time a connection reads to the end of the one that it has begun.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::{Done, FIELDS, response};
use crate::origin::download::{RESPONSE_BYTES, block};

const PATIENCE: Duration = Duration::from_secs(30);
const BUFFER: usize = 256 << 10;

/// Downloads over so many connections at once, for so long.
pub(crate) fn run(port: u16, connections: usize, seconds: u64) -> Result<Done> {
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..connections).map(|_| thread::spawn(move || download(port, until))).collect();
    let mut bytes = 0;
    for client in clients {
        bytes += client.join().map_err(|_| anyhow!("a client panicked"))??;
    }
    Ok(Done { operations: bytes, seconds: begin.elapsed().as_secs_f64(), p50: None, p99: None, grown: None })
}

fn download(port: u16, until: Instant) -> Result<u64> {
    let mut client = Client::connect(port)?;
    let mut bytes = 0;
    while bytes == 0 || Instant::now() < until {
        bytes += client.fetch(|_| Ok(()))?;
    }
    Ok(bytes)
}

/// Downloads once and compares every byte.
pub(crate) fn check(port: u16) -> Result<()> {
    let expected = block();
    let mut place = 0;
    Client::connect(port)?.fetch(|mut piece| {
        while !piece.is_empty() {
            let (_, left) = expected.split_at(place);
            let n = left.len().min(piece.len());
            let (now, later) = piece.split_at(n);
            if !left.starts_with(now) {
                bail!("the download differs from what the backend sent");
            }
            place = (place + n) % expected.len();
            piece = later;
        }
        Ok(())
    })?;
    Ok(())
}

struct Client {
    stream: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET /bench HTTP/1.1\r\nhost: bench\r\n{}\r\n\r\n", FIELDS.join("\r\n"));
        Ok(Client { stream, request, buffer: vec![0; BUFFER] })
    }

    fn fetch(&mut self, mut piece: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        self.stream.write_all(self.request.as_bytes())?;
        let mut bytes = 0;
        response::read(&mut self.stream, &mut self.buffer, |data| {
            bytes += data.len();
            piece(data)
        })?;
        if bytes != RESPONSE_BYTES {
            bail!("{RESPONSE_BYTES} bytes were sent and {bytes} arrived");
        }
        Ok(bytes as u64)
    }
}
