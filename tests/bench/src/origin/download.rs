//! The backend of large responses: blocking writes of the same memory, so that the load is not what holds a proxy up.
//!
//! Every request is answered alike, whatever it asks for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

/// The body of each response: `block()`, over and over.
pub(crate) const RESPONSE_BYTES: usize = 64 << 20;
const BLOCK_BYTES: usize = 256 << 10;

/// Lines that say where they stand, so that a piece that is lost or moved shows.
pub(crate) fn block() -> Vec<u8> {
    (0..BLOCK_BYTES / 16).flat_map(|line| format!("{:015x}\n", line * 16).into_bytes()).collect()
}

/// Serves, one thread for each connection, and says on which port.
pub(super) fn start() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("the backend cannot listen")?;
    let port = listener.local_addr()?.port();
    let block = Arc::new(block());
    thread::Builder::new().name("download".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let block = block.clone();
            thread::spawn(move || answer(stream, &block));
        }
    })?;
    Ok(port)
}

fn answer(mut stream: TcpStream, block: &[u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {RESPONSE_BYTES}\r\n\r\n");
    let mut buffer = [0; 16 << 10];
    let mut filled = 0;
    loop {
        match stream.read(buffer.get_mut(filled..).unwrap_or_default())? {
            0 => return Ok(()),
            n => filled += n,
        }
        // Only requests without a body are made.
        if buffer.get(..filled).unwrap_or_default().ends_with(b"\r\n\r\n") {
            filled = 0;
            stream.write_all(head.as_bytes())?;
            for _ in 0..RESPONSE_BYTES / BLOCK_BYTES {
                stream.write_all(block)?;
            }
        }
    }
}
